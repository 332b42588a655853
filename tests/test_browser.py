"""From end to end: every lesson in a real browser, in JupyterLab as `checks lab` starts it."""

import itertools
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from formulas import Formula, scan
from lab import CHROMIUM, Lab, Lesson, browsing, serving
from packages import node_modules
from playwright.sync_api import Locator, expect
from rules import without_code

from checks.classroom.release import release

ROOT = Path(__file__).resolve().parents[1]
SCREENSHOTS = ROOT / "artefacts"
LESSONS = sorted(source.stem for source in (ROOT / "notebooks/source").glob("*.md"))

# In each lesson one exercise, and an answer with a mistake that is often made.
WRONG = {
    "01": ("1-6", "dm_dz6 = [1 / 4] * 4\ndm_dy6 = [6, -1.5, -9, 13.5]\ndm_dx6 = dm_dy6"),
    "02": ("2-1", "J1 = [[10, 0], [5, -2], [-3, 7]]"),
    "03": ("3-6", "dm_dx6 = [5, 1.25, -1.5625, 10.25]"),
    "04": ("4-3", "zeroed3 = 1.6 - 0.1 * -4.8\nnot_zeroed3 = zeroed3"),
    "05": ("5-4", "dS4, dy_hat4, dw4 = -10, -10, -10"),
    "06": (
        "6-9",
        "def linear_backward(upstream, X, W, b):\n"
        "    return upstream @ W.T, X.T @ upstream, upstream.mean(dim=0)",
    ),
    "07": ("7-2", "def tanh_backward(upstream, a):\n    return (upstream * (1 - math.tanh(a)),)"),
    "99": ("99-2", 'reported2 = "not a scalar"'),
}

# What axe-core finds and the course cannot mend: a rule, and where it is not asked for.
UNMENDABLE = [
    # JupyterLab has no place for the words of a plot: they stand in the text below it.
    ("image-alt", ".jp-RenderedImage img"),
    # ipywidgets has no place for the words of a slider and its picture: the text above says them.
    ("image-alt", ".widget-image"),
    ("aria-input-field-name", ".widget-slider .noUi-handle"),
    # IPython has chosen the colours of a traceback, and JupyterLab the paper below it.
    ("color-contrast", '[data-mime-type="application/vnd.jupyter.stderr"] *'),
]
FIGURES = (r"!\[", r"checks\.(draw|step)\(", r"plt\.show\(")

pytestmark = [
    pytest.mark.pinned,
    pytest.mark.skipif(
        not CHROMIUM and not os.environ.get("CI"), reason="Chromium is not installed"
    ),
]


@pytest.fixture(scope="module")  # two of Playwright's in one process cannot be
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """JupyterLab on a copy of the course: what is typed here must not end up in anybody's."""
    course, home = tmp_path_factory.mktemp("course"), tmp_path_factory.mktemp("home")
    for folder in ("checks", "images", "notebooks"):
        shutil.copytree(ROOT / folder, course / folder)
    with serving(course, home) as address, browsing(address) as page:
        expect(page.locator(".jp-DirListing-item")).to_have_count(len(LESSONS))
        yield Lab(page, course)


@pytest.fixture(scope="module", params=LESSONS)
def name(request: pytest.FixtureRequest) -> str:
    """The name of a lesson."""
    return request.param


@pytest.fixture(scope="module")
def lesson(name: str, lab: Lab) -> Iterator[Lesson]:
    """The lesson, opened in JupyterLab, after all of its cells were sent to the kernel."""
    with lab.opened(f"my-notebooks/{name}.ipynb") as lesson:
        lesson.run_all()
        yield lesson


@pytest.fixture(scope="module")
def marked_wrong(name: str, lesson: Lesson) -> Locator:
    """What the lesson shows below the check of a wrong answer."""
    return lesson.answer(*WRONG[name[:2]])


def soon(ask: Callable[[], Any], wanted: Any) -> None:
    """What JupyterLab draws when it finds the time has to be there before long."""
    for _ in range(1000):
        if (found := ask()) == wanted:
            return
        time.sleep(0.1)
    assert found == wanted


def stored(name: str, folder: str = "notebooks") -> list[dict[str, Any]]:
    """The cells of a lesson as it was built."""
    text = (ROOT / folder / f"{name}.ipynb").read_text(encoding="utf-8")
    return json.loads(text)["cells"]


def source(cell: dict[str, Any], kind: str) -> str:
    """What a cell was made from, or nothing where it is not of this kind."""
    return "".join(cell["source"]) if cell["cell_type"] == kind else ""


def outputs(cell: dict[str, Any]) -> set[str]:
    """The kinds of things that come out of a cell, in however many pieces."""
    return {
        " ".join([output["output_type"], output.get("name", ""), *sorted(output.get("data", {}))])
        for output in cell.get("outputs", [])
    }


def verdict(name: str, word: str) -> str:
    """How the verdict on the lesson's exercise begins."""
    return f"{WRONG[name[:2]][0].replace('-', '.')}: {word}"


def test_every_cell_has_run(name: str, lesson: Lesson) -> None:
    # A cell that fails and must not, one that should and does not, a kernel that has died.
    found = lesson.of_cells("cell.toJSON()")
    wanted = stored(name)
    assert [outputs(cell) for cell in found] == [outputs(cell) for cell in wanted]
    counts = [cell.get("execution_count") for cell in wanted]
    assert [cell.get("execution_count") for cell in found] == counts
    expect(lesson.cell(f"check-{WRONG[name[:2]][0]}")).to_contain_text(verdict(name, "unanswered"))


def test_formulas_are_drawn(lesson: Lesson) -> None:
    # A formula that MathJax refuses, or that Markdown has taken to pieces before.
    wanted = [
        [sum(isinstance(it, Formula) for it in scan(without_code(source(cell, "markdown")))), 0]
        for cell in lesson.cells
    ]
    broken = "mjx-merror, [data-mjx-error]"
    numbers = ", ".join(f"node.querySelectorAll('{it}').length" for it in ("mjx-container", broken))
    soon(lambda: lesson.of_cells(f"[{numbers}]"), wanted)


def test_figures_are_drawn(name: str, lesson: Lesson) -> None:
    # A figure that the server does not find, a plot or graph without size, a widget without life.
    wanted = []
    for cell in stored(name):
        data = [output.get("data", {}) for output in cell.get("outputs", [])]
        plots = sum("image/png" in it for it in data)
        wanted.append(
            {
                "pictures": source(cell, "markdown").count("![") + plots,
                "graphs": sum("".join(it.get("text/html", "")).count("<svg") for it in data),
                "widgets": sum("application/vnd.jupyter.widget-view+json" in it for it in data),
            }
        )
    found = lesson.of_cells(
        """(async () => {
            const pictures = [...node.querySelectorAll('img:not(.widget-image)')]
            await Promise.all(pictures.map(it => it.decode().catch(() => 0)))
            const graphs = [...node.querySelectorAll('.jp-OutputArea-output svg')]
            const seen = it => it.getBoundingClientRect().width > 30
            return {
                pictures: pictures.filter(it => it.naturalWidth && seen(it)).length,
                graphs: graphs.filter(it => !it.checkVisibility() || seen(it)).length,
                widgets: node.querySelectorAll('.jp-OutputArea-output > .jupyter-widgets').length,
            }
        })()"""
    )
    assert found == wanted


def test_plots_are_put_into_words(name: str) -> None:
    # What `UNMENDABLE` relies on.
    cells = stored(name)
    for cell, below in itertools.pairwise(cells):
        if any("image/png" in output.get("data", {}) for output in cell.get("outputs", [])):
            assert source(below, "markdown").startswith("*"), cell["id"]


def test_a_wrong_answer_is_marked(name: str, marked_wrong: Locator) -> None:
    # Whatever lies between the learner and a verdict: copying, serving, the kernel, the drawing.
    expect(marked_wrong).to_contain_text(verdict(name, "wrong"))


def test_it_can_be_read_in_both_themes(name: str, lesson: Lesson, marked_wrong: Locator) -> None:
    # Text that is too pale, a picture without words, buttons without names. And for the eye: the
    # verdict and a figure, in artefacts/.
    if node_modules() is None:
        pytest.skip("Node.js is not installed: axe-core cannot be had")
    figures = [
        cell["id"]
        for kind in FIGURES
        for cell in lesson.cells
        if re.search(kind, "".join(cell["source"]))
    ]
    SCREENSHOTS.mkdir(exist_ok=True)
    for theme in lesson.themes():
        lesson.screenshot(marked_wrong, SCREENSHOTS / f"lesson_{name[:2]}_verdict_{theme}.png")
        for figure in figures[:1]:
            drawn = lesson.cell(figure).locator("img, .jp-OutputArea-output svg").first
            lesson.screenshot(drawn, SCREENSHOTS / f"lesson_{name[:2]}_figure_{theme}.png")
        assert lesson.axe(".jp-OutputArea-output", UNMENDABLE) == [], theme


def test_it_can_be_used_by_keyboard(name: str, lesson: Lesson) -> None:
    # In command mode JupyterLab takes keys for itself: Enter edits a cell, an arrow leaves it.
    hint = lesson.node.locator("details").first
    hint.locator("summary").focus()
    lesson.page.keyboard.press("Enter")
    expect(hint).to_have_attribute("open", "")

    for cell in lesson.cells:
        if "checks.step(" not in source(cell, "code"):
            continue
        walk = lesson.cell(cell["id"]).locator("fieldset")
        first, second = (walk.locator("strong", has_text=f"Step {k} of ") for k in (1, 2))
        expect(first).to_be_visible()
        expect(second).to_be_hidden()
        walk.get_by_label("Step 1", exact=True).focus()
        lesson.page.keyboard.press("ArrowRight")
        expect(second).to_be_visible()
        expect(first).to_be_hidden()
        lesson.screenshot(walk, SCREENSHOTS / f"lesson_{name[:2]}_walk.png")


# The last of a lesson, because it takes the wrong answer away.
def test_a_right_answer_is_marked(name: str, lesson: Lesson) -> None:
    # A check that nothing can please.
    exercise, _ = WRONG[name[:2]]
    cells = stored(name, "notebooks/solutions")
    (answer,) = (source(cell, "code") for cell in cells if cell["id"] == f"answer-{exercise}")
    right = "\n".join(line for line in answer.splitlines() if "### " not in line)
    expect(lesson.answer(exercise, right)).to_contain_text(verdict(name, "correct"))


def test_a_released_lesson_shows_its_figures(lab: Lab) -> None:
    # JupyterLab shows no SVG from a cell's attachments; a link may still lead out of the file.
    folder = lab.course / "a/b/released"
    release([lab.course / "notebooks/source/05_backpropagation.md"], folder)
    with lab.opened("a/b/released/05_backpropagation.ipynb") as lesson:
        expect(lesson.node).to_contain_text("Points: 17 in all")
        wanted = [source(cell, "markdown").count("<img") for cell in lesson.cells]
        assert any(wanted)
        found = lesson.of_cells(
            """Promise.all([...node.querySelectorAll('img')].map(
                it => it.decode().then(() => it.naturalWidth > 0, () => false)))"""
        )
        assert [sum(drawn) for drawn in found] == wanted
