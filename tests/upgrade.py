"""What another PyTorch changes, for `make upgrade-report`: to be read, before the version is moved.

Every lesson is run with the Python that runs this, and what it shows now is put beside what is
stored: error messages, names of nodes, printed tensors, pictures, verdicts. Then the tests are run
that hold with any version. Nothing is written into the course.

    make upgrade-report TORCH=2.14.0       in an environment of its own, made for it
    make upgrade-report PYTHON=/some/python   in one that is there
"""

from __future__ import annotations

import argparse
import difflib
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from html.parser import HTMLParser
from pathlib import Path

import nbformat
import torch
from nbformat import NotebookNode

from checks.classroom import build
from checks.classroom.lesson import Version, read
from checks.classroom.strict import differences

ROOT = Path(__file__).resolve().parents[1]


def lessons(sources: Sequence[Path]) -> Iterator[str]:
    """Run both versions of each lesson; yield a paragraph for each cell that shows other things."""
    jobs = [(source, version) for source in sources for version in Version]
    with tempfile.TemporaryDirectory() as scratch, ThreadPoolExecutor(2) as pool:

        def work(job: tuple[Path, Version]) -> list[tuple[str, str]]:
            source, version = job
            path = build.target(source, version)
            new, problems = build.execute(
                read(source), version, path, Path(scratch), keep_going=True
            )
            stored = nbformat.read(path, as_version=4)
            return [*cells(stored, new), *(("", f"{problem}\n") for problem in problems)]

        told: set[tuple[Path, str, str]] = set()
        for (source, version), found in zip(jobs, pool.map(work, jobs), strict=True):
            for cell, what in found:
                # Most of a lesson is the same in both versions, and is told once.
                if (source, cell, what) not in told:
                    told.add((source, cell, what))
                    place = f"{source.stem} ({version}), cell {cell}:\n" if cell else ""
                    yield place + what


def cells(stored: NotebookNode, new: NotebookNode) -> Iterator[tuple[str, str]]:
    """The id of each cell that shows other things than it did, and what, line by line."""
    for before, after in zip(stored.cells, new.cells, strict=True):
        if before.cell_type == "code" and (lines := changes(before.outputs, after.outputs)):
            yield before.id, "".join(f"    {line}\n" for line in lines)


def changes(before: Sequence[NotebookNode], after: Sequence[NotebookNode]) -> list[str]:
    """Lines that went (-) and lines that came (+), and what is to be said of pictures."""
    both = [
        [line for output in outputs for line in readable(output)] for outputs in (before, after)
    ]
    told = [
        line
        for line in difflib.unified_diff(*both, n=0, lineterm="")
        if not line.startswith(("---", "+++", "@@"))
    ]
    seen = list(differences(before, after))
    return told + [line for line in seen if "picture" in line or not told]


def readable(output: NotebookNode) -> list[str]:
    """An output as lines of text: of HTML, what one reads on the page."""
    if output.output_type == "stream":
        return str(output.text).splitlines()
    if output.output_type == "error":
        return f"{output.ename}: {output.evalue}".splitlines()
    if "text/html" in output.data:
        page = _Page()
        page.feed(output.data["text/html"])
        return [line for text in page.texts if (line := " ".join(text.split()))]
    return str(output.data.get("text/plain", "")).splitlines()


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def failing(arguments: Sequence[str]) -> list[str]:
    """The tests that fail, of those that are true with any version, each in a line."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-m", "not pinned", "--tb=no", "-rfE", *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    lines = re.findall(r"^(?:FAILED|ERROR) .*", done.stdout, re.MULTILINE)
    if done.returncode > 1:
        lines.append(f"pytest ended with the code {done.returncode}:\n{done.stdout}")
    return lines


def main() -> None:
    """Print the report."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--torch", default="", help="the version that must be there")
    parser.add_argument("--lessons", default="*", metavar="PATTERN", help="such as 05_*")
    parser.add_argument(
        "--tests", nargs="*", default=["-n", "2", "--dist", "loadscope", "tests"], metavar="ARG"
    )
    wanted = parser.parse_args()
    version = torch.__version__.partition("+")[0]
    if wanted.torch and version != wanted.torch:
        parser.exit(2, f"This is PyTorch {version}, and not {wanted.torch}: no report.\n")
    sources = sorted((ROOT / "notebooks/source").glob(f"{wanted.lessons}.md"))
    if problems := build.run(sources, check=True):
        parser.exit(2, "\n".join([*problems, "No report while the lessons are not built.\n"]))
    print(f"PyTorch {version}, Python {sys.version.split()[0]}. - was stored, + is shown now.\n")
    number = 0
    for paragraph in lessons(sources):
        number += 1
        print(paragraph, flush=True)
    print(f"{number} change(s) in the lessons.\n", flush=True)
    if wanted.tests:
        lines = failing(wanted.tests)
        print("\n".join([*lines, f"{len(lines)} test(s) fail."]))


if __name__ == "__main__":
    main()
