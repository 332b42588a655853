"""What nbval lets through and must not: read when pytest meets the lessons.

nbval runs each cell of a notebook and compares what comes out with what is stored. It compares no
pictures, no metadata, and nothing where a notebook was never run, is content when a cell that is
meant to fail no longer does, waits for a kernel that is dead, and runs cells in a way that makes a
trailing `;` print. What is not compared here either is listed in `checks.classroom.strict`.

`checks` is imported where it is used: PyTorch comes with it, and the process of `pytest -n 2` that
only hands out the cells does not need it.
"""

import copy
import itertools
import tempfile
import time
from collections.abc import Callable, Generator
from pathlib import Path
from queue import Empty
from typing import Any

import nbval.kernel
import pytest
from jupyter_client.blocking import BlockingKernelClient
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import KernelManager
from nbval.kernel import NbvalKernelspecManager, RunningKernel
from nbval.plugin import IPyNbCell, NbCellError

SCRATCH = tempfile.TemporaryDirectory()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    """Fail a cell that was not run in its turn, should have raised, or shows something else."""
    if not isinstance(item, IPyNbCell):
        return (yield)
    if item.cell.execution_count != item.cell_num + 1:
        complain(
            item,
            f"Stored as run number {item.cell.execution_count} and not {item.cell_num + 1}: "
            "the notebook was not run from top to bottom. Build it again: make notebooks",
        )
    result = yield
    if "raises-exception" in item.cell.metadata.get("tags", []) and not any(
        output.output_type == "error" for output in item.test_outputs
    ):
        complain(item, "Tagged raises-exception, and no longer raises anything")
    if item.options["check"]:
        from checks.classroom.stable import mask_output, masks
        from checks.classroom.strict import differences

        both = copy.deepcopy((item.cell.outputs, item.test_outputs))
        for output in itertools.chain(*both):
            mask_output(output, masks(item.path.parent))
        for difference in differences(*both):
            complain(item, difference)
    return result


def complain(item: IPyNbCell, problem: str) -> None:
    raise NbCellError(item.cell_num, problem, item.cell.source)


def sanitize(self: IPyNbCell, value: Any) -> Any:
    """Mask what depends on the machine, by the rules by which the build has masked it."""
    from checks.classroom.stable import mask, masks

    return mask(value, masks(self.path.parent)) if isinstance(value, str) else value


def execute_cell_input(self: RunningKernel, cell_input: str, allow_stdin: bool = False) -> str:
    """Run a cell with a history, in which IPython looks for the `;` that asks for silence."""
    return self.kc.execute(
        cell_input, store_history=True, allow_stdin=allow_stdin, stop_on_error=False
    )


def get_message(self: RunningKernel, stream: str, timeout: float | None = None) -> dict[str, Any]:
    """Wait for a message, but not for one that a dead kernel will never send."""
    receive = self.kc.get_iopub_msg if stream == "iopub" else self.kc.get_shell_msg
    deadline = time.monotonic() + (float("inf") if timeout is None else timeout)
    alive = True
    while True:
        try:
            return receive(timeout=max(0, min(1, deadline - time.monotonic())))
        except Empty:
            if not alive:
                raise RuntimeError("The kernel died while it ran this cell") from None
            if time.monotonic() >= deadline:
                raise
        alive = self.is_alive()  # what it had said before is taken out of the queue once more


def get_kernel_spec(
    self: NbvalKernelspecManager,
    kernel_name: str,
    ordinary: Callable[..., KernelSpec] = NbvalKernelspecManager.get_kernel_spec,
) -> KernelSpec:
    """Fork kernels from a process that has imported PyTorch."""
    from checks.classroom.provisioner import forked

    return forked(ordinary(self, kernel_name))


NbvalKernelspecManager.get_kernel_spec = get_kernel_spec


def start_new_kernel(
    startup_timeout: float = 60, kernel_name: str = "python", **options: Any
) -> tuple[KernelManager, BlockingKernelClient]:
    """Start a kernel as the build does.

    nbval would start it with the user's own settings, and wait until it says nothing for a while.
    """
    from checks.classroom.build import environment

    manager = KernelManager(kernel_name=kernel_name, kernel_spec_manager=NbvalKernelspecManager())
    manager.start_kernel(env=environment(Path(SCRATCH.name)), **options)
    client = manager.client()
    client.context.reconnect_ivl = 5  # ms: a fork listens sooner than after the usual 100
    client.start_channels()
    deadline = time.monotonic() + startup_timeout
    while True:
        # What a kernel publishes before somebody listens is lost, and nbval waits a second for it.
        client.kernel_info()
        try:
            client.get_iopub_msg(timeout=0.02)
        except Empty:
            if manager.is_alive() and time.monotonic() < deadline:
                continue
            client.stop_channels()
            manager.shutdown_kernel(now=True)
            raise RuntimeError("The kernel did not start") from None
        return manager, client


nbval.kernel.start_new_kernel = start_new_kernel
IPyNbCell.sanitize = sanitize
RunningKernel.execute_cell_input = execute_cell_input
RunningKernel.get_message = get_message
