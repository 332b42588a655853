"""The content lint: a small course is broken in one way at a time, and the place must be named."""

import os
import re
import subprocess
import sys
from pathlib import Path

import lint
import pytest

CONTENT = Path(__file__).resolve().parent / "content"
LESSON = "notebooks/source/05_tiny.md"
GOOD = {
    "README.md": """\
# A course

See [the lessons](notebooks) and [PyTorch](https://pytorch.org).

```sh
make lab  # not a $ formula, not a heading
```
""",
    "images/wire.svg": '<svg xmlns="http://www.w3.org/2000/svg"><title>A wire</title></svg>',
    LESSON: """\
---
kernelspec:
  display_name: Python 3
  name: python3
---

# 5 · Tiny

With $a < b$ and $\\hat y = w x$, at a price of \\$5 or `$5`:

$$
\\frac{\\partial L}{\\partial w}
$$

![A wire from x to y](../../images/wire.svg)

<img src="../../images/wire.svg" alt="The same wire">

## 5.1 Fold

<details><summary>Hint 1: where to look</summary>

It is $2 (y - \\hat y)$, see [this lesson](05_tiny.ipynb).

</details>

| name | value |
|---|---|
| $x$ | 1 |

```{code-cell} ipython3
:tags: [nbval-ignore-output]

# Output differs: it is the time.
import time

time.time()
```
""",
}


@pytest.fixture
def course(tmp_path: Path) -> Path:
    for name, text in GOOD.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    for folder in ("notebooks", "notebooks/solutions"):
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / "05_tiny.ipynb").write_text("{}")
    return tmp_path


def run(course: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, CONTENT / "lint.py", course],
        capture_output=True,
        encoding="utf-8",
        env={**os.environ, "PYTHONUTF8": "1", **environment},
    )


def line_of(text: str, wanted: str) -> int:
    return text[: text.index(wanted)].count("\n") + 1


def test_a_good_course_passes(course: Path) -> None:
    # A lint that finds fault with everything would pass all the other tests here.
    done = run(course)
    assert (done.returncode, done.stdout, done.stderr) == (0, "content: 0 problems\n", "")


# The file, what is taken out of it, what is put in its place, what must be said of that place
# (or of another, which comes last).
BROKEN = [
    (LESSON, "\\hat y = w x", "\\hatt y", "Undefined control sequence: \\hatt"),
    (LESSON, "\\frac{\\partial L}{\\partial w}", "\\frac{a}{b", "expected '}'"),
    (LESSON, "w x$, at", "w x, at", "$ without its partner"),
    (LESSON, "$a < b$", "$a < b $", "with a space inside the dollars"),
    (LESSON, "$a < b$", "\\begin{aligned}a", "stands outside of $$ … $$"),
    (LESSON, "| $x$ |", "| $|x|$ |", "in a table | ends the column"),
    (LESSON, "](../../images/wire.svg)", "](../../images/wier.svg)", "there is no such file"),
    (LESSON, '"../../images/wire.svg"', '"../images/wire.svg"', "there is no such file"),
    (LESSON, '"../../images/wire.svg"', '"https://a.b/c.svg"', "to be seen without a net"),
    (LESSON, "![A wire from x to y]", "![]", "alt text does not say"),
    (LESSON, ' alt="The same wire"', "", "alt text does not say"),
    (LESSON, "(05_tiny.ipynb)", "(04_gone.ipynb)", "there is no such file"),
    (LESSON, "(05_tiny.ipynb)", "(#fold)", "no links into a page"),
    (LESSON, "## 5.1 Fold", "#### 5.1 Fold", "a heading of level 4 directly below level 1"),
    (LESSON, "## 5.1 Fold", "# 5.1 Fold", "a second title"),
    (LESSON, "## 5.1 Fold", "5.1 Fold\n---", "underlined with -"),
    (LESSON, "# 5 · Tiny", "5 · Tiny", "no title", "## 5.1 Fold"),
    (LESSON, "look</summary>\n", "look</summary>", "an empty line is needed below </summary>"),
    (LESSON, "\n</details>", "</details>", "an empty line is needed above and below </details>"),
    (LESSON, "<details><summary>", "<details><details><summary>", "without its partner"),
    (LESSON, "</details>", "```{code-cell}\n1\n```\n\n</details>", "is not closed", "<details>"),
    (LESSON, "| 1 |", '| <span style="color: red">1</span> |', "style=… on <span>"),
    (LESSON, "| 1 |", "| <font>1</font> |", "lessons are plain Markdown"),
    (LESSON, "| 1 |", "| see /home/anna/course/x.py |", "a path of somebody's machine"),
    (LESSON, "# Output differs: it is the time.\n", "", "needs its reason"),
    (LESSON, "# Output differs: it is", "# NBVAL_SKIP\n# Output differs: it is", "by tags"),
    (LESSON, "nbval-ignore-output", "nbval-skip", "`nbval-skip` means nothing"),
    ("README.md", "](notebooks)", "](lessons)", "there is no such file"),
    ("README.md", "the lessons]", "the $\\lesson$]", "Undefined control sequence: \\lesson"),
    ("images/wire.svg", "<title>A wire</title>", "", "the figure has no <title>"),
    ("images/wire.svg", "</svg>", "", "this is not SVG"),
    ("notebooks/05_tiny.ipynb", "{}", '"in /srv/course/x.py"', "a path of somebody's machine"),
    ("notebooks/05_tiny.ipynb", "{}", '"C:\\\\Users\\\\anna"', "a path of somebody's machine"),
]


@pytest.mark.parametrize("case", BROKEN, ids=[f"{case[3]}: {case[2]}" for case in BROKEN])
def test_what_is_wrong_is_named(course: Path, case: tuple[str, ...]) -> None:
    # Each case is the mistake that its message names.
    name, good, bad, message, *elsewhere = case
    text = (course / name).read_text(encoding="utf-8")
    assert good in text
    (course / name).write_text(text.replace(good, bad, 1), encoding="utf-8")
    (problem,) = [one for one in lint.problems(course) if message in one.message]
    assert problem.file == course / name
    # A source that cannot be read as a lesson names the line in its message.
    line = int(re.search(r"line (\d+)|$", problem.message)[1] or problem.line)
    assert abs(line - line_of(text, *(elsewhere or [good]))) <= 2


def test_the_place_is_printed(course: Path) -> None:
    # As editors and terminals know it: file:line:.
    readme = course / "README.md"
    readme.write_text(readme.read_text().replace("(notebooks)", "(lessons)"), encoding="utf-8")
    done = run(course)
    assert done.returncode == 1
    assert done.stdout == "README.md:3: lessons: there is no such file\ncontent: 1 problem\n"


def test_formulas_are_never_skipped_in_ci(course: Path) -> None:
    # Without node nothing is checked; on the machine that decides, that is a failure.
    done = run(course, PATH="", CI="true")
    assert done.returncode == 1
    assert "Node.js is not installed" in done.stderr
    done = run(course, PATH="", CI="")
    assert done.returncode == 0
    assert "NOT checked" in done.stdout
