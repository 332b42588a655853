"""What nbval lets through and must not: read when pytest meets the lessons.

nbval runs each cell of a notebook and compares what comes out with what is stored. It compares
nothing where a notebook was never run, is content when a cell that is meant to fail no longer does,
waits for a kernel that is dead, and runs cells in a way that makes a trailing `;` print.
"""

import os
import tempfile
import time
from collections.abc import Callable, Generator
from pathlib import Path
from queue import Empty
from typing import Any

import pytest
from jupyter_client.kernelspec import KernelSpec
from nbval.kernel import NbvalKernelspecManager, RunningKernel
from nbval.plugin import IPyNbCell, NbCellError

from checks.classroom.build import FOREIGN, environment
from checks.classroom.provisioner import forked
from checks.classroom.stable import mask, masks

# A lesson runs here as it does when it is built.
SCRATCH = tempfile.TemporaryDirectory()
os.environ.update(environment(Path(SCRATCH.name)))
for name in FOREIGN:
    os.environ.pop(name, None)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    """Fail a cell that was not run in its turn, and one that should have raised and did not."""
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
    return result


def complain(item: IPyNbCell, problem: str) -> None:
    raise NbCellError(item.cell_num, problem, item.cell.source)


def sanitize(self: IPyNbCell, value: Any) -> Any:
    """Mask what depends on the machine, by the rules by which the build has masked it."""
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
    while True:
        alive = self.is_alive()
        try:
            return receive(timeout=max(0, min(1, deadline - time.monotonic())))
        except Empty:
            if not alive:
                raise RuntimeError("The kernel died while it ran this cell") from None
            if time.monotonic() >= deadline:
                raise


def get_kernel_spec(
    self: NbvalKernelspecManager,
    kernel_name: str,
    ordinary: Callable[..., KernelSpec] = NbvalKernelspecManager.get_kernel_spec,
) -> KernelSpec:
    """Fork kernels from a process that has imported PyTorch."""
    return forked(ordinary(self, kernel_name))


NbvalKernelspecManager.get_kernel_spec = get_kernel_spec
IPyNbCell.sanitize = sanitize
RunningKernel.execute_cell_input = execute_cell_input
RunningKernel.get_message = get_message
