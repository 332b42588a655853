"""`make lint`, the part that reads the words: lessons, README and figures.

    python tests/content/lint.py [FOLDER]

Prints `file:line: what is wrong`, a line for each, and exits with 1 if there is any.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import formulas
import rules
from rules import Problem, Text

from checks.classroom import lesson as lessons
from checks.classroom.cell import Role


def problems(root: Path) -> Iterator[Problem]:
    """Everything that is wrong with the content of the course in `root`."""
    documents: list[list[Text]] = [[_readme(root)]]
    for source in sorted(root.glob("notebooks/source/*.md")):
        try:
            lesson = lessons.read(source)
        except lessons.LessonError as error:
            yield Problem(source, 1, str(error))
            continue
        documents.append(list(_texts(source, lesson)))
        yield from rules.exemptions(source, lesson.cells)
    for document in documents:
        yield from rules.headings(document)
        for text in document:
            yield from rules.images_and_links(text)
            yield from rules.html(text)
            yield from rules.details(text)
    yield from formulas.problems([text for document in documents for text in document])
    for figure in sorted(root.glob("images/*.svg")):
        yield from rules.figure(figure)
    for pattern in ("*.md", "notebooks/**/*.md", "notebooks/**/*.ipynb", "images/*"):
        for file in sorted(root.glob(pattern)):
            yield from rules.machine_paths(file)


def _readme(root: Path) -> Text:
    file = root / "README.md"
    return Text(file, 1, file.read_text(encoding="utf-8"), (root,))


def _texts(source: Path, lesson: lessons.Lesson) -> Iterator[Text]:
    """The Markdown cells. A link is followed from both folders in which a lesson ends up."""
    notebooks = source.parent.parent
    for cell in lesson.cells:
        if cell.role is Role.TEXT:
            yield Text(source, cell.line, cell.source, (notebooks, notebooks / "solutions"))


def main() -> int:
    root = Path(sys.argv[1] if len(sys.argv) > 1 else ".").resolve()
    found = sorted(set(problems(root)))
    for problem in found:
        print(f"{problem.file.relative_to(root)}:{problem.line}: {problem.message}")
    print(f"content: {len(found)} problem{'' if len(found) == 1 else 's'}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
