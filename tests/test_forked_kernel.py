"""A forked kernel is like one that was started, and nothing of it is left behind."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.blocking import BlockingKernelClient
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_client.manager import KernelManager

from checks.classroom import build, provisioner
from checks.classroom.build import environment
from checks.classroom.lesson import Version, read
from checks.classroom.provisioner import ForkedProvisioner, forked
from checks.classroom.warm import Shared

ROOT = Path(__file__).resolve().parents[1]
# It plots, raises what it is meant to, prints tensors, moves a slider and draws graphs.
LESSON = """
# 1 · Everything

```{code-cell} ipython3
import random
import warnings

import matplotlib.pyplot as plt
import torch
from ipywidgets import FloatSlider

import checks

w = torch.tensor([0.5, -2.0], requires_grad=True)
loss = (w**2).sum()
print(loss)
warnings.warn("seen")
```

```{code-cell} ipython3
plt.figure(figsize=(3, 2))
plt.plot([1, 4, 9], label="$w^2$")
plt.legend()
plt.show()
```

```{code-cell} ipython3
:tags: [raises-exception]

(w * 2).backward()
```

```{code-cell} ipython3
FloatSlider(value=0.3)
```

```{code-cell} ipython3
checks.draw(loss)
```

```{code-cell} ipython3
:tags: [answer]

dloss_dw = ...
### BEGIN SOLUTION
dloss_dw = 2 * w
### END SOLUTION
```

```{code-cell} ipython3
:tags: [check]

checks.gradient("1.1", dloss_dw, of=loss, wrt=w)
```
"""
# What a program can see of how it was started.
SEEN = """
import atexit, json, matplotlib, os, signal, sys, threading
json.dumps({
    "path": sys.path,
    "arguments": [word for word in sys.argv if not word.endswith(".json")],
    "flags": str(sys.flags),
    "interrupt": str(signal.getsignal(signal.SIGINT)),
    "own session": os.getsid(0) == os.getpid(),
    "folder": os.getcwd(),
    "environment": sorted(os.environ),
    "backend": matplotlib.rcParams["backend"],
    "name": __name__,
    "input": sys.__stdin__.read(),
    "threads": sorted(type(thread).__name__ for thread in threading.enumerate()),
})
"""
RANDOM = """
import json, random, numpy, torch
json.dumps([random.random(), numpy.random.rand(), torch.rand(1).item()])
"""


class Kernels(KernelSpecManager):
    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        return forked(super().get_kernel_spec(kernel_name))


def manage(fork: bool) -> KernelManager:
    specs = (Kernels if fork else KernelSpecManager)(kernel_dirs=[])
    return KernelManager(kernel_name="python3", kernel_spec_manager=specs)


@contextmanager
def kernel(
    folder: Path, fork: bool = True, **options: Any
) -> Iterator[tuple[KernelManager, BlockingKernelClient]]:
    """A kernel that runs, and is gone at the end."""
    manager = manage(fork)
    manager.start_kernel(
        cwd=str(folder), env=environment(folder), extra_arguments=["--log-level=ERROR"], **options
    )
    client = manager.client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=60)
        yield manager, client
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def ask(client: BlockingKernelClient, code: str) -> Any:
    """The value of the last line, which is JSON."""
    values: list[str] = []
    reply = client.execute_interactive(
        code,
        timeout=60,
        allow_stdin=False,
        output_hook=lambda message: values.append(
            message["content"].get("data", {}).get("text/plain", "")
        ),
    )
    assert reply["content"]["status"] == "ok", reply["content"]
    return json.loads(eval("".join(values)))


def gone(process: int, seconds: float = 20) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True  # ended; whoever adopted it has not looked yet
        except OSError:
            return True
        time.sleep(0.05)
    return False


@pytest.fixture(scope="module")
def lesson(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = tmp_path_factory.mktemp("course") / "source/01_everything.md"
    source.parent.mkdir()
    source.write_text(LESSON, encoding="utf-8")
    return source


@pytest.mark.parametrize("version", Version)
def test_a_lesson_gives_the_same_outputs(
    lesson: Path, version: Version, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A plot that is not inline, a picture of another size, an error or a warning told otherwise.
    def run() -> str:
        path = build.target(lesson, version)
        nb, problems = build.execute(read(lesson), version, path, lesson.parent)
        assert problems == []
        return build.serialise(nb)

    mine = run()
    monkeypatch.setattr(provisioner, "_fork", lambda *words, **options: None)
    assert "image/png" in mine and "widget-view" in mine and "RuntimeError" in mine
    assert mine == run()


def test_a_program_sees_no_difference(tmp_path: Path) -> None:
    # What a fork has of the process that it is forked from, and a kernel must not have.
    seen = []
    for fork in (True, False):
        with kernel(tmp_path, fork) as (manager, client):
            assert hasattr(manager.provisioner, "process")
            assert isinstance(manager.provisioner, ForkedProvisioner) == fork
            seen.append(ask(client, SEEN))
    for found in seen:  # a library's own, set when it is imported
        found["environment"] = [name for name in found["environment"] if "PYDEVD_" not in name]
    assert seen[0] == seen[1]
    assert seen[0]["folder"] == str(tmp_path)


def test_each_kernel_draws_other_random_numbers(tmp_path: Path) -> None:
    # Forks of one process go on with the same numbers unless they are told.
    drawn = []
    for _ in range(2):
        with kernel(tmp_path) as (_, client):
            drawn.append(ask(client, RANDOM))
    assert not set(drawn[0]) & set(drawn[1])


def test_streams_go_where_they_are_sent(tmp_path: Path) -> None:
    # What is written past Python, by a crash in C for one, must not get among pytest's own lines.
    with (tmp_path / "out").open("wb") as out, kernel(tmp_path, stdout=out, stderr=out) as (_, c):
        ask(c, "import json, sys\nsys.__stderr__.write('aside\\n'); sys.__stderr__.flush()\n'0'")
    assert "aside" in (tmp_path / "out").read_text()


def test_an_interrupt_ends_the_cell_and_not_the_kernel(tmp_path: Path) -> None:
    # The warm process ignores interrupts, and its forks do unless they are told.
    with kernel(tmp_path) as (manager, client):
        # After an error a kernel refuses what has come meanwhile: a busy machine reads too late.
        forever = "print('begun', flush=True)\nwhile True: pass"
        client.execute(forever, stop_on_error=False)
        while client.get_iopub_msg(timeout=30)["msg_type"] != "stream":
            continue
        manager.interrupt_kernel()
        reply = client.get_shell_msg(timeout=30)
        while "ename" not in reply["content"]:
            reply = client.get_shell_msg(timeout=30)
        assert reply["content"]["ename"] == "KeyboardInterrupt"
        assert ask(client, "'1'") == 1


@pytest.mark.parametrize(
    ("end", "code"), [("os._exit(7)", 7), ("os.kill(os.getpid(), 9)", -signal.SIGKILL)]
)
def test_a_kernel_that_dies_is_noticed_with_its_code(tmp_path: Path, end: str, code: int) -> None:
    # Whoever waits for its answer would wait forever.
    with kernel(tmp_path) as (manager, client):
        process = manager.provisioner.process
        client.execute(f"import os\n{end}")
        deadline = time.monotonic() + 30
        while manager.is_alive() and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not manager.is_alive()
        assert process.poll() == code


def test_a_restart_forgets(tmp_path: Path) -> None:
    with kernel(tmp_path) as (manager, client):
        first = manager.provisioner.process.pid
        ask(client, "x = 1\n'1'")
        manager.restart_kernel(now=True)
        client.wait_for_ready(timeout=60)
        assert isinstance(manager.provisioner.process, provisioner._Process)
        assert gone(first) and manager.provisioner.process.pid != first
        assert ask(client, "str(int('x' in globals()))") == 0


class DiesAtOnce(provisioner.Warm):
    def __init__(self, env: Any, modules: Any, options: Any) -> None:
        super().__init__(env, modules, ["-c", "pass"])
        self.options = tuple(options)


def no_fork(patch: pytest.MonkeyPatch) -> None:
    patch.delattr(os, "fork")


def no_warm_process(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(provisioner, "Warm", DiesAtOnce)
    patch.setattr(provisioner, "_shared", Shared())


def other_settings(patch: pytest.MonkeyPatch) -> None:
    provisioner._warm([], environment(Path()))
    patch.setenv("PYTHONHASHSEED", "1")


@pytest.mark.parametrize("hinder", [no_fork, no_warm_process, other_settings])
def test_where_none_can_be_forked_one_is_started(
    tmp_path: Path, hinder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Windows; no memory for one more process; a setting that only a new process would read.
    hinder(monkeypatch)
    with kernel(tmp_path) as (manager, client):
        assert not isinstance(manager.provisioner.process, provisioner._Process)
        assert ask(client, "'1'") == 1


OWNER = """
import sys, time
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import KernelManager
from checks.classroom import provisioner

manager = KernelManager(kernel_spec_manager=KernelSpecManager(kernel_dirs=[]))
provisioner.forked(manager.kernel_spec)
manager.start_kernel()
print(manager.provisioner.process.pid, provisioner._shared._warm._process.pid, flush=True)
time.sleep(600)
"""


def test_nothing_is_left_behind(tmp_path: Path) -> None:
    # Kernels that go on, each with PyTorch in its memory, when what started them was killed.
    command = [sys.executable, "-c", OWNER]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        processes = [int(word) for word in owner.stdout.readline().split()]
        owner.kill()
    assert len(processes) == 2
    assert all(gone(process) for process in processes)
