"""A course of nbgrader's, with a lesson that was made here. Needs nbgrader."""

from __future__ import annotations

import json
import os
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from checks.classroom.lesson import Version, notebook, read
from checks.classroom.release import release


class Course:
    """A folder as nbgrader wants it: the teacher's notebook in it, and known to the gradebook.

    `released` is what students get, which `checks release` has made.
    """

    def __init__(self, folder: Path, source: Path) -> None:
        from nbgrader.apps import NbGraderAPI
        from traitlets.config import Config

        self.folder, self.name = folder, source.stem
        config = Config()
        config.CourseDirectory.root = str(folder)
        config.CourseDirectory.course_id = "course"
        config.Execute.timeout = 300
        teacher = folder / "source" / self.name / f"{self.name}.ipynb"
        teacher.parent.mkdir(parents=True)
        teacher.write_text(json.dumps(notebook(read(source), Version.SOLUTION)), encoding="utf-8")
        (done,) = release([source], folder / "handed_out")
        self.released = done.path
        with _scripts_found():
            self.api = NbGraderAPI(config=config)
            _proved(self.api.generate_assignment(self.name))

    @property
    def book(self) -> Path:
        return self.folder / "gradebook.db"

    def hand_in(self, student: str, built: object) -> None:
        """Put a notebook where nbgrader collects those of a student."""
        path = self.folder / "submitted" / student / self.name / f"{self.name}.ipynb"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(built), encoding="utf-8")

    def autograde(self, student: str) -> None:
        """Have nbgrader mark a student's notebook."""
        with _scripts_found():
            _proved(self.api.autograde(self.name, student))

    def scores(self, student: str) -> dict[str, float]:
        """The scores in the gradebook, by the names of the checks' cells."""
        with self.api.gradebook as book:
            (handed_in,) = book.find_submission(self.name, student).notebooks
            return {grade.name: grade.score for grade in handed_in.grades}


def _proved(done: dict[str, Any]) -> None:
    assert done["success"], done.get("error", done.get("log"))


@contextmanager
def _scripts_found() -> Iterator[None]:
    """nbgrader runs programs by their bare names."""
    path = f"{sysconfig.get_path('scripts')}{os.pathsep}{os.environ['PATH']}"
    with patch.dict(os.environ, PATH=path):
        yield
