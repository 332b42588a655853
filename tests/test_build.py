"""A lesson is executed twice, proved to behave, and written so that a rebuild changes no byte.

One course is built for all the tests that only look at it, or break a copy of it.
"""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_notebook, new_output

from checks.classroom import build
from checks.classroom.lesson import Version
from checks.classroom.stable import ADDRESS, keep_unstable, masks, merge_streams, tidy

# It shows what differs from run to run and by machine: addresses, paths, process numbers, the
# order of stdout and stderr, Python's version in the metadata, and PyTorch's files in a traceback.
GOOD = """
# 1 · Good

```{code-cell} ipython3
import sys
import warnings
from pathlib import Path

import torch

import checks

x = torch.tensor(3.0)
w = torch.tensor(0.5, requires_grad=True)
loss = (w * x - 4) ** 2
```

```{code-cell} ipython3
print("out", Path("source").is_dir() or Path("../source").is_dir())
print("err", file=sys.stderr, flush=True)
print("out again")
warnings.warn(f"from a cell, {checks.__file__}")
object()
```

## By hand

```{code-cell} ipython3
:tags: [answer]

dloss_dw = ...
### BEGIN SOLUTION
dloss_dw = 2 * (w * x - 4) * x
### END SOLUTION
```

```{code-cell} ipython3
:tags: [check]
:points: 2

checks.gradient("1.1", dloss_dw, of=loss, wrt=w)
```

## What fails

```{code-cell} ipython3
:tags: [raises-exception]

(w * torch.ones(3)).backward()
```
"""

# Every kind of misbehaviour that only shows when the lesson runs.
BAD = """
# 2 · Bad

```{code-cell} ipython3
import checks
```

## A check that passes blank

```{code-cell} ipython3
:tags: [answer]

a = ...
### BEGIN SOLUTION
a = 1
### END SOLUTION
```

```{code-cell} ipython3
a = 7
```

```{code-cell} ipython3
:tags: [check]

checks.value("2.1", a, 7)
```

## A solution that is wrong

```{code-cell} ipython3
:tags: [answer]

b = ...
### BEGIN SOLUTION
b = 2
### END SOLUTION
```

```{code-cell} ipython3
:tags: [check]

checks.value("2.2", b, 3)
```

## A check that says nothing

```{code-cell} ipython3
:tags: [check]

checks.value("2.3", b, 2);
```

## Nothing raised

```{code-cell} ipython3
:tags: [raises-exception]

1 / 1
```

## Not guarded

```{code-cell} ipython3
b + 1
```

## Not reached when blank

```{code-cell} ipython3
1 / 0
```
"""
CRASHING = "# 3 · Crashing\n\n```{code-cell} ipython3\nimport os\nos._exit(1)\n```\n"
LEAKING = (
    GOOD.replace("1 ·", "4 ·")
    .replace('"1.1"', '"4.1"')
    .replace("of=loss", "of=lambda w: dloss_dw * w")
)
MEASURED = """
# 6 · Measured

```{code-cell} ipython3
:tags: [nbval-ignore-output]

import time
time.time_ns()
```
"""
ENDLESS = "# 5 · Endless\n\n```{code-cell} ipython3\nwhile True:\n    pass\n```\n"


def run(folder: Path, check: bool = False, **sources: str) -> list[str]:
    """Write the sources to a course in this folder, and build or check it."""
    (folder / "source").mkdir(parents=True, exist_ok=True)
    for name, text in sources.items():
        (folder / "source" / f"{name}.md").write_text(text.lstrip(), encoding="utf-8")
    return build.run(sorted((folder / "source").glob("*.md")), check)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*.ipynb"))}


@pytest.fixture(scope="module")
def course(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a course with one good lesson, built where the user's settings differ."""
    folder = tmp_path_factory.mktemp("course")
    with pytest.MonkeyPatch.context() as patch:
        # Were it inherited, a blank check would raise instead of showing what it says.
        patch.setenv("CHECKS_STRICT", "1")
        # Were it inherited, figures would not be shown.
        patch.setenv("MPLBACKEND", "Agg")
        assert run(folder, lesson_1=GOOD) == []
    return folder


@pytest.fixture
def copy(course: Path, tmp_path: Path) -> Path:
    """A copy of the good course, to be broken."""
    shutil.copytree(course, tmp_path / "course")
    return tmp_path / "course"


def cells(folder: Path, name: str) -> dict[str, Any]:
    return {cell.id: cell for cell in nbformat.read(folder / name, 4).cells}


@pytest.mark.parametrize(
    ("name", "outcome"),
    [("lesson_1.ipynb", "unanswered"), ("solutions/lesson_1.ipynb", "correct")],
)
def test_both_notebooks_are_stored_with_their_verdicts(
    course: Path, name: str, outcome: str
) -> None:
    # The solution notebook written in place of the learner's, or one of them not executed.
    (verdict,) = cells(course, name)["check-1-1"].outputs
    assert verdict.metadata.checks == {"exercise": "1.1", "outcome": outcome}


def test_counts_run_from_one(course: Path) -> None:
    # nbval compares nothing in a notebook without counts.
    stored = cells(course, "lesson_1.ipynb").values()
    assert [c.execution_count for c in stored if c.cell_type == "code"] == [1, 2, 3, 4, 5]


def test_a_rebuild_changes_no_byte(course: Path, copy: Path) -> None:
    # Addresses, process numbers, times, random ids: each would make a change of every build. The
    # copy stands in another folder, as another machine's checkout does.
    for path in copy.rglob("*.ipynb"):
        path.unlink()
    assert run(copy) == []
    assert contents(copy) == contents(course)


def test_an_output_that_differs_is_kept_while_its_code_is_the_same(tmp_path: Path) -> None:
    # A measured time, the number of a widget: a rebuild without a change would change the notebook.
    def run_with(first: str, result: str) -> NotebookNode:
        cells = [new_code_cell(first, id="first"), new_code_cell("measure()", id="time")]
        cells[1].metadata["tags"] = ["nbval-ignore-output"]
        for cell in cells:
            cell.outputs = [new_output("stream", text=result)]
        return new_notebook(cells=cells)

    def outputs(nb: NotebookNode) -> list[str]:
        return [cell.outputs[0].text for cell in nb.cells]

    path = tmp_path / "lesson.ipynb"
    nbformat.write(run_with("x = 1", "old"), path)
    same, changed = run_with("x = 1", "new"), run_with("x = 2", "new")
    keep_unstable(same, path)
    keep_unstable(changed, path)
    assert outputs(same) == ["new", "old"]
    assert outputs(changed) == ["new", "new"]


def test_a_time_that_was_measured_stays(tmp_path: Path) -> None:
    # The same, in a lesson that is built twice: the file is not even touched. And a change of the
    # source must come through.
    def touched() -> list[int]:
        return [path.stat().st_mtime_ns for path in sorted(tmp_path.rglob("*.ipynb"))]

    assert run(tmp_path, lesson_6=MEASURED) == []
    before = contents(tmp_path), touched()
    assert run(tmp_path) == []
    assert (contents(tmp_path), touched()) == before
    assert run(tmp_path, lesson_6=MEASURED.replace("Measured", "Timed")) == []
    assert all(b"Timed" in content for content in contents(tmp_path).values())


def test_nothing_of_the_machine_is_stored(course: Path) -> None:
    # A path of the maintainer's home in every learner's notebook.
    for text in (data.decode() for data in contents(course).values()):
        assert not re.search(r"ipykernel_\d|[/\\]site-packages|0x[1-9a-f]", text)
        assert str(Path(build.__file__).parents[2]) not in text
        assert "site-packages/torch/_tensor.py" in text  # the traceback is still there
        assert '"version"' not in text
        assert '"execution": {' not in text


def test_streams_are_joined(course: Path) -> None:
    # How many pieces a stream arrives in, and what comes first, differs from run to run.
    out, err, value = cells(course, "lesson_1.ipynb")["1-good-3"].outputs
    assert (out.name, out.text) == ("stdout", "out True\nout again\n")  # it ran where it stands
    assert (err.name, err.text.splitlines()[:2]) == (
        "stderr",
        ["err", "<cell>:4: UserWarning: from a cell, checks/__init__.py"],
    )
    assert value.data["text/plain"] == f"<object at {ADDRESS}>"


def test_a_display_keeps_its_place_between_streams() -> None:
    # Printed before and after a figure, shown all before it.
    def stream(name: str, text: str) -> Any:
        return nbformat.v4.new_output("stream", name=name, text=text)

    figure = nbformat.v4.new_output("display_data", {"text/plain": "figure"})
    pieces = [stream("stderr", "e"), stream("stdout", "a"), stream("stderr", "f"), figure]
    merged = merge_streams([*pieces, stream("stdout", "b")])
    assert [output.get("text") for output in merged] == ["a", "ef", None, "b"]


def test_data_and_short_numbers_are_not_masked(tmp_path: Path) -> None:
    # An image whose base64 is changed is broken; 0xff is a number that a lesson may print.
    data = {"text/plain": "0xff", "image/png": "iVBO/0xabcdef12/"}
    output = nbformat.v4.new_output("display_data", data)
    nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("x", outputs=[output])])
    tidy(nb, tmp_path)
    assert nb.cells[0].outputs[0].data == data


def test_paths_are_masked_in_colour(tmp_path: Path) -> None:
    # The colours of a traceback end in a letter, directly before the path.
    text = f"\x1b[32m{tmp_path}/data.csv\x1b[39m"
    for pattern, replacement in masks(tmp_path):
        text = pattern.sub(replacement, text)
    assert text == "\x1b[32mdata.csv\x1b[39m"


def test_files_are_utf8_with_lf_and_a_last_newline(course: Path) -> None:
    # Another line ending on Windows makes every notebook differ.
    for data in contents(course).values():
        assert "·" in data.decode("utf-8")
        assert b"\r" not in data
        assert data.endswith(b"}\n")


@pytest.fixture(scope="module")
def misbehaved(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], Path]:
    """What is said of lessons that are wrong in many ways; one of them has older notebooks."""
    folder = tmp_path_factory.mktemp("misbehaved")
    (folder / "solutions").mkdir()
    (folder / "lesson_2.ipynb").write_text("older")
    (folder / "solutions/lesson_2.ipynb").write_text("older")
    sources = {"lesson_2": BAD, "lesson_3": CRASHING, "lesson_4": LEAKING, "lesson_9": "# x\n# x\n"}
    return run(folder, **sources), folder


SAID = {
    "blank": "lesson_2.ipynb, cell check-2-1: the check says correct, not unanswered.",
    "wrong": "solutions/lesson_2.ipynb, cell check-2-2: the check says wrong, not correct.",
    "silent": "lesson_2.ipynb, cell check-2-3: the check says nothing, not unanswered.",
    "no error": "lesson_2.ipynb, cell nothing-raised-2: it is meant to raise, and did not.",
    "not guarded": "lesson_2.ipynb, cell not-guarded-2: it raised TypeError: unsupported operand",
    "error": "solutions/lesson_2.ipynb, cell not-reached-when-blank-2: it raised ZeroDivisionError",
    "crash": "lesson_3.ipynb, cell 3-crashing-2: Python itself crashed or was ended here.",
    "leak": "lesson_4.md, cell check-4-1: its argument `of` reads `dloss_dw`, which comes from",
    "no lesson": "lesson_9.md, line 1, cell `# x`: a second heading 'x'",
}


@pytest.mark.parametrize("case", SAID)
def test_what_goes_wrong_is_said_with_its_place(
    misbehaved: tuple[list[str], Path], case: str
) -> None:
    # Each is a lesson that would teach, or mark, something else than its author meant.
    problems, folder = misbehaved
    relative = [problem.removeprefix(f"{folder}/") for problem in problems]
    assert any(problem.startswith(SAID[case]) for problem in relative), relative


def test_nothing_is_said_of_cells_that_were_not_reached(
    misbehaved: tuple[list[str], Path],
) -> None:
    # One error would be drowned in the complaints that follow from it.
    problems, folder = misbehaved
    learner = [p for p in problems if p.startswith(f"{folder}/lesson_2.ipynb")]
    assert not any("not-reached" in problem for problem in learner)


def test_a_lesson_with_a_problem_does_not_replace_the_old_one(
    misbehaved: tuple[list[str], Path],
) -> None:
    # A half-run notebook in place of one that worked.
    _, folder = misbehaved
    assert contents(folder) == {"lesson_2.ipynb": b"older", "solutions/lesson_2.ipynb": b"older"}


def test_a_cell_that_never_ends_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A build that hangs says nothing at all.
    monkeypatch.setattr(build, "SECONDS", 2)
    (learner, _) = run(tmp_path, lesson_5=ENDLESS)
    assert "lesson_5.ipynb, cell 5-endless-2: it was still running after 2 seconds." in learner


def test_what_was_built_passes_the_check(course: Path) -> None:
    # A check that is never content would be switched off.
    assert run(course, check=True) == []


def edit(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the JSON of a notebook, in the form in which the build writes it."""
    nb = json.loads(path.read_text(encoding="utf-8"))
    change(nb)
    text = json.dumps(nb, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    path.write_text(text, encoding="utf-8")


def check_cell(nb: dict[str, Any]) -> dict[str, Any]:
    return next(cell for cell in nb["cells"] if cell["id"] == "check-1-1")


def wrong_verdict(nb: dict[str, Any]) -> None:
    check_cell(nb)["outputs"][0]["metadata"]["checks"]["outcome"] = "wrong"


def no_error(nb: dict[str, Any]) -> None:
    nb["cells"][-1]["outputs"] = []


def no_count(nb: dict[str, Any]) -> None:
    nb["cells"][1]["execution_count"] = None


def moved_id(nb: dict[str, Any]) -> None:
    nb["cells"][1]["id"] = "moved"


def other_source(nb: dict[str, Any]) -> None:
    check_cell(nb)["source"] = ["1 + 1"]


def other_points(nb: dict[str, Any]) -> None:
    check_cell(nb)["metadata"]["nbgrader"]["points"] = 100


def one_less(nb: dict[str, Any]) -> None:
    nb["cells"].pop()


def python_version(nb: dict[str, Any]) -> None:
    nb["metadata"]["language_info"]["version"] = "3.11.2"


BROKEN = {
    wrong_verdict: "cell check-1-1: the check says wrong, not ",
    no_error: "cell what-fails-2: it is meant to raise, and did not.",
    no_count: "cell 1-good-2: run as number None, not 1.",
    moved_id: "cell moved stands where cell 1-good-2 belongs.",
    other_source: "cell check-1-1 has another source.",
    other_points: "cell check-1-1 has another metadata.",
    one_less: "7 cells instead of 8.",
    python_version: "another metadata.",
}


@pytest.mark.parametrize("name", ["lesson_1.ipynb", "solutions/lesson_1.ipynb"])
@pytest.mark.parametrize("change", BROKEN, ids=lambda change: change.__name__)
def test_a_notebook_edited_by_hand_is_found(
    copy: Path, change: Callable[[dict[str, Any]], None], name: str
) -> None:
    # What is changed in a notebook and not in its source is lost at the next build.
    edit(copy / name, change)
    (problem,) = run(copy, check=True)
    assert problem.startswith(f"{copy / name}")
    assert BROKEN[change] in problem


def test_a_source_edited_without_a_build_is_found(copy: Path) -> None:
    # The learner would not see the change; both notebooks and what mends them are named.
    problems = run(copy, check=True, lesson_1=GOOD.replace('print("out again', 'print("out, again'))
    assert [p.split()[0] for p in problems] == [
        str(build.target(copy / "source/lesson_1.md", version)) for version in Version
    ]
    assert all("cell 1-good-3 has another source. Run `make notebooks`." in p for p in problems)


def test_a_notebook_saved_by_another_program_is_found(copy: Path) -> None:
    # The next build would change lines that nobody meant to change.
    path = copy / "lesson_1.ipynb"
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")), indent=2))
    (problem,) = run(copy, check=True)
    assert problem == f"{path} was not written by the build. Run `make notebooks`."


def test_notebooks_without_a_source_and_sources_without_a_notebook_are_found(copy: Path) -> None:
    # A lesson that was renamed leaves its old notebooks behind, and has no new ones.
    (copy / "source/lesson_1.md").rename(copy / "source/lesson_7.md")
    problems = run(copy, check=True)
    for version in Version:
        new = build.target(copy / "source/lesson_7.md", version)
        assert f"{new} does not exist. Run `make notebooks`." in problems
        old = new.with_name("lesson_1.ipynb")
        assert any(p.startswith(f"{old} has no source lesson_1.md") for p in problems)
    assert len(problems) == 4


def test_what_is_no_notebook_is_found(copy: Path) -> None:
    # A conflict left by a merge must not end the check of all other lessons.
    (copy / "lesson_1.ipynb").write_text("<<<<<<< HEAD\n")
    (problem,) = run(copy, check=True)
    assert problem.startswith(f"{copy / 'lesson_1.ipynb'} is no notebook: ")
