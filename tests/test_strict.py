"""What is not compared when the lessons are run again is listed, and nothing is listed in vain."""

from pathlib import Path

import nbformat
import pytest

from checks.classroom import strict
from checks.classroom.lesson import read
from checks.classroom.stable import WIDGET, masks

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"


def test_cells_that_are_not_compared_are_listed() -> None:
    # A tag that was put on a cell to have peace; a reason for a cell that is compared by now.
    tagged = {
        (source.stem, cell.id)
        for source in NOTEBOOKS.glob("source/*.md")
        for cell in read(source).cells
        if "nbval-ignore-output" in cell.tags
    }
    assert tagged == strict.CELLS.keys()


def test_masks_are_listed(tmp_path: Path) -> None:
    # A mask can hide a whole output.
    assert {replacement for _, replacement in masks(tmp_path)} | {WIDGET} == strict.MASKS.keys()


@pytest.mark.parametrize("field", strict.FIELDS)
def test_fields_that_are_not_compared_are_there(field: str) -> None:
    outputs = [
        output
        for path in NOTEBOOKS.glob("*.ipynb")
        for cell in nbformat.read(path, as_version=4).cells
        for output in cell.get("outputs", [])
    ]
    assert any(field in output for output in outputs)


def test_every_exemption_has_a_reason() -> None:
    reasons = [*strict.CELLS.values(), *strict.FIELDS.values(), *strict.MASKS.values()]
    assert all(len(reason.split()) > 4 for reason in [*reasons, strict.WHY_LEVELS])
