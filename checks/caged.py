"""Call a learner's function safely: with a time limit, its output kept, its use of autograd seen.

The function runs in a thread of its own, so that the notebook can always be interrupted, and so
that a function that never returns can be left (on Windows, too, where there are no alarms).
"""

from __future__ import annotations

import ctypes
import gc
import io
import linecache
import random
import sys
import sysconfig
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from types import CodeType, FrameType, TracebackType
from typing import Any
from unittest import mock

import torch

from checks import backward, engine
from checks.undisturbed import this_thread_helps

SECONDS = 5.0  # that one call may take
_LONGEST_IMPORT = 60.0  # seconds that are granted where a module is imported
_SLICE = 0.05  # seconds after which an interrupt is noticed on Windows
_PATIENCE = 1.0  # seconds for which a function that takes too long is asked to stop
_PACE = 1e-4  # seconds between two such requests
_KEPT = 200  # characters of what is printed
_LONGEST_LINE = 100


class TimeUpError(BaseException):
    """Raised inside a function that takes too long, and to say so."""


@dataclass(frozen=True)
class Called:
    """What came of a call: a result, or an error and where it was raised."""

    result: object = None
    error: BaseException | None = None
    line: str = ""


_Job = tuple[Callable[..., object], Sequence[Sequence[object]]]


class Cage:
    """A place where a learner's function is called. A context manager."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._done: SimpleQueue[list[Called]] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="checks.rule", daemon=True)
        self._output = _Output(threading.current_thread())
        self._watch = _Watch(self._thread)
        self._is_left = False

    @property
    def printed(self) -> str:
        """The beginning of what the function printed."""
        return self._output.text

    @property
    def used_autograd(self) -> bool:
        """Whether it asked autograd for a gradient."""
        return self._watch.used

    def __enter__(self) -> Cage:
        self._stack.enter_context(redirect_stdout(self._output))
        self._stack.enter_context(redirect_stderr(self._output))
        self._stack.enter_context(_nothing_displayed())
        self._stack.enter_context(self._watch)
        # The same random numbers each time. Whoever runs a check puts the random states back.
        random.seed(0)
        torch.default_generator.manual_seed(0)
        if numpy := sys.modules.get("numpy.random"):
            numpy.seed(0)
        # `torch.zeros(3)` inside the function is to be as precise as the inputs.
        self._stack.callback(torch.set_default_dtype, torch.get_default_dtype())
        torch.set_default_dtype(torch.float64)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._jobs.put(None)
        self._stack.close()
        if not self._is_left:
            self._thread.join(_PATIENCE)

    def call(
        self, function: Callable[..., object], calls: Sequence[Sequence[object]]
    ) -> list[Called]:
        """Call a function several times, each time with the arguments given for it.

        Raises:
            TimeUpError: it did not return in time. The cage cannot be used again.
        """
        try:
            self._jobs.put((function, calls))
            deadline = time.monotonic() + SECONDS
            at_most = deadline + _LONGEST_IMPORT
            while time.monotonic() < deadline:
                try:
                    return self._done.get(timeout=_SLICE)
                except Empty:
                    if self._is_importing():
                        deadline = min(time.monotonic() + SECONDS, at_most)
            raise TimeUpError
        except BaseException:  # the time is up, or the notebook was interrupted
            self._stop()
            raise

    def _work(self) -> None:
        this_thread_helps()
        try:
            while (job := self._jobs.get()) is not None:
                function, calls = job
                self._done.put([_called(function, arguments) for arguments in calls])
        except TimeUpError:
            return

    def _is_importing(self) -> bool:
        """Whether the function waits for a module, which is not its fault.

        PyTorch imports some of its parts when they are first used. To stop in the middle of that
        would leave half a module behind, for the whole notebook.
        """
        files = (code.co_filename for code in self._running())
        return any(file.startswith("<frozen importlib") for file in files)

    def _running(self) -> Iterator[CodeType]:
        """What the thread runs at this moment, from the inside out."""
        frame = _frames().get(self._thread.ident or 0)
        while frame is not None:
            yield frame.f_code
            frame = frame.f_back

    def _stop(self) -> None:
        """End the function. What waits outside of Python is left behind, and ends when it wakes."""
        self._is_left = True
        raise_in = ctypes.pythonapi.PyThreadState_SetAsyncExc
        thread, error = ctypes.c_ulong(self._thread.ident or 0), ctypes.py_object(TimeUpError)
        deadline = time.monotonic() + _PATIENCE
        interval = sys.getswitchinterval()
        sys.setswitchinterval(_PACE)
        try:
            # Again and again: it may catch what it is sent. But nothing is sent to a thread that
            # has left the function: it would hit the code that takes a thread out of the list.
            while self._thread.is_alive() and time.monotonic() < deadline:
                if _called.__code__ in self._running():
                    raise_in(thread, error)
                time.sleep(_PACE)
        finally:
            sys.setswitchinterval(interval)


def _frames() -> dict[int, FrameType]:
    """What each thread runs at this moment.

    Python 3.11 waits for itself, for ever, where it collects garbage meanwhile: gh-106883.
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        return sys._current_frames()
    finally:
        if collects:
            gc.enable()


def _called(function: Callable[..., object], arguments: Sequence[object]) -> Called:
    try:
        return Called(result=function(*arguments))
    except TimeUpError:
        raise
    except BaseException as error:
        return Called(error=error, line=_line(error.__traceback__))


def without_graphs(function: Callable[..., object]) -> Callable[..., object]:
    """The function, called where PyTorch records nothing, not even for what requires gradients."""

    def called(*arguments: object) -> object:
        with torch._C._AutoDispatchBelowAutograd():
            return function(*arguments)

    return called


class _Output(io.TextIOBase):
    """Keeps the beginning of what is printed in other threads than the notebook's."""

    def __init__(self, notebook: threading.Thread) -> None:
        self.text = ""
        self._notebook = notebook

    def write(self, text: str) -> int:
        if threading.current_thread() is not self._notebook:
            self.text += text[: max(_KEPT - len(self.text), 0)]
        return len(text)


class _Watch:
    """Notices when autograd is used in a thread, or in one that is new: the usual ways lead here.

    Not those of a function that calls a `grad_fn`, or has kept the engine: see `without_graphs`.
    """

    def __init__(self, thread: threading.Thread) -> None:
        self.used = False
        self._thread = thread
        self._others: set[threading.Thread] = set()
        self._stack = ExitStack()

    def __enter__(self) -> None:
        self._others = {*threading.enumerate()} - {self._thread}
        own = torch.autograd.Variable._execution_engine
        patch = mock.patch.object
        self._stack.enter_context(
            patch(torch.autograd.Variable, "_execution_engine", _Engine(own, self._note))
        )
        for module, name in ((backward, "run"), (engine, "gradients")):  # a check as an oracle
            self._stack.enter_context(patch(module, name, self._noted(getattr(module, name))))
        forward = torch.autograd.forward_ad
        enter = forward.enter_dual_level

        def enter_dual_level() -> int:
            self._note()
            return enter()  # type: ignore[no-any-return,no-untyped-call]

        self._stack.enter_context(patch(forward, "enter_dual_level", enter_dual_level))

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _noted(self, function: Callable[..., object]) -> Callable[..., object]:
        def noted(*args: object, **kwargs: object) -> object:
            self._note()
            return function(*args, **kwargs)

        return noted

    def _note(self) -> None:
        # A thread that was not there before is one that the function has started.
        if threading.current_thread() not in self._others:
            self.used = True


class _Engine:
    """PyTorch's engine, with a word said when it runs."""

    def __init__(self, engine: Any, note: Callable[[], None]) -> None:
        self._engine, self._note = engine, note

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def run_backward(self, *args: Any, **kwargs: Any) -> Any:
        self._note()
        return self._engine.run_backward(*args, **kwargs)


def _nothing_displayed() -> ExitStack:
    """Keep `display(…)` out of the notebook."""
    stack = ExitStack()
    find = getattr(sys.modules.get("IPython"), "get_ipython", None)
    shell = find() if find else None
    if shell is not None:
        from IPython.core.displaypub import CapturingDisplayPublisher

        silent = CapturingDisplayPublisher()  # type: ignore[no-untyped-call]
        stack.enter_context(mock.patch.object(shell, "display_pub", silent))
    return stack


def _line(trace: TracebackType | None) -> str:
    """Where an error was raised: the last line of the learner's own code, as a part of a sentence.

    Empty where none of it is the learner's.
    """
    own = [
        frame
        for frame in traceback.extract_tb(trace)
        if not frame.filename.startswith(("<frozen", "<__array"))
        and not any(Path(frame.filename).is_relative_to(folder) for folder in _LIBRARIES)
    ]
    if not own:
        return ""
    last = own[-1]
    code = linecache.getline(last.filename, last.lineno or 0).strip().replace("`", "'")
    text = f": `{code[:_LONGEST_LINE]}`" if code else ""
    is_cell = "ipykernel" in last.filename or last.filename.startswith("<ipython")
    place = "its cell" if is_cell else Path(last.filename).name
    return f"in `{last.name}`, line {last.lineno} of {place}{text}"


_LIBRARIES = [
    Path(__file__).parent,
    *(
        Path(path)
        for name, path in sysconfig.get_paths().items()
        if name.endswith(("lib", "stdlib"))
    ),
]
