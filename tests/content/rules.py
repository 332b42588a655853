"""What holds for every lesson, for README and for the figures: one function for each rule."""

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import NamedTuple

from markdown_it import MarkdownIt
from markdown_it.token import Token

from checks.classroom.cell import Cell

MARKDOWN = MarkdownIt("commonmark").enable("table")


class Problem(NamedTuple):
    """Something that is wrong, and where."""

    file: Path
    line: int
    message: str


@dataclass(frozen=True)
class Text:
    """Markdown that is rendered in one piece: a cell, or a file. `line` is where it begins.

    `folders` are those from which its links are followed.
    """

    file: Path
    line: int
    source: str
    folders: tuple[Path, ...]

    def problem(self, offset: int, message: str) -> Problem:
        """A problem in the line that is `offset` lines below the first."""
        return Problem(self.file, self.line + offset, message)


def headings(document: Iterable[Text]) -> Iterator[Problem]:
    """One title, in the first line, and below it no level left out."""
    level = 0
    for text in document:
        for token in MARKDOWN.parse(text.source):
            if token.type != "heading_open":
                continue
            line, new = _line(token), int(token.tag[1])
            if token.markup in ("-", "="):
                yield text.problem(line, f"underlined with {token.markup}, this is a heading")
            elif new > 1 and not level:
                yield text.problem(line, "no title: the first heading begins with a single #")
            elif new == 1 and level:
                yield text.problem(line, "a second title: one heading with a single # is enough")
            elif new > level + 1:
                yield text.problem(line, f"a heading of level {new} directly below level {level}")
            level = new
    if not level:
        yield text.problem(0, "no title: the first heading begins with a single #")


def images_and_links(text: Text) -> Iterator[Problem]:
    """Every image is there and says in words what it shows; every link within leads somewhere."""
    for token, line in _inline(MARKDOWN.parse(text.source)):
        if token.type == "image":
            target = str(token.attrs["src"])
            yield from _image(text, line, target, token.content)
        elif token.type == "link_open":
            yield from _link(text, line, str(token.attrs["href"]))
    for tag, attributes, line in _tags(text):
        if tag == "img":
            yield from _image(text, line, attributes.get("src", ""), attributes.get("alt", ""))
        elif tag == "a":
            yield from _link(text, line, attributes.get("href", ""))


def html(text: Text) -> Iterator[Problem]:
    """No colours and no layout of our own: they look wrong in the theme nobody thought of."""
    for tag, attributes, line in _tags(text):
        if tag in ("font", "center", "style", "script"):
            yield text.problem(line, f"<{tag}>: lessons are plain Markdown")
        for name in attributes.keys() & {"style", "color", "bgcolor", "align"}:
            yield text.problem(line, f"{name}=… on <{tag}>: lessons are plain Markdown")


def details(text: Text) -> Iterator[Problem]:
    """A folded hint opens and closes in one cell, and its Markdown is Markdown."""
    tags = [(tag, line) for tag, _, line in _tags(text) if tag in ("details", "/details")]
    depth = 0
    for tag, line in tags:
        depth += 1 if tag == "details" else -1
        if depth not in (0, 1):
            yield text.problem(line, f"<{tag}> without its partner in this cell")
            return
    if depth:
        yield text.problem(tags[-1][1], "<details> is not closed in this cell")
    lines = ["", *text.source.splitlines(), ""]
    for number, line in enumerate(lines[1:-1], start=1):
        before, after = lines[number - 1].strip(), lines[number + 1].strip()
        if "</summary>" in line and (after or not line.rstrip().endswith("</summary>")):
            yield text.problem(number - 1, "an empty line is needed below </summary>")
        if "</details>" in line and (before or after or line.strip() != "</details>"):
            yield text.problem(number - 1, "an empty line is needed above and below </details>")


def exemptions(source: Path, cells: Iterable[Cell]) -> Iterator[Problem]:
    """An output that is not compared is an exception, and the cell says why."""
    for cell in cells:
        tagged = "nbval-ignore-output" in cell.tags
        if tagged and not re.search(r"^# Output differs: \S", cell.source, re.MULTILINE):
            message = "nbval-ignore-output needs its reason: a line `# Output differs: …`"
            yield Problem(source, cell.line, message)
        if cell.kind == "code" and re.search(r"^\s*#\s*(NBVAL|PYTEST)_", cell.source, re.MULTILINE):
            yield Problem(source, cell.line, "nbval is told by tags, not by comments")


def figure(file: Path) -> Iterator[Problem]:
    """A figure is valid XML and has a title, for those who hear it."""
    try:
        root = ET.fromstring(file.read_text(encoding="utf-8"))
    except ET.ParseError as error:
        yield Problem(file, error.position[0], f"this is not SVG: {error}")
        return
    title = root.find("{http://www.w3.org/2000/svg}title")
    if title is None or not (title.text or "").strip():
        yield Problem(file, 1, "the figure has no <title>")


def machine_paths(file: Path) -> Iterator[Problem]:
    """Nothing that was built tells on whose machine."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        return  # a picture
    known = r"(?<!\w)/(?:home|Users|root|tmp)/\w+|\b[A-Z]:\\+(?:Users|Windows|Program)"
    deep = r"(?<![\w.:/<~)}\]-])/(?:[\w.@+-]+/){2,}[\w.@+-]+"  # three names deep, from the root
    # In what is written by hand, a deep path may be part of an address.
    path = re.compile(known if file.suffix == ".md" else f"{known}|{deep}")
    for number, line in enumerate(lines, start=1):
        if '"image/png":' in line:
            continue  # letters at random
        if found := path.search(line):
            yield Problem(file, number, f"a path of somebody's machine: {found[0]}")


def _image(text: Text, line: int, target: str, alt: str) -> Iterator[Problem]:
    if re.match(r"\w+:", target):
        yield text.problem(line, f"{target}: images lie in the course, to be seen without a net")
    else:
        yield from _link(text, line, target)
    if len(alt.split()) < 2:
        yield text.problem(line, f"{target}: the alt text does not say what the image shows")


def _link(text: Text, line: int, target: str) -> Iterator[Problem]:
    if re.match(r"(https?|mailto):", target):
        return
    if "#" in target:
        yield text.problem(line, f"{target}: no links into a page, its anchors differ by viewer")
        return
    # In a lesson's source `../../` means the top of the course: the build adapts it.
    places = [text.file.parents[2]] if target.startswith("../../") else text.folders
    relative = target.removeprefix("../../")
    if not relative or any(not (place / relative).exists() for place in places):
        yield text.problem(line, f"{target}: there is no such file")


def _line(token: Token) -> int:
    return token.map[0] if token.map else 0


def _inline(tokens: list[Token]) -> Iterator[tuple[Token, int]]:
    """Images, links and the like, each with the offset of its line."""
    for token in tokens:
        line = _line(token)
        for child in token.children or ():
            if child.type in ("softbreak", "hardbreak"):
                line += 1
            yield child, line


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str], int]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in attrs}
        self.tags.append((tag, attributes, self.getpos()[0] - 1))

    def handle_endtag(self, tag: str) -> None:
        self.tags.append((f"/{tag}", {}, self.getpos()[0] - 1))


def _tags(text: Text) -> list[tuple[str, dict[str, str], int]]:
    """The HTML tags in a text, with their attributes and the offsets of their lines."""
    reader = _Reader()
    # The < of a formula opens no tag.
    formula = re.compile(r"(?<!\\)(\$\$?)(?!\$).+?(?<!\\)\1", re.DOTALL)
    reader.feed(formula.sub(_blank, without_code(text.source)))
    return reader.tags


def without_code(source: str) -> str:
    """The text with all code blanked out, each line still in its place."""
    lines = source.split("\n")
    for token in MARKDOWN.parse(source):
        if token.type in ("fence", "code_block") and token.map:
            for number in range(*token.map):
                lines[number] = ""
    spans = re.compile(r"(?<!`)(`+)(?!`)(.+?)(?<!`)\1(?!`)", re.DOTALL)
    return spans.sub(_blank, "\n".join(lines))


def _blank(found: re.Match[str]) -> str:
    """Spaces in place of what was found."""
    return re.sub(r"[^\n]", " ", found[0])
