"""What is handed out: one file that needs no other, and other numbers for each learner."""

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

import checks
from checks.classroom.cell import Role, tree
from checks.classroom.lesson import LessonError, Version, notebook, parse, read
from checks.classroom.release import RosterError, learners_notebook, release, roster, varied
from checks.classroom.variants import vary

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "notebooks/source/05_backpropagation.md"

# A lesson with variants: no text names a number, and the solution is a formula.
LESSON = """
# 8 · Other numbers

![the graph](../../images/graph.svg)

Begin with [lesson 05](05_backpropagation.ipynb) and [PyTorch](https://pytorch.org).

```{code-cell} ipython3
import torch

import checks
```

## Exercise 8.1 · A line

The next cell has your numbers. Find the gradient with respect to `w`.

```{code-cell} ipython3
:tags: [varies]

x = torch.tensor([0.5, -4.0, 25.0])
w = torch.tensor(-3.0, requires_grad=True)
loss = ((w * x) ** 2).mean()
```

```{code-cell} ipython3
:tags: [answer]

dw = ...
### BEGIN SOLUTION
dw = (2 * w * x * x).mean()
### END SOLUTION
```

```{code-cell} ipython3
:tags: [check]
:points: 2.5

checks.gradient("8.1", dw, of=loss, wrt=w)
```

### Exercise 8.10

```{code-cell} ipython3
:tags: [answer]

dx = ...
### BEGIN SOLUTION
dx = w.detach()
### END SOLUTION
```

```{code-cell} ipython3
:tags: [check]

checks.value("8.10", dx, w.detach())
```
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """The lesson, as it stands in a course with its figure."""
    for folder in ("notebooks/source", "images"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "images/graph.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    path = tmp_path / "notebooks/source/08_other_numbers.md"
    path.write_text(LESSON, encoding="utf-8")
    return path


# -- one file is enough ----------------------------------------------------------------------------


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks/source").glob("0*.md")))
def test_a_released_lesson_needs_no_other_file(path: Path) -> None:
    # A link to a figure or a lesson that stays behind; an output that tells what to predict.
    lesson = read(path)
    built = learners_notebook(lesson, path.parent)
    nbformat.validate(built)
    texts = "\n".join(cell.source for cell in built.cells if cell.cell_type == "markdown")
    figures = sum(cell.source.count("](../../images/") for cell in lesson.cells)
    assert len(re.findall(r'<img alt="[^"]+" src="data:image/svg\+xml;base64,', texts)) == figures
    for target in re.findall(r"\]\(([^)\s]+)", re.sub(r"`[^`]*`|\$[^$]*\$", "", texts)):
        assert target.startswith("https:"), target
    # The marking, nbgrader and the locks rest on the rest being as `checks build` makes it.
    plain = notebook(lesson, Version.LEARNER)
    for ours, built_cell in zip(built.cells, plain.cells, strict=True):
        assert (ours.id, ours.metadata) == (built_cell.id, built_cell.metadata)
        if ours.cell_type == "code":
            assert ours == built_cell
            assert not ours.outputs


def test_points_stand_below_the_heading_of_each_exercise(source: Path) -> None:
    # Points of 8.1 at 8.10, or a learner who cannot see what an exercise is worth.
    texts = [cell.source for cell in learners_notebook(read(source), source.parent).cells]
    assert any(
        text.startswith("# 8 · Other numbers\n\n**Points:** 3.5 in all\n\n") for text in texts
    )
    assert any("## Exercise 8.1 · A line\n\n**Points:** 2.5\n\nThe next" in text for text in texts)
    assert "### Exercise 8.10\n\n**Points:** 1" in texts


def test_links_stay_where_the_lesson_is_handed_out_too(source: Path) -> None:
    def text(*beside: str) -> str:
        built = learners_notebook(read(source), source.parent, beside)
        return "".join(cell.source for cell in built.cells)

    assert "Begin with lesson 05 and [PyTorch](https://pytorch.org)." in text()
    assert "[lesson 05](05_backpropagation.ipynb)" in text("05_backpropagation")


@pytest.mark.parametrize(
    ("markdown", "expected"),
    [
        # Every way to put a figure into a text; and what only looks like one.
        (
            '![a \\[b\\] "c" $](../../images/graph.svg)',
            'alt="a [b] &quot;c&quot; &#36;" src="data:',
        ),
        ('![a](<../../images/graph.svg> "A title")', 'alt="a" title="A title" src="data:'),
        ('<img alt="a" width="40" src="../../images/graph.svg">', 'width="40" src="data:'),
        ("![a][g]\n\n[g]: ../../images/graph.svg", "[g]: data:image/svg+xml;base64,"),
        ("![a](https://example.org/a.svg)", "![a](https://example.org/a.svg)"),
        ("`W[0](x)` and $f[1](x)$", "`W[0](x)` and $f[1](x)$"),
    ],
)
def test_figures_of_every_form_are_put_in(source: Path, markdown: str, expected: str) -> None:
    lesson = parse(LESSON.replace("![the graph](../../images/graph.svg)", markdown), "08_a")
    texts = "".join(cell.source for cell in learners_notebook(lesson, source.parent).cells)
    assert expected in texts


def test_nothing_is_written_where_a_figure_is_missing(source: Path, tmp_path: Path) -> None:
    (tmp_path / "images/graph.svg").unlink()
    with pytest.raises(LessonError, match=r"line 2: a figure cannot be read.*graph\.svg"):
        release([SOURCE, source], tmp_path / "out")
    assert not (tmp_path / "out").exists()


# -- other numbers ---------------------------------------------------------------------------------

FORMS = (
    "a = torch.tensor([0.5, -1.95, 10.0, 0.5, 0.0, 1.0, 7, 2.0, 5.0, 4.0e-3]); s = 'ŷ 0.5'; k = 3.5"
)


def numbers(code: str) -> list[float]:
    (call,) = (node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Call))
    return ast.literal_eval(call.args[0])


def test_other_numbers_have_the_same_form() -> None:
    # Harder numbers for one learner than for another; a zero, a one or a pair of equal numbers that
    # hides a mistake; an index that became a measurement.
    before = numbers(FORMS)
    seen = set()
    for seed in range(300):
        code = vary(FORMS, str(seed))
        assert re.sub("[1-9]", "9", code.split(";")[0]) == re.sub("[1-9]", "9", FORMS.split(";")[0])
        assert code.endswith("; s = 'ŷ 0.5'; k = 3.5")
        after = numbers(code)
        assert after[4:7] == [0.0, 1.0, 7]
        varying = after[:4] + after[7:]
        assert after[0] == after[3] != before[0]
        assert all(new != old for new, old in zip(varying, before[:4] + before[7:], strict=True))
        assert not {abs(number) for number in varying} & {0, 1, 2, 7}
        assert len({abs(number) for number in varying}) == len(varying) - 1
        seen.add(code)
    assert len(seen) > 290


def test_the_same_seed_gives_the_same_numbers_everywhere() -> None:
    # Numbers that were drawn otherwise since the release: every answer would be marked wrong. This
    # line may change only together with all notebooks that are out.
    assert (
        vary("x = torch.tensor([2.5, -40.0])", "Zoë\n08\nx-1") == "x = torch.tensor([6.8, -10.0])"
    )


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        ("x = torch.tensor([1.0, 0.0, 3])", "no number varies here"),
        ("x = 2.5 * torch.ones(3)", "no number varies here"),
        ("x = torch.tensor([2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0])", "one digit more"),
        ("%matplotlib inline\nx = torch.tensor(2.5)", "no `%` or `!` lines"),
    ],
)
def test_the_build_refuses_a_cell_that_cannot_vary(code: str, problem: str) -> None:
    cell = "```{code-cell} ipython3\n:tags: [varies]\n\n" + code + "\n```\n"
    with pytest.raises(LessonError, match=problem):
        parse(f"# A\n\n{cell}", "08_a")


def test_only_a_demo_varies() -> None:
    # In an answer or a check the numbers are not the teacher's to draw.
    with pytest.raises(LessonError, match="`varies` means nothing on a answer cell"):
        parse(LESSON.replace("[answer]", "[answer, varies]"), "08_a")


def test_each_variant_is_solved_by_the_solution(source: Path) -> None:
    # A variant in which the checks, the demos and the solution do not speak of the same numbers.
    lesson = read(source)
    for student in ("anna", "Zoë", "../x", "7"):
        names: dict[str, object] = {}
        for cell in varied(lesson, student).cells:
            if cell.role is Role.CHECK:
                assert eval(cell.source, names)
            elif cell.role is not Role.TEXT:
                exec(compile(tree(cell), "<cell>", "exec"), names)
    assert names["checks"] is checks


def test_each_student_gets_a_notebook_of_their_own(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = release([source], out, ["anna", "../x", "Anna"])
    assert {one.path.parent.parent for one in done} == {out}
    assert len({one.path for one in done}) == 3
    assert [(one.exercises, one.points) for one in done] == [(2, 3.5)] * 3
    built = [json.loads(one.path.read_text(encoding="utf-8")) for one in done]
    assert [one["metadata"]["checks"]["variant"] for one in built] == ["anna", "../x", "Anna"]
    # The marking makes the numbers again from the roster: they must be those of the notebook.
    sources = []
    for one, student in zip(built, ("anna", "../x", "Anna"), strict=True):
        code = ["".join(cell["source"]) for cell in one["cells"] if cell["cell_type"] == "code"]
        again = [cell.blank for cell in varied(read(source), student).cells if cell.kind == "code"]
        assert code == again
        sources.append(tuple(code))
    assert len(set(sources)) == 3
    assert varied(read(source), " Zoë ") == varied(read(source), "Zoe\u0308")


def test_each_cell_has_numbers_of_its_own(source: Path) -> None:
    # Two exercises with the same numbers, where the answer to one gives that to the other.
    demo = "```{code-cell} ipython3\n:tags: [varies]\n\nx = torch.tensor([0.1234, 5678.9])\n```\n"
    cells = [
        cell.source
        for name in ("08_a", "08_b")
        for cell in varied(parse(f"# A\n\n{demo}\n{demo}", name), "anna").cells[1:]
    ]
    assert len(set(cells)) == 4


def test_a_lesson_without_variants_is_refused(source: Path, tmp_path: Path) -> None:
    with pytest.raises(LessonError, match=r"05_backpropagation\.md has no cell with the tag"):
        release([source, SOURCE], tmp_path / "out", ["anna"])
    assert not (tmp_path / "out").exists()


# -- the roster ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "students"),
    [
        ("anna\nbo\n\n", ["anna", "bo"]),
        ("\ufeffname;Student_ID\nA;007\nB; b b \n", ["007", "b b"]),
        ("\ufeffstudent\nanna\n", ["anna"]),
        ('student,name\n"x, y",Z\n,nobody\n', ["x, y"]),
    ],
)
def test_rosters_of_every_spreadsheet(tmp_path: Path, text: str, students: list[str]) -> None:
    # A mark before the first letter, semicolons, an empty line: each would be a student.
    (tmp_path / "roster.csv").write_text(text, encoding="utf-8")
    assert roster(tmp_path / "roster.csv") == students


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"name,email\na,b\n", "no column `student`"),
        (b"name\nanna\n", "is called `name`"),  # or there is a student of that name
        (b"student\n\n", "There are no students"),
        (b"", "There are no students"),
        (b"anna\nbo\nanna\n", "anna stands 2 times"),
        ("Zoë".encode("latin-1"), "not UTF-8"),
    ],
)
def test_a_roster_that_cannot_be_used(tmp_path: Path, data: bytes, problem: str) -> None:
    (tmp_path / "roster.csv").write_bytes(data)
    with pytest.raises(RosterError, match=problem):
        roster(tmp_path / "roster.csv")


def test_only_a_source_can_be_released(source: Path, tmp_path: Path) -> None:
    # The mistake: a solution notebook goes out as it is, as the text of one cell.
    built = tmp_path / "05_small.ipynb"
    built.write_text("{}")
    with pytest.raises(LessonError, match=r"is a notebook\. Give the source"):
        release([built], tmp_path / "out")
    with pytest.raises(LessonError, match="There is no lesson at"):
        release([tmp_path / "nowhere.md"], tmp_path / "out")


def test_from_the_command_line(source: Path, tmp_path: Path) -> None:
    (tmp_path / "roster.csv").write_text("student\nanna\n")

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "checks", "release", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)

    done = run(source, "--to", "out", "--variants", "roster.csv")
    assert (done.returncode, done.stderr) == (0, "")
    assert "08_other_numbers.ipynb: 2 exercises, 3.5 points" in done.stdout
    assert (tmp_path / "out/anna/08_other_numbers.ipynb").is_file()
    failed = run(SOURCE, "--to", "out", "--variants", "roster.csv")
    assert failed.returncode == 1
    assert "has no cell with the tag `varies`" in failed.stderr
    assert "Traceback" not in run("nothing.md", "--to", "out").stderr
