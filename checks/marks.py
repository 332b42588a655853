"""Which exercises this learner has solved, kept between sittings in one small file.

The rule is: **progress is kept exactly where a notebook lies in the course's `my-notebooks`**, the
folder that `checks lab` makes, or in a folder inside it. A notebook runs in the folder in which it
lies, so lessons that are built, tested or read in `notebooks/` keep nothing.

The file, `my-notebooks/progress.json`, holds the labels of the solved exercises and nothing else. A
label stays in it, whatever a check says later, until the learner starts that lesson over. Several
notebooks may be open at once: each adds, under a lock, to what the file holds at that moment, and
replaces it whole. Whatever goes wrong with the file is said once, and no check suffers from it.
"""

from __future__ import annotations

import errno
import json
import os
import stat
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path

from checks import launch, whole

FILE = "progress.json"
DAMAGED = "progress.damaged.json"
LOCK = ".progress.lock"
WHERE = f"{launch.FOLDER}/{FILE}"
PATIENCE = 0.5  # seconds for which another notebook that is writing is waited for

Stamp = tuple[int, int, int]


def record(exercise: str) -> None:
    """Keep that an exercise was solved. Raises nothing, and does nothing outside `my-notebooks`."""
    with suppress(Exception):  # a check goes on, whatever became of the file, the folder or `print`
        marks = here()
        if marks is not None:
            marks.add(exercise)
            for sentence in marks.news():
                print(sentence)


def here() -> Marks | None:
    """The marks of the folder in which this notebook runs; None where no progress is kept."""
    try:
        return _marks(os.getcwd())  # noqa: PTH109  # asked at each right answer; Path is slower
    except OSError:  # the folder is gone
        return None


@lru_cache
def _marks(working: str) -> Marks | None:
    try:
        folder = launch.find_course(Path(working)) / launch.FOLDER
    except launch.LaunchError:
        return None
    return Marks(folder) if Path(working).is_relative_to(folder) else None


class Marks:
    """The labels of the solved exercises, in the file of one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._file = folder / FILE
        self._stamp: Stamp | None = None
        self._known: frozenset[str] = frozenset()  # what the file held when it had this stamp
        self._damaged = False  # whether it was unreadable then
        self._unwritten: set[str] = set()
        self._news: dict[str, bool] = {}  # each sentence, and whether it was told

    def solved(self) -> frozenset[str]:
        """The labels of all solved exercises, those that could not be written included."""
        try:
            self._look()
        except OSError as problem:
            self._cannot(problem)
        return self._known | self._unwritten

    def add(self, label: str) -> None:
        """Keep a label. Costs one look at the file's date where it is known already."""
        known = self.solved()
        if label in known and not self._unwritten:
            return
        begun = self._stamp is None
        self._unwritten.add(label)
        if self._change(added=self._unwritten):
            self._unwritten.clear()
            if begun:
                self._tell(f"What you solve is kept in {WHERE}. `checks.progress()` shows it.")

    def remove(self, labels: frozenset[str]) -> bool:
        """Take labels out of the file; False where that was not possible."""
        self._unwritten -= labels
        return self._change(removed=labels)

    def news(self) -> list[str]:
        """What there is to say that has not been said before."""
        fresh = [sentence for sentence, told in self._news.items() if not told]
        self._news.update(dict.fromkeys(fresh, True))
        return fresh

    def _tell(self, sentence: str) -> None:
        self._news.setdefault(sentence, False)

    def _cannot(self, problem: OSError) -> None:
        why = (problem.strerror or type(problem).__name__).lower()
        self._tell(f"Progress cannot be kept in {WHERE} ({why}). The checks work all the same.")

    def _look(self) -> None:
        """Read the file, unless it is the one that was read last. Raises OSError."""
        stamp = _stamp(self._file)
        if stamp != self._stamp:
            self._damaged = False
            self._known = self._read() if stamp else frozenset()
            self._stamp = stamp

    def _read(self) -> frozenset[str]:
        with suppress(ValueError, LookupError, TypeError, RecursionError):
            labels = json.loads(self._file.read_bytes())["solved"]
            if isinstance(labels, list) and all(isinstance(label, str) for label in labels):
                return frozenset(labels)
        self._damaged = True
        self._tell(
            f"The file {WHERE} is damaged. It will be laid aside as {DAMAGED}, and what you solve "
            "is counted anew: run the checks of your lessons again."
        )
        return frozenset()

    def _change(self, *, added: Iterable[str] = (), removed: Iterable[str] = ()) -> bool:
        """Write the file anew from what it holds at this moment; False where that fails."""
        try:
            with _alone(self.folder):
                self._look()
                if self._damaged:
                    self._file.replace(self.folder / DAMAGED)
                self._write(self._known.union(added).difference(removed))
        except OSError as problem:
            self._cannot(problem)
            return False
        return True

    def _write(self, labels: frozenset[str]) -> None:
        """Replace the file whole, or leave it as it is. Raises OSError."""
        if self._file.exists() and not self._file.stat().st_mode & stat.S_IWUSR:
            # It could be replaced all the same. But somebody has asked that it is not.
            raise PermissionError(errno.EACCES, "the file is read-only")
        whole.write(self._file, json.dumps({"solved": sorted(labels)}, indent=1) + "\n")
        self._known, self._stamp, self._damaged = labels, _stamp(self._file), False


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep other notebooks from writing. Closing the file lets go, also when Python is killed."""
    with (folder / LOCK).open("ab") as file:
        end = time.monotonic() + PATIENCE
        while not _locked(file.fileno()):
            if time.monotonic() > end:
                raise TimeoutError(errno.ETIMEDOUT, "another notebook holds it")
            time.sleep(0.01)
        yield


def _locked(descriptor: int) -> bool:
    """Whether the lock is ours now; where the disk knows no locks, it is nobody's and so ours."""
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as refusal:
        return refusal.errno not in (errno.EACCES, errno.EAGAIN, errno.EDEADLK)
    return True


def _stamp(file: Path) -> Stamp | None:
    """What changes whenever the file does; None where there is no file."""
    try:
        status = file.stat()
    except FileNotFoundError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
