"""A source becomes cells and two notebooks, or a sentence that says where it is wrong."""

import re

import nbformat
import pytest

from checks.classroom.cell import Role
from checks.classroom.lesson import LessonError, Version, notebook, parse, read

SOLVED = "### BEGIN SOLUTION\n{}\n### END SOLUTION"


def code(source: str, *options: str) -> str:
    lines = "".join(f":{option}\n" for option in options)
    return f"```{{code-cell}} ipython3\n{lines}\n{source}\n```\n"


def answer(name: str, value: str = "2 * w") -> str:
    return code(f"{name} = ...\n\n" + SOLVED.format(f"{name} = {value}"), "tags: [answer]")


def check(label: str, name: str = "dw", *options: str) -> str:
    return code(f'checks.gradient("{label}", {name}, of=loss, wrt=w)', "tags: [check]", *options)


def source(*parts: str) -> str:
    return "\n".join(parts)


LESSON = source(
    "# 5 · A lesson\n",
    "![a graph](../../images/graph.svg)\n",
    code("import checks\n%matplotlib inline"),
    "## By hand: ∂loss/∂w\n",
    answer("dw"),
    check("5.1", "dw", "points: 2.5"),
    "## What fails\n",
    code("1 / 0", "tags: [raises-exception]"),
    code("x = 1", "tags: [nbval-ignore-output]"),
    answer("a"),
    answer("b"),
    check("5.2", '{"a": a, "b": b}'),
)


def ids(text: str) -> list[str]:
    return [cell.id for cell in parse(text, "05_lesson").cells]


def test_roles_labels_and_points() -> None:
    # An answer that goes to the check before it, or points that are lost, would be marked wrongly.
    cells = parse(LESSON, "05_lesson").cells
    assert [(c.role, c.label, c.points) for c in cells if c.role is not Role.TEXT] == [
        (Role.DEMO, "", 0),
        (Role.ANSWER, "5.1", 0),
        (Role.CHECK, "5.1", 2.5),
        (Role.RAISES, "", 0),
        (Role.DEMO, "", 0),
        (Role.ANSWER, "5.2", 0),
        (Role.ANSWER, "5.2", 0),
        (Role.CHECK, "5.2", 1),
    ]


def test_ids_come_from_headings_and_labels() -> None:
    # Random ids (jupytext's own) would change every notebook at every build.
    assert ids(LESSON) == [
        *("5-a-lesson-1", "5-a-lesson-2"),
        *("by-hand-loss-w-1", "answer-5-1", "check-5-1"),
        *("what-fails-1", "what-fails-2", "what-fails-3"),
        *("answer-5-2", "answer-5-2-2", "check-5-2"),
    ]


def test_an_inserted_cell_moves_no_id_under_another_heading() -> None:
    # Submissions are paired by id: numbering through the whole lesson would lose all of them.
    before = ids(LESSON)
    after = ids(LESSON.replace("## By hand", code("new = 1") + "\n## By hand"))
    assert set(before) < set(after)
    assert len(after) == len(before) + 1


@pytest.mark.parametrize("heading", ["Ω" * 3, "a" * 200, "Ⅳ – what? «é» $\\hat y$ `w.grad`", "42"])
def test_ids_are_valid_whatever_the_heading(heading: str) -> None:
    # nbformat and nbgrader refuse ids with other characters, and longer ones.
    text = source(f"## {heading}\n", *(code(f"x = {i}") for i in range(12)))
    assert all(re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", i) for i in ids(text))
    assert len(set(ids(text))) == 13


def test_a_hash_in_a_code_block_is_no_heading() -> None:
    # A comment in an indented or fenced block would rename all cells after it.
    assert ids(source("## One\n\n```\n# not a heading\n```\n", code("x = 1")))[-1] == "one-2"


def sources(version: Version) -> dict[str, str]:
    return {c.id: c.source for c in notebook(parse(LESSON, "05_lesson"), version).cells}


def test_the_learner_gets_no_solution() -> None:
    # A solution, or a marker that shows where one was, left in what is handed out.
    learner = sources(Version.LEARNER)
    assert learner["answer-5-1"] == "dw = ..."
    assert not any("SOLUTION" in text or "2 * w" in text for text in learner.values())


def test_the_solution_keeps_its_markers() -> None:
    # Without them it would be no source for nbgrader.
    expected = "dw = ...\n\n### BEGIN SOLUTION\ndw = 2 * w\n### END SOLUTION"
    assert sources(Version.SOLUTION)["answer-5-1"] == expected


def test_a_stub_keeps_what_stands_around_its_solution() -> None:
    # All after the first marker taken out, or the indentation lost.
    body = "def f(x):\n    out = ...\n    " + SOLVED.format("    out = x").replace(
        "\n###", "\n    ###"
    )
    text = source(code(body + "\n    return out", "tags: [answer]"), check("5.1", "f"))
    cell = parse(text, "05_lesson").cells[0]
    assert cell.blank == "def f(x):\n    out = ...\n    return out"


@pytest.mark.parametrize("version", Version)
def test_both_notebooks_are_valid(version: Version) -> None:
    # GitHub and JupyterLab refuse a notebook that is not.
    nbformat.validate(notebook(parse(LESSON, "05_lesson"), version))


def test_nbgrader_metadata() -> None:
    # nbgrader skips a cell whose schema is another, and marks nothing where `grade` is missing.
    cells = {c.id: c for c in notebook(parse(LESSON, "05_lesson"), Version.LEARNER).cells}

    def flags(cell_id: str) -> list[object]:
        grader = cells[cell_id].metadata.nbgrader
        assert (grader.schema_version, grader.grade_id, grader.task) == (3, cell_id, False)
        return [grader.grade, grader.solution, grader.locked, grader.get("points")]

    assert flags("answer-5-1") == [False, True, False, None]
    assert flags("check-5-1") == [True, False, True, 2.5]
    assert flags("what-fails-2") == [False, False, True, None]
    assert cells["what-fails-2"].metadata.tags == ["raises-exception"]
    assert cells["check-5-1"].metadata.editable is False
    assert "nbgrader" not in cells["5-a-lesson-1"].metadata
    kept = {cell_id for cell_id, cell in cells.items() if "deletable" in cell.metadata}
    assert kept == {cell_id for cell_id in cells if cell_id.startswith(("answer-", "check-"))}


@pytest.mark.parametrize(
    "link",
    [
        "![a](../../images/a.svg)",
        "[![a](../../images/a.svg)](../../README.md)",
        '<img alt="a" src="../../images/a.svg">',
        "<img src='../../images/a.svg'/>",
        "![a][pic]\n\n[pic]: ../../images/a.svg",
        "![a](<../../images/a.svg>)",
    ],
)
def test_links_to_the_course_have_the_right_depth(link: str) -> None:
    # A picture that is there in one notebook and not in the other.
    lesson = parse(link, "05_lesson")
    assert notebook(lesson, Version.SOLUTION).cells[0].source == link
    learner = notebook(lesson, Version.LEARNER).cells[0].source
    assert learner == link.replace("../../", "../")


def test_other_text_with_dots_is_left_alone() -> None:
    # A path in a sentence or in a code span is not a link.
    text = "Go to `../../images` or ../../images. [next](06_network.ipynb)"
    assert notebook(parse(text, "05_lesson"), Version.LEARNER).cells[0].source == text


BOTH = "tags: [answer, check]"
ANSWERED = answer("dw")
WRONG = {
    "two roles": (code("x = 1", BOTH), "one role in a cell, not answer and check"),
    "a tag that does not exist": (code("x = 1", "tags: [answers]"), "`answers` means nothing"),
    "a tag on text": ('+++ {"tags": ["check"]}\n\ntext\n', "`tags` means nothing on a text cell"),
    "an option that does not exist": (check("5.1", "dw", "marks: 2"), "`marks` means nothing"),
    "points on a demo": (code("x = 1", "points: 1"), "`points` means nothing on a demo cell"),
    "points that are no number": (check("5.1", "dw", "points: two"), "'two' is no number"),
    "negative points": (check("5.1", "dw", "points: -1"), "-1 is no number of points"),
    "tags that are no list": (code("x = 1", "tags: answer"), "cannot be read as a MyST notebook"),
    "unclosed": (code("x = ...\n### BEGIN SOLUTION\nx = 1", "tags: [answer]"), "needs its"),
    "never opened": (code("x = ...\n### END SOLUTION", "tags: [answer]"), "needs its"),
    "marker misspelt": (
        code("x = ...\n# BEGIN SOLUTION\nx = 1\n### END SOLUTION", "tags: [answer]"),
        "the markers are written exactly",
    ),
    "solution in a demo": (code(SOLVED.format("x = 1")), "this is a demo cell"),
    "solution in the text": ("text\n\n### BEGIN SOLUTION\n", "this is a text cell"),
    "answer without solution": (code("x = ...", "tags: [answer]"), "an answer cell has a solution"),
    "two calls": (
        source(ANSWERED, code('checks.value("5.1", dw, 1)\nprint(dw)', "tags: [check]")),
        "a check is exactly one call",
    ),
    "a call of something else": (
        source(ANSWERED, code('print("5.1", dw)', "tags: [check]")),
        "a check is exactly one call",
    ),
    "a label that is no string": (
        source(ANSWERED, code("checks.value(5.1, dw, 1)", "tags: [check]")),
        "a check is exactly one call",
    ),
    "a label for nobody": (source(ANSWERED, check("5.1 b")), "'5.1 b' is no label"),
    "two checks with one label": (
        source(ANSWERED, check("5.1"), ANSWERED, check("5.1")),
        "a later check has the same label, '5.1'",
    ),
    "an expression as answer": (source(ANSWERED, check("5.1", "2 * dw")), "is a name, or a dict"),
    "a dict with an expression": (
        source(ANSWERED, check("5.1", '{"dw": dw, "db": 1}')),
        "is a name, or a dict",
    ),
    "no check": (source(check("5.1", "dw"), ANSWERED), "no check follows this answer"),
    "name not blank": (
        source(code("dw = 0\n" + SOLVED.format("dw = 1"), "tags: [answer]"), check("5.1")),
        "binds `dw` to `...`",
    ),
    "name blank only in the solution": (
        source(code("y = ...\n" + SOLVED.format("dw = ..."), "tags: [answer]"), check("5.1")),
        "binds `dw` to `...`",
    ),
    "name of a later answer": (
        source(answer("a"), check("5.1", "b"), answer("b"), check("5.2", "b")),
        "binds `b` to `...`",
    ),
    "no Python": (code("x ="), "it is not Python"),
    "no Python without the solution": (
        code("def f():\n" + SOLVED.format("    return 1"), "tags: [answer]"),
        "without its solution it is not Python",
    ),
    "empty cell": (code(""), "not empty"),
    "cell magic": (code("%%time\nx = 1"), "no cell magic"),
    "directive in text": ("```{note}\ntext\n```\n", "a MyST directive in the text"),
    "code cell misspelt": ("```{code-cel}\nx = 1\n```\n", "a MyST directive in the text"),
    "raw cell": ("```{raw-cell}\nx\n```\n", "this is a raw cell"),
    "heading twice": (source("## Try it\n", code("x = 1"), "## Try it!\n"), "a second heading"),
    "heading like a label": (
        source(ANSWERED, check("5.1"), "## Check 5\n", code("x = 1")),
        "a second cell with the id 'check-5-1'",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_source_is_refused(case: str) -> None:
    # Each is a slip of an author that would otherwise reach learners, or lose an exercise.
    text, complaint = WRONG[case]
    with pytest.raises(LessonError) as caught:
        parse(source("# A lesson\n", text), "05_lesson")
    assert complaint in str(caught.value)
    assert str(caught.value).startswith("05_lesson.md")


def test_a_complaint_names_the_line_and_the_cell() -> None:
    # "Somewhere in this file" sends an author searching through a thousand lines.
    text = source("# A lesson\n", code("x = 1\ny = 2"), code("x = 1\ny = 2", BOTH))
    with pytest.raises(LessonError) as caught:
        parse(text, "05_lesson")
    line = text.splitlines().index("x = 1", 7) + 1
    assert str(caught.value).startswith(f"05_lesson.md, line {line}, cell `x = 1`: ")


def test_a_syntax_error_may_be_the_lesson() -> None:
    # A cell that is meant to fail need not be Python.
    cell = parse(code("x = 1 y = 2", "tags: [raises-exception]"), "05_lesson").cells[0]
    assert cell.role is Role.RAISES


def test_a_file_that_is_no_text_is_named(tmp_path):
    # Mistake caught: a traceback about codecs, which names no file.
    path = tmp_path / "05_latin.md"
    path.write_bytes("# Rückwärts".encode("latin-1"))
    with pytest.raises(LessonError, match=r"05_latin\.md: this file is not UTF-8"):
        read(path)


def test_a_cell_that_varies_is_plain_python():
    # Mistake caught: an error about the syntax of a line that a notebook runs.
    text = source(code("%time x = torch.tensor([0.5])", "tags: [varies]"))
    with pytest.raises(LessonError, match="a cell that varies has no `%` or `!` lines"):
        parse(text, "05_varies")
