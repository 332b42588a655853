"""Other numbers for each learner: the decimal numbers of a cell, drawn anew from a seed.

What varies are the numbers with a decimal point that stand in `torch.tensor(…)`. Whole numbers
(`3`) stay: they are indices, classes or counts. So do 0.0 and 1.0, which are masks and targets.

What is drawn has the form of what it replaces, so that an exercise stays as easy by hand: the sign,
the number of digits, and zeros where there were zeros. It is another number, and never 1 or 2. What
was equal stays equal, and what was different stays different.
"""

import ast
import random
import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

TAG = "varies"  # of the cells in which numbers vary

_DRAWS = 100  # for one number, before all are drawn again
_ROUNDS = 100


class _Number(NamedTuple):
    """A number that varies, without its sign, and where it stands among the bytes of the cell."""

    start: int
    text: str


def vary(source: str, seed: str) -> str:
    """Return the code of a cell with other numbers: the same ones for the same seed.

    Raises:
        SyntaxError: the code is not Python.
        ValueError: there is no number that varies, or there are not enough others of their form.
    """
    literals = list(_literals(ast.parse(source)))
    numbers = _varying(source, literals)
    if not numbers:
        raise ValueError(
            "no number varies here: it takes one with a decimal point in `torch.tensor(…)`, other "
            "than 0.0 and 1.0"
        )
    texts = list(dict.fromkeys(number.text for number in numbers))
    stay = {abs(ast.literal_eval(node)) for node in literals} - {float(text) for text in texts}
    drawn = _drawn(texts, {0, 1, 2, *stay}, random.Random(seed))
    data = source.encode()
    for number in reversed(numbers):
        end = number.start + len(number.text)
        data = data[: number.start] + drawn[number.text].encode() + data[end:]
    return data.decode()


def _literals(code: ast.AST) -> Iterator[ast.Constant]:
    """Yield the numbers that stand as they are in a `torch.tensor(…)`, nested in lists or not."""
    for call in ast.walk(code):
        match call:
            case ast.Call(func=ast.Attribute(ast.Name("torch"), "tensor"), args=[data, *_]):
                yield from _plain(data)


def _plain(data: ast.expr) -> Iterator[ast.Constant]:
    match data:
        case ast.List(elts=items) | ast.Tuple(elts=items):
            for item in items:
                yield from _plain(item)
        case ast.UnaryOp(op=ast.USub() | ast.UAdd(), operand=operand):
            yield from _plain(operand)
        case ast.Constant(value=float() | int()) if not isinstance(data.value, bool):
            yield data


def _varying(source: str, literals: Iterable[ast.Constant]) -> list[_Number]:
    """Return the numbers that vary, in the order in which they stand in the cell."""
    lines = source.encode().splitlines(keepends=True)
    found = []
    for node in literals:
        if isinstance(node.value, float) and node.value not in (0, 1):
            before = sum(map(len, lines[: node.lineno - 1]))
            text = ast.get_source_segment(source, node)
            assert text is not None
            found.append(_Number(before + node.col_offset, text))
    return sorted(found)


def _drawn(texts: list[str], taken: set[float], generator: random.Random) -> dict[str, str]:
    """Return another number for each. What is drawn first may leave nothing for the last."""
    for _ in range(_ROUNDS):
        drawn: dict[str, str] = {}
        for text in texts:
            values = {*taken, float(text), *map(float, drawn.values())}
            others = (_other(text, generator) for _ in range(_DRAWS))
            other = next((other for other in others if float(other) not in values), None)
            if other is None:
                break
            drawn[text] = other
        else:
            return drawn
    raise ValueError(
        f"{len(texts)} different numbers vary here, and there are not enough others of the same "
        "form: write them with one digit more"
    )


def _other(text: str, generator: random.Random) -> str:
    """Return a number of the same form: each digit but 0 is drawn anew, the exponent is kept."""
    digits, mark, exponent = re.split("([eE])", text + "e", maxsplit=1)
    # Of a generator's methods, `random` alone gives the same numbers in every version of Python.
    other = re.sub("[1-9]", lambda _: str(1 + int(9 * generator.random())), digits)
    return other + (mark + exponent).removesuffix("e")
