"""What comes of the results: tables, feedback for students, the page about the class."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import torch
from packages import node_modules

import checks
from checks.classroom.overview import assignments, in_words
from checks.classroom.report import ReportError, disarmed, report
from checks.classroom.results import read
from checks.malrules import BROADCAST_RULES, MEETING_RULES, NODE_RULES, RESULT_RULES

EVIL = "</code></pre><script>alert(1)</script><img src=https://example.org/a.png>"


def exercise(label: str, outcome: str = "correct", **other: Any) -> dict[str, Any]:
    score = 2.0 if outcome == "correct" else 0.0
    verdict = f"{label}: {outcome}"
    return {
        **{"label": label, "points": 2, "score": score, "credit": score / 2, "outcome": outcome},
        **{"entries": {}, "mistakes": [], "text": verdict, "html": f"<div>{verdict}</div>"},
        **{"code": "dw = 1", "notes": [], "flags": []},
        **other,
    }


def wrong(label: str, *mistakes: str, **other: Any) -> dict[str, Any]:
    return exercise(label, "wrong", mistakes=list(mistakes), **other)


def store(
    folder: Path, student: str, *exercises: dict[str, Any], file: str = "", **other: Any
) -> None:
    result = {
        **{"student": student, "assignment": "05_backpropagation", "source": "s"},
        **{"submission": "h", "isolation": "full", "notes": [], "exercises": list(exercises)},
        **other,
    }
    target = folder / result["assignment"] / f"{file or student}.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(result), encoding="utf-8")


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A class of five, with everything in it that a page may have to show."""
    folder = tmp_path / "results"
    folder.mkdir()
    (folder / "run.json").write_text("{}")
    flagged = exercise("5.10", flags=["uses `backward`, which asks autograd"])
    store(folder, "anna", wrong("5.4", "mean-count"), exercise("5.10"))
    store(folder, "bo", wrong("5.4", "mean-count+sign"), flagged)
    store(folder, "cy", wrong("5.4", "mean-count", "mse-count"), wrong("5.10"))
    store(folder, "=1+1", exercise("5.4"), exercise("5.10"), file="_1_1-123")
    raised = exercise(
        *("5.4", "invalid"), html="", text="It <b>broke</b>.", code=EVIL, notes=["It raised `E`."]
    )
    unanswered = exercise("5.10", "unanswered", code="dw = ...", html="<div>5.10</div>")
    notes = ["The file was renamed."]
    store(folder, f"dé {EVIL}", raised, unanswered, file="dé 1-55", notes=notes)
    return folder


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


class Page(HTMLParser):
    """What a page consists of."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))
        if tag not in {"code", "b"}:
            self.text += " "

    def handle_data(self, data: str) -> None:
        self.text += data

    @property
    def words(self) -> str:
        return " ".join(self.text.split())


# -- what was stored -------------------------------------------------------------------------------


def test_results_are_read_in_the_order_of_names(results: Path) -> None:
    # The mistake: capital letters first, as files are listed.
    store(results, "Bea", exercise("5.4"))
    store(results, "zoe", exercise("1.1"), assignment="01_small")
    read_, problems = read(results)
    assert problems == []
    names = [(result.assignment, result.student) for result in read_]
    assert names[0] == ("01_small", "zoe")
    assert [name for _, name in names if name in ("anna", "Bea", "bo")] == ["anna", "Bea", "bo"]


def test_a_notebook_that_could_not_be_read_is_told_from_wrong_answers(tmp_path: Path) -> None:
    # The mistake: who has one exercise that raised is told that it was no notebook; or the reverse.
    nothing = exercise("5.4", "invalid", text="This is no notebook.")
    raised = exercise("5.4", "invalid", text="It broke.")
    store(tmp_path, "ada", nothing, notes=["This is no notebook."])
    store(tmp_path, "bob", raised, notes=["This is no notebook."])
    store(tmp_path, "cem", {**nothing, "outcome": "wrong"}, notes=["This is no notebook."])
    store(tmp_path, "dan", notes=["This is no notebook."])
    assert [result.unread for result in read(tmp_path)[0]] == [True, False, False, False]


# -- tables ----------------------------------------------------------------------------------------


def test_tables_have_a_row_for_each(results: Path) -> None:
    assert report(results) == []
    grades = rows(results / "grades.csv")
    assert [row["student_id"] for row in grades][:4] == ["'=1+1", "anna", "bo", "cy"]
    assert [row["score"] for row in grades] == ["4", "2", "2", "0", "0"]
    assert {(row["assignment"], row["max_score"]) for row in grades} == {
        ("05_backpropagation", "4")
    }
    assert [row["percent"] for row in grades][:2] == ["100", "50"]
    assert grades[2]["flags"] == "5.10: uses `backward`, which asks autograd"
    assert grades[4]["notes"] == "The file was renamed. | 5.4: It raised `E`."
    each = rows(results / "exercises.csv")
    assert len(each) == 10
    # A spreadsheet makes 5.1 of a bare 5.10.
    assert [row["exercise"] for row in each[:2]] == ["Exercise 5.4", "Exercise 5.10"]
    assert each[2]["mistakes"] == "the mean is differentiated like a sum"


@pytest.mark.parametrize("cell", ["=1+1", "+1", "-1", "@x", "\t=1", "\r=1", "＝1"])
def test_formulas_are_disarmed(cell: str) -> None:
    # A student called =HYPERLINK(…) has the teacher's spreadsheet run it.
    assert disarmed(cell) == f"'{cell}"


def test_what_is_no_formula_stays() -> None:
    assert [disarmed(cell) for cell in ("anna", "a=1", "", 0.5, -1)] == ["anna", "a=1", "", 0.5, -1]


# -- the class -------------------------------------------------------------------------------------


def test_mistakes_are_counted_in_words(results: Path) -> None:
    # One student counted twice for two names of one mistake; a mistake lost in a pair; a wrong
    # answer that no mistake explains not said at all.
    (class_,) = assignments(read(results)[0])
    told = [(f"{len(m.students)} of {m.of}", m.says, m.label) for m in class_.mistakes]
    like_a_sum = "the mean is differentiated like a sum"
    assert told == [
        ("2 of 5", like_a_sum, "5.4"),
        ("1 of 5", f"{like_a_sum}, and the sign is turned around", "5.4"),
        ("1 of 5", "wrong, and no known mistake explains it", "5.10"),
    ]
    report(results)
    assert f"2 of 5: {like_a_sum} (5.4) anna, cy" in Page(results / "class.html").words


def test_every_mistake_of_the_catalogue_has_words() -> None:
    for rule in (*NODE_RULES, *BROADCAST_RULES, *MEETING_RULES, *RESULT_RULES):
        assert in_words(rule.name) != rule.name
        assert not re.search(r"[{}]", in_words(rule.name))
    assert in_words("power-factor") == "the derivative of the power is not applied fully"
    # The results of another version may have other names.
    assert in_words("of-another-version") == "of-another-version"


def test_marks_and_exercises_of_the_class(results: Path) -> None:
    (class_,) = assignments(read(results)[0])
    assert (class_.points, class_.mean, class_.median) == (4, 1.6, 2)
    # Full marks belong into the last bin, and not into one beyond it.
    assert [bin_.count for bin_ in class_.bins] == [2, 0, 0, 0, 0, 2, 0, 0, 0, 1]
    assert [(row.label, row.share) for row in class_.exercises] == [("5.4", 0.2), ("5.10", 0.6)]
    assert [list(row.counts.values()) for row in class_.exercises] == [[1, 3, 0, 1], [3, 1, 1, 0]]


def test_the_page_says_what_to_look_at(results: Path) -> None:
    report(results)
    page = Page(results / "class.html")
    assert "bo 5.10 flag uses backward, which asks autograd" in page.words
    assert "all note The file was renamed." in page.words
    assert "Isolation: full." in page.words
    links = [a["href"] for tag, a in page.tags if tag == "a"]
    assert len(links) == 3 + 5
    for link in links:
        assert link
        assert re.fullmatch(r"[\w./%-]+", link, re.ASCII)
        assert (results / link.replace("%20", " ").replace("%C3%A9", "é")).is_file()


def test_a_run_without_full_isolation_is_said_loudly(results: Path) -> None:
    store(results, "eve", exercise("5.4"), isolation=["network", "files"])
    report(results)
    told = Page(results / "class.html").words
    assert "Warning: not fully isolated." in told
    assert "the fence against the network, the fence around files" in told
    assert "Isolation: full." not in told
    (eve,) = (row for row in rows(results / "grades.csv") if row["student_id"] == "eve")
    assert eve["isolation"] == "without network, files"


def test_marks_from_different_sources_are_said(results: Path) -> None:
    report(results)
    sentence = "not all of these were marked with the same source"
    assert sentence not in Page(results / "class.html").words
    store(results, "eve", exercise("5.4"), source="another")
    report(results)
    assert sentence in Page(results / "class.html").words


def test_assignments_are_kept_apart(results: Path) -> None:
    store(results, "anna", exercise("6.1"), assignment="06_network")
    report(results)
    first, second = assignments(read(results)[0])
    assert (len(first.results), len(second.results), second.points) == (5, 1, 2)
    assert (results / "feedback/06_network/anna.html").is_file()


# -- feedback --------------------------------------------------------------------------------------


def test_feedback_has_code_and_verdict_of_each_exercise(results: Path) -> None:
    report(results)
    page = Page(results / "feedback/05_backpropagation/dé 1-55.html")
    headings = "".join(re.findall(r"Exercise 5\.\d+: \d of 2 points", page.words))
    assert headings == "Exercise 5.4: 0 of 2 pointsExercise 5.10: 0 of 2 points"
    assert f"Your code {EVIL} What the check says invalid: It <b>broke</b>." in page.words
    assert "Note: It raised E." in page.words
    assert "Note: The file was renamed." in page.words
    assert "Your code dw = ... What the check says 5.10" in page.words


def test_a_flag_is_for_the_teacher_only(results: Path) -> None:
    # Nobody is to read in their feedback what the teacher has not decided yet.
    report(results)
    assert "autograd" not in Page(results / "feedback/05_backpropagation/bo.html").words


def test_pages_fetch_and_run_nothing(results: Path) -> None:
    # What a student wrote becoming part of the page; a page that is empty without a network.
    report(results)
    pages = sorted(results.rglob("*.html"))
    assert len(pages) == 6
    for path in pages:
        tags = Page(path).tags
        assert not {"script", "img", "link", "iframe", "b"} & {tag for tag, _ in tags}, path
        assert not [a for _, a in tags for name in a if name.startswith("on")]
        policy = next(a["content"] for tag, a in tags if a.get("http-equiv"))
        assert policy == "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


# -- the run ---------------------------------------------------------------------------------------


def test_the_same_results_give_the_same_bytes(results: Path) -> None:
    def written() -> dict[Path, bytes]:
        report(results)
        return {path: path.read_bytes() for path in results.rglob("*") if path.is_file()}

    assert written() == written()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"student": "x", "isolation": 1}'])
def test_a_file_that_is_no_result_stops_nothing(results: Path, text: str) -> None:
    (results / "05_backpropagation/zoe.json").write_text(text)
    command = [sys.executable, "-m", "checks", "report", str(results)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "zoe.json: this is not a result of `checks grade`" in done.stderr
    assert len(rows(results / "grades.csv")) == 5


def test_a_folder_without_results_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ReportError, match="There are no results"):
        report(tmp_path)


# -- for the eye -----------------------------------------------------------------------------------

CHROMIUM = shutil.which("chromium")


def judged(label: str, answer: float) -> dict[str, Any]:
    """An exercise with a verdict as it really is, picture and all."""
    x, y, w = torch.tensor(3.0), torch.tensor(7.0), torch.tensor(-2.0, requires_grad=True)
    loss = (w * x - y) ** 2
    verdict = checks.gradient(label, torch.tensor(answer), of=loss, wrt=w)
    html = verdict._repr_mimebundle_()[0]["text/html"]
    return exercise(label, str(verdict.outcome), mistakes=list(verdict.mistakes), html=html)


@pytest.mark.pinned
@pytest.mark.skipif(not CHROMIUM and not os.environ.get("CI"), reason="Chromium is not installed")
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_pages_are_legible_in_both_themes(results: Path, theme: str) -> None:
    # Text that is too pale on its ground, a table without headers, a request to anywhere.
    from lab import FLAGS
    from playwright.sync_api import sync_playwright
    from test_browser import SCREENSHOTS

    store(results, "eve", judged("5.4", -39.0), judged("5.5", -78.0), isolation=["network"])
    report(results)
    packages = node_modules()
    SCREENSHOTS.mkdir(exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        # The policy of the page would keep axe itself out.
        page = browser.new_page(color_scheme=theme, bypass_csp=True)
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        for name in ("class.html", "feedback/05_backpropagation/eve.html"):
            page.goto((results / name).as_uri())
            assert [url for url in asked if not url.startswith("file:")] == []
            for width in (600, 1280):  # nothing is to stick out
                page.set_viewport_size({"width": width, "height": 900})
                assert page.evaluate("document.documentElement.scrollWidth") <= width
            page.screenshot(path=SCREENSHOTS / f"{Path(name).stem}_{theme}.png", full_page=True)
            if packages is not None:
                page.add_script_tag(path=packages / "axe-core/axe.min.js")
                found = page.evaluate("async () => (await axe.run()).violations")
                told = [(v["id"], node["html"][:200]) for v in found for node in v["nodes"]]
                assert told == [], name
        browser.close()
    assert len(asked) == 2


def test_what_could_not_be_read_counts_in_no_exercise(results: Path) -> None:
    # The mistake: a file that is no notebook counts as ten invalid answers of the class.
    why = "This is not a Jupyter notebook (version 4)."
    lost = [exercise(label, "invalid", text=why) for label in ("5.4", "5.10")]
    store(results, "zoe", *lost, notes=[why])
    (results / "run.json").write_text(json.dumps({"left_out": [f"{EVIL}.ipynb"]}))
    report(results)
    (assignment,) = assignments(read(results)[0])
    assert assignment.unread == ["zoe"] and len(assignment.results) == 6
    assert [sum(row.counts.values()) for row in assignment.exercises] == [5, 5]
    assert {row.of for row in assignment.mistakes} == {5}
    text = " ".join(Page(results / "class.html").text.split())
    assert "Nothing could be marked of zoe" in text
    assert f"Left out: {EVIL}.ipynb." in text
