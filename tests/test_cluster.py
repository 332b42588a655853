"""The same marks on one process, on two, and on a cluster that loses a worker in the middle."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from classroom import NAME, hand_in, lesson_in, scores, submission
from extras import needs_dask
from fenced import ISOLATION, needs_fences, until_none_is_left
from hostile import ROWS

from checks.__main__ import main
from checks.classroom import cluster as module
from checks.classroom import fence, station
from checks.classroom.cluster import ClusterError, cluster
from checks.classroom.fence import Isolation
from checks.classroom.grading import Graded, grade
from checks.classroom.running import Settings
from checks.classroom.station import FenceError, Task
from checks.classroom.submissions import Submission

pytestmark = [needs_fences, needs_dask]

SETTINGS = Settings(fence.Limits(seconds=60.0, memory=1024), ISOLATION)
NUMBER = 60
KILLED_AFTER = 20
PATIENCE = 120  # seconds for a process to be there, on a busy machine
# Quick ones, which leave nothing to wait for.
HOSTILE = (
    "kills itself",
    "ends its process",
    "changes torch",
    "forges messages",
    "nested brackets",
)

_WORKER = """
import sys
from distributed.cli.dask_worker import main
{before}
main(sys.argv[1:])
"""


@dataclass
class Machines:
    """A scheduler and its workers, as processes; each has a mark that what it starts inherits."""

    address: str
    scheduler: subprocess.Popen[bytes]
    folder: Path
    stack: ExitStack

    def worker(self, before: str = "", **env: str) -> subprocess.Popen[bytes]:
        """Start another worker, with something done before; return when it is known."""
        code = _WORKER.format(before=before)
        arguments = [self.address, "--no-nanny", "--nthreads", "1", "--host", "127.0.0.1"]
        arguments += ["--no-dashboard", "--local-directory", str(self.folder)]
        known = self.count()
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", code, *arguments],
            env={**os.environ, **env},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.stack.callback(_end, process)
        _wait(lambda: self.count() > known)
        return process

    def count(self) -> int:
        """How many workers the scheduler knows."""
        from distributed import Client

        with Client(self.address, timeout=PATIENCE) as client:
            return len(client.scheduler_info(n_workers=-1)["workers"])


@contextmanager
def machines(folder: Path) -> Iterator[Machines]:
    """A scheduler on this machine."""
    file = folder / "scheduler.json"
    line = "-P -m distributed.cli.dask_scheduler --host 127.0.0.1 --port 0 --no-dashboard "
    with ExitStack() as stack:
        scheduler = subprocess.Popen(
            [sys.executable, *line.split(), "--scheduler-file", str(file)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        stack.callback(_end, scheduler)
        _wait(lambda: _address(file) != "")
        yield Machines(_address(file), scheduler, folder, stack)


def _address(file: Path) -> str:
    """Where the scheduler is; nothing while it has not written that down, or not all of it."""
    try:
        return str(json.loads(file.read_text())["address"])
    except (OSError, ValueError, KeyError):
        return ""


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


def _wait(ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not ready():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def hand_in_many(folder: Path, number: int) -> None:
    """Right and wrong ones, in part and not at all, some hostile, some that are no notebook.

    A function is asked for hundreds of results: most leave it out, so that this takes no minutes.
    """
    lesson_in(folder / "source")
    rows = [row for row in ROWS if row.name in HOSTILE]
    assert len(rows) == len(HOSTILE)
    for n in range(number):
        rule = {} if n % 10 == 0 else {"1.2": ""}
        answers = [
            {},
            {"1.1": f"dw = torch.tensor([{n}.0, 1.0])", "1.3": f"size = {n}"},
            {"1.4": "dz_du = 2 * 1.3 * 0.7\ndz_dv = 1.3"},
            {"1.1": "dw = -2 * error.detach() * x"},
            {"1.1": "", "1.3": "", "1.4": ""},
        ][n % 5]
        built: object = submission({**rule, **answers})
        if n % 10 == 7:
            built = submission({**rule, **rows[n // 10 % len(rows)].code})
        if n % 20 == 9:
            built = ["", "no notebook", "[]"][n // 20 % 3]
        hand_in(folder / "submitted", f"s{n:03}", built)


def mark(folder: Path, to: str, **how: object) -> tuple[Graded, list[str]]:
    told: list[str] = []
    source = folder / "source" / f"{NAME}.md"
    graded = grade(folder / "submitted", [source], folder / to, SETTINGS, tell=told.append, **how)  # type: ignore[arg-type]
    return graded, told


def results(folder: Path, to: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / to / NAME).glob("*.json")}


def after(number: int, do: Callable[[], object]) -> Callable[[list[Submission]], Iterable[object]]:
    """Do something when so many are marked."""

    def progress(submissions: list[Submission]) -> Iterable[object]:
        for done, one in enumerate(submissions):
            if done == number:
                do()
            yield one

    return progress


def test_a_worker_that_is_lost_is_no_loss(tmp_path: Path) -> None:
    # The mistakes: a submission lost with its worker, or counted twice; other marks elsewhere.
    hand_in_many(tmp_path, NUMBER)
    identity = uuid.uuid4().hex
    with machines(tmp_path) as here:
        victim = here.worker(CHECKS_TEST=identity)
        here.worker()
        with cluster(here.address, print) as workers:
            assert workers.threads == 2 and workers.isolation == ISOLATION
            graded, told = mark(
                tmp_path,
                "cluster",
                executor=workers.executor,
                jobs=workers.threads,
                progress=after(KILLED_AFTER, victim.kill),
            )
        assert here.count() == 1 and victim.wait() != 0
    assert (graded, told) == (Graded(NUMBER, 0), [])
    assert until_none_is_left(identity) == []
    assert len((tmp_path / "cluster/log.csv").read_text().splitlines()) == NUMBER
    assert mark(tmp_path, "one", jobs=1) == mark(tmp_path, "two", jobs=2) == (graded, [])
    assert results(tmp_path, "cluster") == results(tmp_path, "one") == results(tmp_path, "two")
    assert len(results(tmp_path, "one")) == NUMBER
    total = {sum(scores(tmp_path / "one", f"s{n:03}").values()) for n in range(NUMBER)}
    assert {0, 6} < total  # from nothing to all points, and something in between


def test_a_scheduler_that_is_lost_is_told(tmp_path: Path) -> None:
    # The mistakes: a run that waits for ever, a traceback, what was marked is gone.
    hand_in_many(tmp_path, 30)
    with machines(tmp_path) as here:
        here.worker()
        with (
            pytest.raises(ClusterError, match=r"was lost\. What is marked is kept"),
            cluster(here.address, print) as workers,
        ):
            stop = after(5, here.scheduler.kill)
            mark(tmp_path, "cluster", executor=workers.executor, jobs=2, progress=stop)
    done = results(tmp_path, "cluster")
    assert 5 <= len(done) < 30
    mark(tmp_path, "cluster")
    assert done.items() <= results(tmp_path, "cluster").items()
    assert len(results(tmp_path, "cluster")) == 30


def test_workers_that_are_not_like_this_machine(tmp_path: Path) -> None:
    # The mistakes: marks without a fence, or of another version, or none and a traceback.
    weak = "from checks.classroom import fence, station\n"
    weak += "station.fences = lambda: fence.Isolation(True, True, False, True)"
    old = "from importlib import metadata\nmetadata.version = lambda name: '0.0.1'"
    with machines(tmp_path) as here:
        worker = here.worker(weak)
        with cluster(here.address, print) as workers:
            assert workers.isolation == Isolation(True, True, False, True)
            (address,) = workers.weak
            assert address.startswith("tcp://127.0.0.1")
        _end(worker)
        _wait(lambda: here.count() == 0)
        worker = here.worker(old)
        with pytest.raises(ClusterError, match=r"worker at tcp.* has autograd-by-hand 0\.0\.1"):
            cluster(here.address, print).__enter__()
        _end(worker)
        _wait(lambda: here.count() == 0)
        none = "metadata.version = lambda name: metadata.distribution('not-there').version"
        here.worker(f"from importlib import metadata\n{none}")
        with pytest.raises(ClusterError, match=r"worker at tcp.* has no autograd-by-hand: install"):
            cluster(here.address, print).__enter__()


def test_a_worker_that_comes_later_marks_nothing_with_weaker_fences(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(station, "fences", lambda: Isolation(True, True, False, True))
    with pytest.raises(FenceError, match="network"):
        station.marked(Task(NAME, "", "", b"", "", SETTINGS))


def test_without_workers_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PATIENCE", 0.5)
    told: list[str] = []
    with machines(tmp_path) as here:
        with pytest.raises(ClusterError, match="Start one on each machine"):
            cluster(here.address, told.append).__enter__()
        assert len(told) == 1 and "no workers yet" in told[0]


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:1", "nowhere", "foo://127.0.0.1:1"])
def test_without_a_scheduler_it_says_so(
    address: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    # The mistakes: half a minute of silence, a traceback.
    line = f"checks grade {tmp_path} --source {tmp_path} --to {tmp_path} --scheduler {address}"
    monkeypatch.setattr(sys, "argv", line.split())
    assert main() == 2
    error = capsys.readouterr().err
    assert error.startswith(f"There is no Dask scheduler at {address}")
    assert len(error.splitlines()) == 1


def test_without_dask_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ClusterError, match=r"autograd-by-hand\[cluster\]"):
        cluster("tcp://127.0.0.1:1", print).__enter__()
