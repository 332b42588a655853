"""What `checks grade` does with its arguments."""

from __future__ import annotations

import argparse
import contextlib
import math
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from checks.classroom import fence
from checks.classroom.cluster import Cluster, ClusterError, cluster
from checks.classroom.grading import AtOnce
from checks.classroom.grading import grade as mark_all
from checks.classroom.lesson import LessonError
from checks.classroom.release import RosterError, roster
from checks.classroom.running import Settings
from checks.classroom.submissions import CollectError, Submission, unpack


def grade(arguments: argparse.Namespace) -> int:
    """Mark, and say how it went. 0 when the run is complete, 1 when something could not be marked,
    2 when it could not begin, 130 when it was interrupted.
    """
    try:
        if arguments.scheduler is None:
            return _grade(arguments, None)
        with cluster(arguments.scheduler, _tell) as workers:
            return _grade(arguments, workers)
    except (LessonError, CollectError, RosterError, ClusterError, OSError) as error:
        return _refused(str(error))
    except KeyboardInterrupt as interrupt:
        _tell("Interrupted. What is marked is kept: the same command goes on.")
        if isinstance(interrupt, AtOnce):
            os._exit(130)  # Python would wait for the threads; their processes end with this one
        return 130


def _grade(arguments: argparse.Namespace, workers: Cluster | None) -> int:
    isolation = workers.isolation if workers else fence.available()
    who = f"At least one worker ({workers.weak[0]})" if workers and workers.weak else "This machine"
    print("Fences around each submission:")
    for sentence in isolation.sentences():
        print(f"  {sentence}")
    if not isolation.full and not arguments.unfenced:
        return _refused(
            f"{who} cannot put up all fences. Mark on another one, or, if you trust "
            "every submission, say --unfenced. `checks doctor` says more."
        )
    if not isolation.full:
        print("WARNING: submissions run WITHOUT FULL FENCES.", file=sys.stderr)
    if not 0 <= arguments.follow_through <= 1:
        return _refused("--follow-through is a share, from 0 to 1.")
    for name, value in (("timeout", arguments.timeout), ("memory", arguments.memory)):
        if not 0 < value < math.inf:
            return _refused(f"--{name} {value:g} lets no submission run: give a number above 0.")
    for path in (arguments.submitted, arguments.source, arguments.to):
        for folder in fence.readable():
            if path.resolve().is_relative_to(folder.resolve()):
                return _refused(
                    f"{path} lies in {folder}, which each submission can read. Move it."
                )
    sources = _sources(arguments.source)
    if not sources:
        return _refused(f"There is no lesson (*.md) at {arguments.source}.")
    students = roster(arguments.variants) if arguments.variants else []
    limits = fence.Limits(seconds=float(arguments.timeout), memory=arguments.memory)
    settings = Settings(limits, isolation, arguments.follow_through)
    with _folder(arguments.submitted) as submitted:
        graded = mark_all(
            submitted, sources, arguments.to, settings,
            jobs=workers.threads if workers else arguments.jobs, students=students,
            executor=workers.executor if workers else None,
            tell=_tell, progress=_bar,
        )  # fmt: skip
    if not graded.number:
        return _refused(
            f"There is no notebook in {arguments.submitted}. Expected: "
            "STUDENT/ASSIGNMENT/NOTEBOOK.ipynb, or STUDENT_anything.ipynb."
        )
    number = f"{graded.number} submission{'s' * (graded.number != 1)}"
    print(f"{number}; results in {arguments.to}. Next: `checks report {arguments.to}`.")
    return 1 if graded.failed else 0


@contextlib.contextmanager
def _folder(submitted: Path) -> Iterator[Path]:
    """The folder of submissions, for as long as it takes where it comes as a zip."""
    if not submitted.is_file():
        yield submitted
        return
    if submitted.suffix == ".ipynb":
        raise CollectError(f"{submitted} is one notebook. Give the folder that it lies in.")
    with tempfile.TemporaryDirectory(prefix="checks-") as folder:
        for problem in unpack(submitted, Path(folder)):
            _tell(problem)
        yield Path(folder)


def _sources(path: Path) -> list[Path]:
    return sorted(path.glob("*.md")) if path.is_dir() else [path] if path.is_file() else []


def _bar(submissions: list[Submission]) -> Iterable[object]:
    try:
        from tqdm import tqdm
    except ImportError:
        return submissions
    bar: Iterable[object] = tqdm(submissions, unit="notebook")
    return bar


def _tell(sentence: str) -> None:
    """Say something on a line of its own, above the bar."""
    sentence = _printable(sentence)
    try:
        from tqdm import tqdm
    except ImportError:
        print(sentence, file=sys.stderr)
    else:
        tqdm.write(sentence, file=sys.stderr)


def _refused(sentence: str) -> int:
    print(_printable(sentence), file=sys.stderr)
    return 2


def _printable(sentence: str) -> str:
    """A sentence without what a terminal would obey: the name of a file can hold anything."""
    return "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in sentence)
