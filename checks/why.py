"""Why a right answer is right: the chain of local gradients that the graph multiplied.

Feedback that explains right steps, not only wrong ones, made learning about twice as fast in one
study (Mitrovic, Ohlsson and Barrow 2013).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from torch import Tensor

from checks.backward import Edge, Node
from checks.graph import UNKNOWN, Names, kind, operation, written_step
from checks.truth import Question

_MOST_PATHS = 3
_LONGEST = 8
_MANY = (
    "Why: many paths lead back to `{name}`; along each, upstream gradient × local gradient, and "
    "in the end all of them added up."
)

# One step of a path: a node, and the number of its input through which the path goes on.
Path = tuple[tuple[Node, int], ...]


def why(question: Question, name: str, names: Names) -> str:
    """Say in one line how the gradient with respect to `name` comes about.

    Empty where the graph is too large for one line, or where there is nothing to say.
    """
    paths = _paths(question, name)
    if paths is None:
        return _MANY.format(name=names.edges.get(question.edges[name], name))
    if not paths or max(map(len, paths)) > _LONGEST:
        return ""
    products = [_product(question, path, names) for path in paths]
    if all(numbers for _, numbers in products):
        start = "" if float(question.v) == 1 else f"{_short(float(question.v))} · "
        total = _short(float(question.gradients[name]))
        symbols = f"{products[0][0]} = " if len(paths) == 1 and products[0][0] else ""
        sums = " + ".join(start + numbers for _, numbers in products)
        return f"Why: {symbols}{sums}" + (f" = {total}" if sums != total else "")
    steps = list(dict.fromkeys(_step(node, names) for path in paths for node, _ in path))
    if len(steps) > _LONGEST:
        return ""
    text = f"Why: upstream gradient × local gradient, back through {', '.join(steps)}."
    if len(paths) > 1:
        text += f" {len(paths)} paths lead to `{name}`, and their gradients add up."
    return text + _added_up(question, name, paths, names)


# Operations that repeat a smaller operand for each entry of a larger result.
_REPEATING = {"Add", "Addmm", "Div", "Expand", "Mul", "Sub"}


def _added_up(question: Question, name: str, paths: list[Path], names: Names) -> str:
    """Say where one operand was used for many entries, so that their gradients were summed."""
    size = question.wrt[name].numel()
    for path in paths:
        node, _ = path[-1]
        used = math.prod(node._input_metadata[0].shape)
        if kind(node) in _REPEATING and used > size:
            times = used // max(size, 1)
            known = names.of(question.edges[name])
            target = name if known == UNKNOWN else known
            return (
                f" `{target}` is used {times} times at {_step(node, names)}: {times} contributions "
                "were added up."
            )
    return ""


def _paths(question: Question, name: str) -> list[Path] | None:
    """List the paths from the result to a tensor; none where there are too many."""
    target, root = question.edges[name], question.root[0]
    # There may be very many: x = x + x, sixty times, has 2 ** 60. So they are counted first.
    counts: dict[Node, int] = {}
    for node in reversed(question.nodes):
        counts[node] = sum(
            1 if place == target else counts.get(place[0], 0) for place in node.next_functions
        )
    if counts.get(root, 0) > _MOST_PATHS:
        return None
    return list(_walk(root, target, counts, ()))


def _walk(node: Node, target: Edge, counts: Mapping[Node, int], path: Path) -> Iterator[Path]:
    if not counts.get(node) or len(path) > _LONGEST:
        return
    for k, place in enumerate(node.next_functions):
        longer = (*path, (node, k))
        if place == target:
            yield longer
        else:
            yield from _walk(place[0], target, counts, longer)


def _product(question: Question, path: Path, names: Names) -> tuple[str, str]:
    """Write the product of a path in symbols and in numbers; empty where it is not of numbers."""
    symbols: list[str] = []
    numbers: list[str] = []
    for node, k in path:
        place = node.next_functions[k]
        arriving = question.seen.arriving.get((node, 0))
        handed = question.seen.handed_on.get(node, ())[k]
        if arriving is None or handed is None or not _is_number(arriving) or not _is_number(handed):
            return "", ""
        if arriving == 0:
            return "", ""
        above, below = names.of((node, 0)), names.of(place)
        symbols.append("" if UNKNOWN in (above, below) else f"∂{above}/∂{below}")
        local = float(handed) / float(arriving)
        numbers.append(f"({_short(local)})" if local < 0 and numbers else _short(local))
    return " · ".join(symbols) if all(symbols) else "", " · ".join(numbers)


def _is_number(gradient: Tensor) -> bool:
    return gradient.numel() == 1 and not gradient.is_complex()


def _step(node: Node, names: Names) -> str:
    text = written_step(node, names)
    return f"the {operation(node)}" if text.startswith(UNKNOWN) else f"`{text}`"


def _short(number: float) -> str:
    return f"{number:.4g}".replace("-", "−")
