"""A warmed process that forks a keeper, and the keeper a fenced cage, for each submission.

Started as `python -m checks.classroom.zygote`. It has imported what submissions import, so that a
fork costs milliseconds. It reads nothing itself: the keeper reads the job, so that nothing of a
submission is ever in the memory that the next one starts from.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import select
import signal
import subprocess
import tempfile
from pathlib import Path

from checks.classroom import cage, fence, intact, keeper

# Loaded when a lesson draws, when it shows a slider, when a number is printed.
_SOON_NEEDED = (
    "checks.card",
    "checks.data",
    "checks.stepper",
    "IPython.display",
    "ipywidgets",
    "matplotlib.mathtext",
    "numpy",
    "torch.func",
    "torch.nn.functional",
)


def main() -> None:
    """Serve until the input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever started it ends it
    # What a submission or a library prints must not get among the messages.
    out = os.dup(1)
    os.dup2(2, 1)
    fence.adopt()
    warm()
    keeper.say(out, {"ready": True})
    while serve(out):
        continue


def warm() -> None:
    """Import what lessons and answers import, on one thread: a fork of two threads may hang."""
    import matplotlib as mpl

    mpl.use("Agg")
    import torch
    from matplotlib import pyplot
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    for name in _SOON_NEEDED:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    torch.set_num_threads(1)
    # What is done for the first time takes its time: it is done here, and not in each fork.
    figure, axes = pyplot.subplots()
    axes.plot([0, 1], label="$x$")
    axes.contour([[0, 1], [1, 2]])
    axes.legend()
    figure.canvas.draw()
    pyplot.close("all")
    # Nobody looks at a picture here, and to draw them takes longer than all the rest.
    Figure.savefig = FigureCanvasAgg.draw = lambda *_, **__: None  # type: ignore[method-assign, assignment]
    x = torch.ones(2, requires_grad=True)
    torch.nn.functional.cross_entropy(torch.stack([x, x]), torch.tensor([0, 1])).backward()  # type: ignore[no-untyped-call]
    repr(x)
    cage.seed()
    intact.remember().settings()
    gc.collect()
    gc.freeze()  # a collection in a fork does not write to, and so copy, what is older than it


def serve(out: int) -> bool:
    """Have the next job done by a keeper, and leave nothing behind; False when there is none."""
    select.select([0], [], [])
    scratch = Path(tempfile.mkdtemp(prefix="checks-"))
    child = os.fork()
    if child == 0:
        keeper.live(scratch, out)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    keeper.end_all(os.getpid())
    _remove(scratch)
    if status == keeper.NO_JOB:
        return False
    keeper.say(out, {"over": True, "failed": bool(status)})
    return True


def _remove(folder: Path) -> None:
    """Remove a folder, also one that was made to be hard to remove."""
    try:
        folder.rmdir()
    except OSError:
        subprocess.run(["chmod", "-R", "u+rwx", folder], check=False)
        subprocess.run(["rm", "-rf", folder], check=False)


if __name__ == "__main__":
    main()
