"""Every formula can be drawn: found in the text as JupyterLab finds it, and given to KaTeX."""

import json
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from packages import node_modules
from rules import Problem, Text, without_code

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Formula:
    """TeX, without its dollars, and the offset of the line in which it begins."""

    tex: str
    display: bool
    line: int


def problems(texts: list[Text]) -> Iterator[Problem]:
    """What cannot be drawn, in JupyterLab or on GitHub."""
    found: list[tuple[Text, Formula]] = []
    for text in texts:
        for item in scan(without_code(text.source)):
            if isinstance(item, Formula):
                found.append((text, item))
            else:
                yield text.problem(*item)
    complaints = katex([formula for _, formula in found])
    for (text, formula), complaint in zip(found, complaints, strict=True):
        if complaint:
            # KaTeX underlines the place, letter by letter, and repeats line ends.
            said = " ".join(complaint.replace("\N{COMBINING LOW LINE}", "").split())
            yield text.problem(formula.line, said)


def scan(source: str) -> Iterator[Formula | tuple[int, str]]:
    """Find the formulas in a text without code, and what looks like one but is none."""
    position = 0
    while opening := re.compile(r"(?<!\\)\$\$?|\\begin\{|\\\\[(\[]").search(source, position):
        line = source.count("\n", 0, opening.start())
        dollars = opening[0]
        if not dollars.startswith("$"):
            yield line, f"{dollars} stands outside of $$ … $$"
            position = opening.end()
            continue
        # An empty line ends every formula, closed or not.
        closing = re.compile(rf"(?<!\\){re.escape(dollars)}|\n[ \t>]*\n").search(
            source, opening.end()
        )
        if not closing or closing[0] != dollars:
            yield line, f"{dollars} without its partner"
            position = closing.start() if closing else len(source)
            continue
        tex = source[opening.end() : closing.start()]
        position = closing.end()
        row = source.split("\n")[line]
        if dollars == "$" and tex != tex.strip():
            yield line, f"${tex}$: with a space inside the dollars, GitHub shows no formula"
        elif dollars == "$" and "|" in tex and row.lstrip().startswith("|"):
            yield line, f"${tex}$: in a table | ends the column, write \\vert or \\lVert"
        else:
            yield Formula(tex, dollars == "$$", line)


def katex(formulas: list[Formula]) -> list[str | None]:
    """For each formula None, or what KaTeX says is wrong with it."""
    if node_modules() is None:
        print("Node.js is not installed: the formulas are NOT checked.")
        return [None] * len(formulas)
    request = json.dumps([{"tex": one.tex, "display": one.display} for one in formulas])
    answer = subprocess.run(
        ["node", HERE / "formulas.mjs"], input=request, capture_output=True, encoding="utf-8"
    )
    if answer.returncode:
        raise SystemExit(f"KaTeX could not be run:\n{answer.stderr}")
    complaints: list[str | None] = json.loads(answer.stdout)
    return complaints
