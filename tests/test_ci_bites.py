"""What `make test` must not let through: lessons are broken on purpose, and pytest has to say so.

One run of pytest over a few tiny notebooks, with the project's own configuration. Its report is
read by the tests below.
"""

import base64
import io
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]


def shown(text: str) -> dict[str, Any]:
    return new_output("execute_result", {"text/plain": text}, execution_count=1)


def printed(text: str) -> dict[str, Any]:
    return new_output("stream", name="stdout", text=text)


def displayed(data: dict[str, str], metadata: dict[str, Any] | None = None) -> dict[str, Any]:
    return new_output("display_data", data, metadata=metadata or {})


def picture(grey: int, at: int = 20, level: int = 9) -> str:
    """A PNG with one dot, in base64, packed more or less."""
    image, file = Image.new("L", (40, 30), 255), io.BytesIO()
    image.putpixel((at, 10), grey)
    image.save(file, "PNG", compress_level=level)
    return base64.b64encode(file.getvalue()).decode()


def html(text: str) -> dict[str, Any]:
    data = {"text/html": text, "text/plain": "<IPython.core.display.HTML object>"}
    return new_output("execute_result", data, execution_count=1)


def raised(name: str, value: str) -> dict[str, Any]:
    return new_output("error", ename=name, evalue=value, traceback=[])


RAISES = {"tags": ["raises-exception"]}
SHOW = "from IPython.display import display\ndisplay({}, raw=True, metadata={{'checks': 1}})"
SHOW_PICTURE = SHOW.format({"image/png": picture(90)})
SHOW_HTML = "from IPython.display import HTML\nHTML('<b>correct</b>')"

# Everything here is as it should be: its passing shows that the others fail for their own reason.
GOOD: list[tuple[str, dict[str, Any] | None, dict[str, Any]]] = [
    ("1 + 1", shown("2"), {}),
    ("print('loss', 4)", printed("loss 4\n"), {}),
    (SHOW_HTML, html("<b>correct</b>"), {}),
    ("1 / 0", raised("ZeroDivisionError", "division by zero"), RAISES),
    ("object()", shown("<object at 0x7fa41c0d4a30>"), {}),
    ("import json\nprint(json.__file__)", printed("python/json/__init__.py\n"), {}),
    ("1 + 1;", None, {}),  # a `;` means silence
    # Packed otherwise, and a little darker: another machine's.
    (SHOW_PICTURE, displayed({"image/png": picture(84, level=0)}, {"checks": 1}), {}),
]
# Each of these is wrong in one way: what the cell is, what is stored, its tags; what must be said.
BROKEN: list[tuple[str, dict[str, Any] | None, dict[str, Any], str]] = [
    ("1 + 1", shown("3"), {}, "mismatch 'text/plain'"),
    ("print('loss', 4)", printed("loss 5\n"), {}, "mismatch 'stdout'"),
    (SHOW_HTML, html("<b>wrong</b>"), {}, "mismatch 'text/html'"),
    ("1 / 0", raised("ZeroDivisionError", "by zero"), RAISES, "mismatch 'evalue'"),
    ("1 / 0", None, {}, "Cell execution caused an exception"),
    ("1 + 1", None, {}, "Unexpected output fields"),
    ("one = 1", shown("1"), {}, "Missing output fields"),
    ("one = 1", None, RAISES, "no longer raises anything"),
    (SHOW_PICTURE, displayed({"image/png": picture(60)}, {"checks": 1}), {}, "by up to 30 of 255"),
    (SHOW_PICTURE, displayed({"image/png": picture(90, 21)}, {"checks": 1}), {}, "2 of 1200"),
    (SHOW_PICTURE, displayed({"text/plain": "x"}), {}, "Missing output fields"),
    (SHOW_PICTURE, displayed({}, {"checks": 1}), {}, "image/png as well, which is not stored"),
    (SHOW_PICTURE, displayed({"image/png": picture(90)}), {}, "Stored with the metadata {}"),
    (SHOW.format({"text/plain": "2"}), shown("2"), {}, "Stored are execute_result"),
]


def write(path: Path, cells: list[tuple], counts: list[int | None] | None = None) -> None:
    notebook = new_notebook()
    for number, (source, output, metadata, *_) in enumerate(cells, start=1):
        count = counts[number - 1] if counts else number
        outputs = [output] if output else []
        cell = new_code_cell(source, execution_count=count, outputs=outputs, metadata=metadata)
        notebook.cells.append(cell)
    nbformat.write(notebook, path)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What pytest says of the notebooks in a folder of their own."""
    course = tmp_path_factory.mktemp("course")
    (course / "notebooks").mkdir()
    for name in ("pyproject.toml", "notebooks/conftest.py"):
        shutil.copy(ROOT / name, course / name)
    write(course / "notebooks/good.ipynb", GOOD)
    write(course / "notebooks/broken.ipynb", BROKEN)
    write(course / "notebooks/never_run.ipynb", [("two = 2", None, {})], [None])
    two = [("two = 2", None, {}), ("three = 3", None, {})]
    write(course / "notebooks/out_of_order.ipynb", two, [1, 3])
    write(course / "notebooks/dies.ipynb", [("import os\nos._exit(1)", None, {})])
    write(
        course / "notebooks/hangs.ipynb",
        [("import time\nwhile True:\n    time.sleep(1)", None, {})],
    )
    options = ["-p", "no:cacheprovider", "--color=no", "-rA", "--nbval-cell-timeout=6"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, "notebooks"],
        cwd=course,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 1, done.stdout
    return done.stdout


def said_of(report: str, notebook: str, cell: int) -> str:
    """The part of the report on one failed cell."""
    title = rf"_+ notebooks/{notebook}.ipynb::Cell {cell} _+\n"
    found = re.search(title + r"(.*?)(?=\n_{5,} |\n={5,} )", report, re.DOTALL)
    assert found, report
    return found[1]


def test_what_is_right_passes(report: str) -> None:
    # A harness that fails everything would pass all the other tests here.
    for cell in range(len(GOOD)):
        assert f"PASSED notebooks/good.ipynb::Cell {cell}\n" in report


@pytest.mark.parametrize("cell", range(len(BROKEN)), ids=[case[-1] for case in BROKEN])
def test_what_is_stored_is_compared(report: str, cell: int) -> None:
    # The stored output differs from the new one, or should not be there, or is missing.
    assert BROKEN[cell][-1] in said_of(report, "broken", cell)


def test_a_notebook_that_was_never_run_fails(report: str) -> None:
    # nbval alone compares nothing and passes it.
    assert "not run from top to bottom" in said_of(report, "never_run", 0)


def test_a_notebook_run_out_of_order_fails(report: str) -> None:
    # Its outputs may be of a state that a run from top to bottom never reaches.
    assert "Stored as run number 3 and not 2" in said_of(report, "out_of_order", 1)


def test_a_kernel_that_dies_fails(report: str) -> None:
    # nbval alone waits until the time for a cell is over, and blames the clock.
    assert "The kernel died while it ran this cell" in said_of(report, "dies", 0)


def test_a_cell_that_hangs_fails(report: str) -> None:
    # nbval's own limit is longer than half an hour.
    assert "Timeout of 6 seconds exceeded" in said_of(report, "hangs", 0)
