"""Draw the figures of the lessons: every `*.dot` beside this file becomes an `*.svg`.

`checks.card` says what a source may contain and how it is drawn.
"""

from pathlib import Path

from checks.card import Figure

FOLDER = Path(__file__).resolve().parent


def draw(source: Path) -> str:
    """Return the SVG of one Graphviz source."""
    return Figure(source.read_text(encoding="utf-8")).svg()


def main() -> None:
    """Draw every figure anew."""
    for source in sorted(FOLDER.glob("*.dot")):
        target = source.with_suffix(".svg")
        target.write_text(draw(source), encoding="utf-8", newline="\n")
        print(target.name)


if __name__ == "__main__":
    main()
