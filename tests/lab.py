"""JupyterLab as `checks lab` starts it, and the lessons in it, used through Chromium."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from packages import node_modules
from playwright.sync_api import Locator, Page, expect, sync_playwright

CHROMIUM = shutil.which("chromium")
FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
]
TOKEN = "secret"
PATIENCE = 120_000  # milliseconds: long enough for a busy machine
expect.set_options(timeout=PATIENCE)
THEMES = {"light": "JupyterLab Light", "dark": "JupyterLab Dark"}

# What a script that is given to JupyterLab may speak of.
SCRIPT = """async it => {
    const app = window.jupyterapp, panel = app.shell.currentWidget, content = panel?.content
    const late = new Promise((_, no) => setTimeout(() => no('JupyterLab does not answer'), %d))
    return await Promise.race([late, (async () => %s)()])
}"""

# For axe-core, what is scrolled out of sight is hidden. So the lesson is let out of its window.
LET_OUT = """
    .let-out { overflow: visible !important; content-visibility: visible !important }
    .let-out:has(.jp-Notebook) > :not(.let-out) { visibility: hidden }
    .jp-WindowedPanel-viewport.let-out { background: var(--jp-layout-color0) }
"""
AXE = """(async () => {
    const [selector, exceptions] = it
    const grave = rule => ['serious', 'critical'].includes(rule.impact)
    const excepted = (rule, node) => exceptions.some(e => e[0] === rule.id && node.matches(e[1]))
    const inside = [...content.node.querySelectorAll('*')]
    const let_out = inside.filter(node => node.matches('[class*=WindowedPanel], .jp-Cell'))
    for (let node = content.node; node; node = node.parentElement) let_out.push(node)
    let_out.forEach(node => node.classList.add('let-out'))
    const places = [...content.node.querySelectorAll(selector)]
    const found = await axe.run(places, { elementRef: true, selectors: false })
    const legible = places.filter(place => place.textContent.trim())
    let_out.forEach(node => node.classList.remove('let-out'))

    const problems = found.violations.filter(grave).flatMap(rule => rule.nodes
        .filter(node => !excepted(rule, node.element))
        .map(node => [rule.id, node.html, node.failureSummary]))
    const judged = [found.passes, found.violations, found.incomplete].flat()
        .filter(rule => rule.id === 'color-contrast')
        .flatMap(rule => rule.nodes.map(node => node.element))
    const unseen = legible.filter(place => !judged.some(node => place.contains(node)))
    return [...problems, ...unseen.map(place => ['unseen', place.outerHTML.slice(0, 300)])]
})()"""


@contextmanager
def serving(course: Path, home: Path) -> Iterator[str]:
    """Start JupyterLab on a copy of the course, and give the address that a learner opens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    own = {name: str(home / name) for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR")}
    command = [sys.executable, "-m", "checks", "lab", "--no-browser", "--port", str(port)]
    with (home / "log").open("w") as log:
        server = subprocess.Popen(
            # The last argument lets the tests ask JupyterLab what it is doing.
            [*command, "--LabApp.expose_app_in_browser=True"],
            cwd=course,
            env={**os.environ, **own, "IPYTHONDIR": str(home), "JUPYTER_TOKEN": TOKEN},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(PATIENCE // 100):
            try:
                urllib.request.urlopen(f"{address}/api/status?token={TOKEN}", timeout=5).close()
                break
            except OSError:
                assert server.poll() is None, (home / "log").read_text()
                time.sleep(0.1)
        else:
            raise AssertionError((home / "log").read_text())
        yield f"{address}/?token={TOKEN}"
    finally:
        server.terminate()
        try:
            server.wait(timeout=30)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


@contextmanager
def browsing(address: str) -> Iterator[Page]:
    """A browser on JupyterLab. Afterwards: no script may have failed in it."""
    assert CHROMIUM, "Chromium is not installed, and on the machine that decides it has to be"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page(viewport={"width": 1280, "height": 1000})
        page.set_default_timeout(PATIENCE)
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error.stack)))
        page.goto(address)
        yield page
        browser.close()
    assert not errors, errors


class Lesson:
    """A lesson that is open in JupyterLab, in front of all else."""

    def __init__(self, page: Page, cells: list[dict[str, Any]]) -> None:
        self.page = page
        self.cells = cells
        self.node = page.locator(".jp-NotebookPanel:not(.lm-mod-hidden) .jp-Notebook")

    def app(self, script: str, argument: Any = None) -> Any:
        """Ask JupyterLab: `content` is the open notebook, `it` the argument. Promises are kept."""
        return self.page.evaluate(SCRIPT % (PATIENCE, script), argument)

    def run_all(self) -> None:
        """Run all cells; return when the kernel has nothing left to do, whatever came out."""
        # What is sent before the kernel has answered once is lost without a word.
        self.app("(await panel.sessionContext.ready, panel.sessionContext.session.kernel.info)")
        # The command comes to its end at the first error, the kernel only where no error is
        # expected. It answers questions in their turn: this one when all cells have run.
        self.app("app.commands.execute('notebook:run-all-cells')")
        self.app("panel.sessionContext.session.kernel.requestKernelInfo()")

    def of_cells(self, script: str) -> list[Any]:
        """Ask about each cell: `cell` is its model, `node` what is drawn of it."""
        loop = "content.widgets.map(it => [it.model, it.node]).map(([cell, node]) => %s)"
        return self.app(f"Promise.all({loop % script})")

    def cell(self, cell_id: str) -> Locator:
        """A cell, scrolled to the middle of the window."""
        (number,) = (k for k, cell in enumerate(self.cells) if cell["id"] == cell_id)
        self.app("content.scrollToItem(it, 'center')", number)
        return self.node.locator(f'[data-windowed-list-index="{number}"]')

    def answer(self, exercise: str, text: str) -> Locator:
        """Type an answer into the cell of an exercise, run it and its check; give what it shows."""
        runs = "Math.max(...Array.from(content.model.cells).map(cell => cell.executionCount ?? 0))"
        before = self.app(runs)
        for kind in ("answer", "check"):
            cell = self.cell(f"{kind}-{exercise}")
            cell.locator(".cm-content").click()
            if kind == "answer":
                self.page.keyboard.press("Control+a")
                self.page.keyboard.insert_text(text)
            self.page.keyboard.press("Shift+Enter")
        expect(cell.locator(".jp-InputPrompt")).to_have_text(f"[{before + 2}]:", timeout=PATIENCE)
        return cell.locator(".jp-OutputArea")

    def themes(self) -> Iterator[str]:
        """Show the lesson in each theme, and say which: first the one that it is in already."""
        now = self.page.locator("body").get_attribute("data-jp-theme-name")
        for name, title in sorted(THEMES.items(), key=lambda theme: theme[1] != now):
            self.app("app.commands.execute('apputils:change-theme', { theme: it })", title)
            self.page.locator(f'body[data-jp-theme-name="{title}"]').wait_for(state="attached")
            yield name

    def screenshot(self, place: Locator, file: Path) -> None:
        """Keep what a learner sees of a place in the lesson and of what is around it."""
        for _ in range(2):  # what comes near gets its real height only then
            place.evaluate("it => it.scrollIntoView({ block: 'center' })")
        self.page.screenshot(path=file)

    def axe(self, selector: str, exceptions: Sequence[tuple[str, str]]) -> list[list[str]]:
        """Give what is hard to use at these places: the rule of axe-core that says so, the HTML.

        `exceptions` are pairs of a rule and a selector. A place with text that axe-core could not
        judge the colours of is told, too: it does so where it takes a place for hidden.
        """
        return self.app(AXE, [selector, list(exceptions)])


class Lab:
    """JupyterLab in a browser, and the course that it shows."""

    def __init__(self, page: Page, course: Path) -> None:
        self.page = page
        self.course = course
        if packages := node_modules():
            page.add_script_tag(path=packages / "axe-core/axe.min.js")
            page.add_style_tag(content=LET_OUT)

    @contextmanager
    def opened(self, path: str) -> Iterator[Lesson]:
        """Open a notebook of the course; afterwards, close it and stop its kernel."""
        cells = json.loads((self.course / path).read_text(encoding="utf-8"))["cells"]
        lesson = Lesson(self.page, cells)
        lesson.app("void app.commands.execute('docmanager:open', { path: it })", path)
        front = "it => window.jupyterapp.shell.currentWidget?.context?.path === it"
        self.page.wait_for_function(front, arg=path)
        lesson.app("panel.context.ready")
        expect(lesson.node.locator(".jp-Cell")).to_have_count(len(cells), timeout=PATIENCE)
        yield lesson
        lesson.app("panel.context.save()")  # what is not saved is asked about
        lesson.app("void panel.sessionContext.shutdown()")
        lesson.app("panel.close()")
