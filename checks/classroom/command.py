"""What `checks grade` does with its arguments."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from checks.classroom.lesson import LessonError
from checks.classroom.submissions import CollectError, Submission, unpack


def grade(arguments: argparse.Namespace) -> int:
    """Mark, and say how it went. 0 when the run is complete, 1 when something could not be marked,
    2 when it could not begin.
    """
    if not hasattr(os, "fork"):
        return _refused("Marking needs Linux or macOS; on Windows it works inside WSL.")
    from checks.classroom import fence
    from checks.classroom.grading import grade as mark_all
    from checks.classroom.running import Settings

    isolation = fence.available()
    print("Fences around each submission:")
    for sentence in isolation.sentences():
        print(f"  {sentence}")
    if not isolation.full and not arguments.unfenced:
        return _refused(
            "This machine cannot put up all fences. Mark on another one, or, if you trust "
            "every submission, say --unfenced. `checks doctor` says more."
        )
    if not isolation.full:
        print("WARNING: submissions run WITHOUT FULL FENCES on this machine.", file=sys.stderr)
    if not 0 <= arguments.follow_through <= 1:
        return _refused("--follow-through is a share, from 0 to 1.")
    sources = _sources(arguments.source)
    if not sources:
        return _refused(f"There is no lesson (*.md) at {arguments.source}.")
    limits = fence.Limits(seconds=float(arguments.timeout), memory=arguments.memory)
    settings = Settings(limits, isolation, arguments.follow_through)
    troubles: list[str] = []
    try:
        with tempfile.TemporaryDirectory() as folder:
            submitted = arguments.submitted
            if submitted.is_file():
                unpack(submitted, Path(folder))
                submitted = Path(folder)
            graded = mark_all(
                submitted, sources, arguments.to, settings,
                jobs=arguments.jobs, tell=troubles.append, progress=_bar,
            )  # fmt: skip
    except (LessonError, CollectError) as error:
        return _refused(str(error))
    for trouble in troubles:
        print(trouble, file=sys.stderr)
    print(f"{graded.number} submissions; results in {arguments.to}. Next: `checks report`.")
    return 1 if graded.failed else 0


def _sources(path: Path) -> list[Path]:
    return sorted(path.glob("*.md")) if path.is_dir() else [path] if path.is_file() else []


def _bar(submissions: list[Submission]) -> Iterable[object]:
    try:
        from tqdm import tqdm
    except ImportError:
        return submissions
    bar: Iterable[object] = tqdm(submissions, unit="notebook")
    return bar


def _refused(sentence: str) -> int:
    print(sentence, file=sys.stderr)
    return 2
