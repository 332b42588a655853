"""From end to end: JupyterLab as `checks lab` starts it, and lesson 05 in a real browser."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from packages import node_modules
from playwright.sync_api import Error, Locator, Page, sync_playwright

from checks.classroom.release import release

ROOT = Path(__file__).resolve().parents[1]
SCREENSHOTS = ROOT / "artefacts"
LESSON = "05_backpropagation.ipynb"
CHROMIUM = shutil.which("chromium")
FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
]

# Two of three right, the last without the factor x: the verdict shows the step.
WRONG_5_4 = "dS4, dy_hat4, dw4 = -10, -10, -10"

pytestmark = [
    pytest.mark.pinned,
    pytest.mark.skipif(
        not CHROMIUM and not os.environ.get("CI"), reason="Chromium is not installed"
    ),
]


@pytest.fixture(scope="module")
def course(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the course: what is typed here must not end up in anybody's my-notebooks."""
    course = tmp_path_factory.mktemp("course")
    for folder in ("checks", "images", "notebooks"):
        shutil.copytree(ROOT / folder, course / folder)
    return course


@pytest.fixture(scope="module")
def address(course: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of lesson 05 in a JupyterLab that `checks lab` has started."""
    home = tmp_path_factory.mktemp("home")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    own = {name: str(home / name) for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR")}
    command = [sys.executable, "-m", "checks", "lab", "--no-browser", "--port", str(port)]
    with (home / "log").open("w") as log:
        server = subprocess.Popen(
            # The last argument lets the test ask JupyterLab what it is doing.
            [*command, "--LabApp.expose_app_in_browser=True"],
            cwd=course,
            env={**os.environ, **own, "IPYTHONDIR": str(home), "JUPYTER_TOKEN": "secret"},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    base = f"http://127.0.0.1:{port}"
    try:
        for _ in range(120):
            try:
                urllib.request.urlopen(f"{base}/api/status?token=secret", timeout=5).close()
                break
            except OSError:
                assert server.poll() is None, (home / "log").read_text()
                time.sleep(0.5)
        else:
            pytest.fail((home / "log").read_text())
        yield f"{base}/lab/tree/my-notebooks/{LESSON}?token=secret"
    finally:
        server.terminate()
        server.wait(timeout=30)


class Lab:
    """A browser on the lesson."""

    def __init__(self, page: Page, notebook: dict[str, Any]) -> None:
        self.page = page
        self.notebook = notebook
        self.numbers = {cell["id"]: number for number, cell in enumerate(notebook["cells"])}

    def app(self, script: str, argument: Any = None) -> Any:
        """Ask JupyterLab: `content` is the open notebook, `it` the argument."""
        return self.page.evaluate(
            "it => { const app = window.jupyterapp, content = app.shell.currentWidget.content;"
            f" return {script} }}",
            argument,
        )

    def counts(self) -> list[int | None]:
        """The number of the run of each code cell."""
        cells = "content.model.cells"
        return self.app(
            f"Array.from({cells}).filter(c => c.type == 'code').map(c => c.executionCount)"
        )

    def run_all(self) -> None:
        """Run all cells, and wait until all have run."""
        number = sum(cell["cell_type"] == "code" for cell in self.notebook["cells"])
        self.page.get_by_text("| Idle").first.wait_for(timeout=60_000)
        for quarter in range(240):
            # What is sent before the kernel listens is lost without a word: it is sent again.
            if quarter % 40 == 0 and not any(self.counts()):
                self.app("void app.commands.execute('notebook:run-all-cells')")
            if self.counts() == list(range(1, number + 1)):
                return
            time.sleep(0.25)
        pytest.fail(f"not all cells were run, or not in order: {self.counts()}")

    def show(self, cell_id: str) -> Locator:
        """Scroll to a cell: JupyterLab draws only those that are near."""
        number = self.numbers[cell_id]
        self.app("content.scrollToItem(it, 'center')", number)
        cell = self.page.locator(f'.jp-Notebook [data-windowed-list-index="{number}"]')
        cell.wait_for(timeout=30_000)
        return cell

    def answer(self, exercise: str, text: str) -> str:
        """Type an answer into the cell of an exercise, run it and its check; what is then shown."""
        cell = self.show(f"answer-{exercise}")
        cell.locator(".cm-content").click()
        self.page.keyboard.press("Control+a")
        self.page.keyboard.insert_text(text)
        self.page.keyboard.press("Shift+Enter")
        check = self.show(f"check-{exercise}")
        before = check.locator(".jp-InputPrompt").inner_text()
        check.locator(".cm-content").click()
        self.page.keyboard.press("Shift+Enter")
        for _ in range(120):
            prompt = check.locator(".jp-InputPrompt").inner_text()
            if prompt != before and re.fullmatch(r"\[\d+\]:", prompt):
                return check.locator(".jp-OutputArea").inner_text()
            time.sleep(0.25)
        pytest.fail(f"the check of {exercise} was not run")


@pytest.fixture(scope="module")
def lab(address: str, course: Path) -> Iterator[Lab]:
    if not CHROMIUM:
        pytest.fail("Chromium is not installed, and on the machine that decides it has to be")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page(viewport={"width": 1280, "height": 1000})
        errors: list[Error] = []
        page.on("pageerror", lambda error: errors.append(error))
        page.goto(address)
        page.locator(".jp-Notebook").wait_for(timeout=60_000)
        notebook = json.loads((course / "notebooks" / LESSON).read_text(encoding="utf-8"))
        yield Lab(page, notebook)
        browser.close()
    assert not errors


def test_a_lesson_is_run_and_marked(lab: Lab) -> None:
    # Whatever lies between the learner and a verdict: copying, serving, the kernel, the drawing.
    lab.run_all()
    lab.show("check-5-1").get_by_text("5.1: unanswered").wait_for(timeout=30_000)

    assert "5.1: wrong" in lab.answer("5-1", "dz_dx1 = -123.4")
    solutions = json.loads((ROOT / "notebooks/solutions" / LESSON).read_text(encoding="utf-8"))
    (cell,) = (cell for cell in solutions["cells"] if cell["id"] == "answer-5-1")
    right = "".join(line for line in cell["source"] if not line.startswith("###"))
    assert "5.1: correct" in lab.answer("5-1", right)


def test_formulas_and_figures_are_drawn(lab: Lab) -> None:
    # A formula that MathJax refuses, a figure that the server does not find.
    figures = 0
    for cell in lab.notebook["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] != "markdown" or ("![" not in source and "$$" not in source):
            continue
        shown = lab.show(cell["id"])
        if "$$" in source:
            shown.locator("mjx-container").first.wait_for(timeout=30_000)
            assert "$$" not in shown.inner_text()
        for image in shown.locator("img").all():
            figures += 1
            image.scroll_into_view_if_needed()
            assert image.evaluate("it => it.decode().then(() => it.naturalWidth)") > 0
        assert shown.locator("mjx-merror, [data-mjx-error]").count() == 0
    assert figures


@pytest.mark.parametrize(
    ("name", "theme"), [("light", "JupyterLab Light"), ("dark", "JupyterLab Dark")]
)
def test_it_looks_right_in_both_themes(lab: Lab, name: str, theme: str) -> None:
    # For the eye: a verdict and a figure, in artefacts/. Here only that the theme was changed.
    lab.app("app.commands.execute('apputils:change-theme', { theme: it })", theme)
    lab.page.locator(f'body[data-jp-theme-name="{theme}"]').wait_for(state="attached")
    SCREENSHOTS.mkdir(exist_ok=True)
    lab.answer("5-1", "dz_dx1 = -123.4")
    lab.page.screenshot(path=SCREENSHOTS / f"lesson_05_verdict_{name}.png")
    figure = next(c["id"] for c in lab.notebook["cells"] if "![" in "".join(c["source"]))
    lab.show(figure)
    lab.page.screenshot(path=SCREENSHOTS / f"lesson_05_figure_{name}.png")


def test_the_walk_goes_on_by_keyboard(lab: Lab) -> None:
    # In command mode JupyterLab takes the arrow keys for itself, and moves to another cell.
    (cell,) = (c["id"] for c in lab.notebook["cells"] if "checks.step(" in "".join(c["source"]))
    walk = lab.show(cell).locator("fieldset")
    first, second = walk.get_by_text("Step 1 of 3:"), walk.get_by_text("Step 2 of 3:")
    assert first.is_visible()
    assert not second.is_visible()
    walk.get_by_label("Step 1", exact=True).focus()
    lab.page.keyboard.press("ArrowRight")
    assert second.is_visible()
    assert not first.is_visible()
    SCREENSHOTS.mkdir(exist_ok=True)
    lab.page.screenshot(path=SCREENSHOTS / "lesson_05_walk.png")


def test_the_outputs_are_accessible(lab: Lab) -> None:
    # Colour alone, text that is too pale, a picture without words, buttons without names.
    packages = node_modules()
    if packages is None:
        pytest.skip("Node.js is not installed: axe-core cannot be had")
    lab.page.add_script_tag(path=packages / "axe-core/axe.min.js")
    lab.answer("5-4", WRONG_5_4)
    for cell in lab.notebook["cells"]:
        if cell["cell_type"] != "code" or not re.search(r"checks\.\w+\(", "".join(cell["source"])):
            continue
        output = lab.show(cell["id"]).locator(".jp-OutputArea-output").first
        output.wait_for()
        found = output.evaluate("async it => (await axe.run(it)).violations")
        serious = [v for v in found if v["impact"] in ("serious", "critical")]
        told = [(v["id"], node["html"][:200]) for v in serious for node in v["nodes"]]
        assert not told, (cell["id"], told)


def test_a_released_lesson_shows_its_figures(lab: Lab, course: Path) -> None:
    # JupyterLab shows no SVG from a cell's attachments; a link may still lead out of the file.
    # This test comes last: it leaves a second notebook open.
    folder = course / "a/b/released"
    release([course / "notebooks/source/05_backpropagation.md"], folder)
    lab.app("void app.commands.execute('docmanager:open', { path: it })", f"a/b/released/{LESSON}")
    cells = json.loads((folder / LESSON).read_text(encoding="utf-8"))["cells"]
    figures = [k for k, cell in enumerate(cells) if "<img" in "".join(cell["source"])]
    assert figures
    panel = lab.page.locator(".jp-NotebookPanel:not(.lm-mod-hidden)")
    panel.get_by_text("Points: 17 in all").wait_for(timeout=30_000)
    for number in figures:
        lab.app("content.scrollToItem(it, 'center')", number)
        image = panel.locator(f'[data-windowed-list-index="{number}"] img')
        image.wait_for(timeout=30_000)
        assert image.evaluate("it => it.decode().then(() => it.naturalWidth)") > 0
