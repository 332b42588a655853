"""The last lesson points into all the others: what it points to must be there."""

import re
from pathlib import Path

SOURCES = Path(__file__).resolve().parents[1] / "notebooks/source"
TEXT = (SOURCES / "99_what_was_wrong.md").read_text(encoding="utf-8")


def headings(lesson: str) -> set[str]:
    """The headings of a lesson; an exercise also by its number alone."""
    text = (SOURCES / f"{lesson}.md").read_text(encoding="utf-8")
    found = re.findall(r"^#{1,3} (.+)$", text, flags=re.MULTILINE)
    return {*found, *(one.split(" · ")[0] for one in found if one.startswith("Exercise"))}


def test_every_place_that_is_named_is_a_heading_of_its_lesson() -> None:
    # A lesson that is reworded leaves the reader of the tables at a heading that is gone.
    places = re.findall(r"\[lesson \d+\]\((\w+)\.ipynb\)((?:, \*[^*]+\*)+)", TEXT)
    named = [(lesson, one) for lesson, some in places for one in re.findall(r"\*([^*]+)\*", some)]
    assert len(named) > 50  # or the pattern has missed the tables
    gone = [(lesson, heading) for lesson, heading in named if heading not in headings(lesson)]
    assert gone == []


def test_headings_quoted_in_the_text_exist() -> None:
    # The same for: lesson 05, "Why local gradients are enough".
    quoted = re.findall(r"[lL]esson (\d\d), \"([^\"]+)\"", TEXT)
    assert quoted
    files = {path.name[:2]: path.stem for path in SOURCES.glob("*.md")}
    assert [(n, text) for n, text in quoted if text not in headings(files[n])] == []


def test_the_mistakes_are_counted_without_a_gap() -> None:
    # A number used twice, or left out, when a mistake is put in.
    found = re.findall(r"\*\*No\. (\d+)|^\| (\d+) \|", TEXT, flags=re.MULTILINE)
    numbers = [int(text or row) for text, row in found]
    assert numbers == list(range(1, len(numbers) + 1))
    assert f"numbers 1 to {len(numbers)}:" in TEXT
