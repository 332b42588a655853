"""`checks build`: each source executed twice, as the learner's notebook and the solution notebook.

A lesson is written only when both ran as they should: in the learner's notebook every check says
*unanswered*, in the solution notebook *correct*, and nothing fails but what is meant to fail. A
rebuild without a change writes the same bytes.

`checks build --check` executes nothing. It compares what is committed with what the sources build,
outputs left out (nbval compares those), and asks the stored outputs the same questions.
"""

import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nbformat
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat import NotebookNode

from checks import whole
from checks.classroom.cell import Role
from checks.classroom.lesson import Lesson, LessonError, Version, notebook, read
from checks.classroom.provisioner import forked
from checks.classroom.stable import keep_unstable, tidy
from checks.classroom.taint import leaks

SECONDS = 120  # for one cell; nothing in a lesson takes a tenth of it
MEND = "Run `make notebooks`."
EXPECTED = {Version.LEARNER: "unanswered", Version.SOLUTION: "correct"}

# What would change how a lesson runs or what it shows, and is not the lesson's.
FOREIGN = ("CHECKS_STRICT", "NBGRADER_EXECUTION", "MPLBACKEND", "MATPLOTLIBRC", "PYTHONWARNINGS")


def run(sources: Sequence[Path], check: bool) -> list[str]:
    """Build the lessons, or with `check` compare them with what is there; return all problems.

    A source `course/source/NN_name.md` becomes `course/NN_name.ipynb`, the learner's notebook, and
    `course/solutions/NN_name.ipynb`, the solution notebook.
    """
    problems: list[str] = []
    lessons: dict[Path, Lesson] = {}
    for source in sources:
        try:
            lesson = read(source)
        except (LessonError, OSError) as error:
            problems.append(str(error))
            continue
        found = [f"{source.name}, {problem}." for problem in leaks(lesson.cells)]
        problems += found
        if not found:
            lessons[source] = lesson
    if check:
        problems += compare(lessons)
        for folder in sorted({source.parent for source in sources}):
            problems += strays(folder)
    else:
        problems += build(lessons)
    return problems


def target(source: Path, version: Version) -> Path:
    """Return where a version of a lesson stands."""
    folder = source.parent.parent
    if version is Version.SOLUTION:
        folder /= "solutions"
    return folder / f"{source.stem}.ipynb"


def build(lessons: dict[Path, Lesson]) -> list[str]:
    """Execute both versions of each lesson, two at a time; write those lessons that ran well."""
    jobs = [(source, version) for source in lessons for version in Version]
    with tempfile.TemporaryDirectory() as scratch:

        def work(job: tuple[Path, Version]) -> tuple[NotebookNode, list[str]]:
            source, version = job
            begin = time.perf_counter()
            done = execute(lessons[source], version, target(source, version), Path(scratch))
            word = f"{len(done[1])} problem(s)" if done[1] else "ok"
            seconds = f"{time.perf_counter() - begin:.1f} s"
            print(f"{source.stem}: {version}, {seconds}, {word}", flush=True)
            return done

        with ThreadPoolExecutor(2) as pool:
            results = dict(zip(jobs, pool.map(work, jobs), strict=True))
    problems: list[str] = []
    for source in lessons:
        found = [problem for version in Version for problem in results[source, version][1]]
        problems += found
        for version in Version:
            if not found:
                write(target(source, version), serialise(results[source, version][0]))
    return problems


def execute(
    lesson: Lesson, version: Version, path: Path, scratch: Path, keep_going: bool = False
) -> tuple[NotebookNode, list[str]]:
    """Run one version where it will stand; return it with its outputs, and all problems.

    Execution ends at the first cell that fails without being meant to, unless it is to go on.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    nb = notebook(lesson, version)
    reached = 0

    def count(cell: NotebookNode, cell_index: int) -> None:
        nonlocal reached
        reached = cell_index

    client = NotebookClient(
        nb,
        # With no folder to look in there is one kernel: that of the running interpreter.
        km=AsyncKernelManager(kernel_name="python3", kernel_spec_manager=_Kernels(kernel_dirs=[])),
        timeout=SECONDS,
        allow_errors=keep_going,
        record_timing=False,
        store_widget_state=False,
        resources={"metadata": {"path": str(path.parent)}},
        extra_arguments=["--log-level=ERROR"],
        on_cell_start=count,
    )
    stopped = ""
    try:
        client.execute(env=environment(scratch), cleanup_kc=True)
        reached = len(nb.cells)
    except CellExecutionError:
        reached += 1  # the cell has an output that says why
    except CellTimeoutError:
        stopped = f"it was still running after {SECONDS} seconds"
    except DeadKernelError:
        stopped = "Python itself crashed or was ended here"
    tidy(nb, path.parent)
    keep_unstable(nb, path)
    problems = list(verify(lesson, version, path, nb.cells[:reached]))
    if stopped:
        problems.append(f"{shown(path)}, cell {lesson.cells[reached].id}: {stopped}.")
    return nb, problems


class _Kernels(KernelSpecManager):
    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        return forked(super().get_kernel_spec(kernel_name))


def environment(scratch: Path) -> dict[str, str]:
    """Return the environment for a kernel: nothing of the user's own settings, one thread."""
    kept = {name: value for name, value in os.environ.items() if name not in FOREIGN}
    return kept | {
        "OMP_NUM_THREADS": "1",
        "IPYTHONDIR": str(scratch),
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",  # or each kernel warns of frozen modules
    }


def verify(
    lesson: Lesson, version: Version, path: Path, ran: Sequence[NotebookNode]
) -> Iterator[str]:
    """Yield a sentence for each of the executed cells that did not do what its role promises."""
    counts = 0
    for cell, result in zip(lesson.cells, ran, strict=False):
        if cell.kind == "markdown":
            continue
        counts += 1
        place = f"{shown(path)}, cell {cell.id}"
        errors = [output for output in result.outputs if output.output_type == "error"]
        if result.execution_count != counts:
            yield f"{place}: run as number {result.execution_count}, not {counts}. {MEND}"
        if cell.role is Role.RAISES:
            if not errors:
                yield f"{place}: it is meant to raise, and did not."
            continue
        for error in errors:
            yield f"{place}: it raised {error.ename}: {first_line(error.evalue)}"
        if cell.role is Role.CHECK and not errors:
            verdicts = [output.get("metadata", {}).get("checks") for output in result.outputs]
            outcomes = [str(verdict.get("outcome")) for verdict in verdicts if verdict]
            if outcomes != [EXPECTED[version]]:
                said = " and ".join(outcomes) or "nothing"
                yield f"{place}: the check says {said}, not {EXPECTED[version]}."


def compare(lessons: dict[Path, Lesson]) -> list[str]:
    """Return a sentence for each notebook that is not what its source builds."""
    problems: list[str] = []
    for source, lesson in lessons.items():
        for version in Version:
            path = target(source, version)
            if not path.is_file():
                problems.append(f"{shown(path)} does not exist. {MEND}")
                continue
            try:
                text = path.read_text(encoding="utf-8")
                stored = nbformat.reads(text, as_version=4)  # type: ignore[no-untyped-call]
                nbformat.validate(stored)
            except Exception as error:  # JSON's, nbformat's, UTF-8's own
                problems.append(f"{shown(path)} is no notebook: {error}. {MEND}")
                continue
            difference = differ(notebook(lesson, version), stored)
            if difference:
                problems.append(
                    f"{shown(path)} is not what {shown(source)} builds: {difference}. {MEND}"
                )
                continue
            problems += verify(lesson, version, path, stored.cells)
            if text != serialise(stored):
                problems.append(f"{shown(path)} was not written by the build. {MEND}")
    return problems


def differ(built: NotebookNode, stored: NotebookNode) -> str:
    """Say where two notebooks first differ, outputs and counts left out; "" where nowhere."""
    for name in ("nbformat", "nbformat_minor", "metadata"):
        if built[name] != stored.get(name):
            return f"another {name}"
    for ours, theirs in zip(built.cells, stored.cells, strict=False):
        if ours.id != theirs.get("id"):
            return f"cell {theirs.get('id')} stands where cell {ours.id} belongs"
        for name in ("cell_type", "source", "metadata"):
            if ours[name] != theirs.get(name):
                return f"cell {ours.id} has another {name}"
    if len(built.cells) != len(stored.cells):
        return f"{len(stored.cells)} cells instead of {len(built.cells)}"
    return ""


def strays(folder: Path) -> list[str]:
    """Return a sentence for each notebook that has no source in the folder."""
    names = {path.stem for path in folder.glob("*.md")}
    course = folder.parent
    notebooks = [*sorted(course.glob("*.ipynb")), *sorted(course.glob("solutions/*.ipynb"))]
    return [
        f"{shown(path)} has no source {path.stem}.md in {shown(folder)}: write one, or remove it."
        for path in notebooks
        if path.stem not in names
    ]


def serialise(nb: NotebookNode) -> str:
    """Return the notebook's one form as text: keys sorted, a newline at the end."""
    text: str = nbformat.writes(nb, version=4)  # type: ignore[no-untyped-call]
    return text.rstrip("\n") + "\n"


def write(path: Path, text: str) -> None:
    """Write the file, and leave it alone where it says the same already."""
    if not path.is_file() or path.read_bytes() != text.encode("utf-8"):
        whole.write(path, text)


def shown(path: Path) -> str:
    """Return the path as one would type it: from the current folder, where that holds it."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_absolute() and path.is_relative_to(here) else path)


def first_line(text: str) -> str:
    """Return the first line of the text, "" where it has none."""
    return text.partition("\n")[0]
