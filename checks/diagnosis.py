"""Why an answer is wrong: the mal-rule that reproduces it, and the step where it was put in.

The broken rule that gives the learner's numbers *is* the explanation. Nothing else is ever offered:
where no mal-rule fits, nothing is guessed.

A mistake may fit by chance. Of two small whole numbers there are a few hundred, and the mistakes of
one graph are a tenth of them. So the rounder and the fewer the numbers, the likelier a mistake must
be to be believed: it is, while the likelier ones make up no more than a few of a hundred answers
that look alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from torch import Tensor

from checks.backward import Node
from checks.comparison import agrees
from checks.graph import UNKNOWN, Names, operation, written_step
from checks.matching import Given
from checks.search import Mistake, Search

_SAID = 2  # of several explanations, this many are named
_LISTED = 6  # steps to check again
_CHANCE = 0.03  # of the answers that look like one, so many may be explained by mistakes
# Of the last step, or of a matrix times a vector, these are two names of one mistake.
_SYNONYMS = ({"ones-for-v", "upstream-ignored"}, {"jv", "matvec-not-transposed"})
_MANY = 1000  # more candidates than a search has


def explain(search: Search, given: Given) -> list[Mistake]:
    """Find the mistakes that give the learner's numbers, the likeliest first, at most two.

    Returns an empty list where none fits, where the numbers are so few and so round that a mistake
    which fits would tell nothing, and where our pass does not reproduce the truth.
    """
    right = search.right
    if right is None or not _reproduces(search, right):
        return []
    believed = _CHANCE * given.alike(float(right.abs().max()) if right.numel() else 0.0)
    doubtful = given.numbers.numel() > 1 and believed < _MANY
    found: dict[tuple[str, tuple[Node | None, ...]], Mistake] = {}
    rivals: dict[tuple[complex, ...], float] = {}
    for candidate in search.candidates():
        mistake = candidate.mistake
        place = (mistake.name, (mistake.node, *mistake.also))
        if place not in found and given.is_given_by(candidate.gradient):
            found[place] = mistake
        if doubtful and given.looks_like(candidate.gradient):
            key = tuple(candidate.gradient.flatten().tolist())
            rivals[key] = min(mistake.rank, rivals.get(key, mistake.rank))
    likeliest = _likeliest(list(found.values()))
    if doubtful and likeliest:
        likelier = [rank for rank in rivals.values() if rank < likeliest[0].rank]
        if len(likelier) >= believed:
            return []
    return likeliest


def _likeliest(mistakes: list[Mistake]) -> list[Mistake]:
    """Leave out what is far less likely, and a general rule where a special one says the same."""
    mistakes = sorted(mistakes, key=lambda mistake: mistake.rank)
    kept: list[Mistake] = []
    for mistake in mistakes:
        far = bool(kept) and mistake.rank > kept[0].rank + 1
        if not far and not any(_alike(mistake, other) for other in kept):
            kept.append(mistake)
    return kept[:_SAID]


def _alike(mistake: Mistake, other: Mistake) -> bool:
    """Whether two say the same: at one step, or the same at a step and the one that feeds it."""
    if {mistake.name, other.name} in _SYNONYMS:
        return True
    if mistake.node is None or other.node is None:
        return mistake.node is other.node
    fed = {node for node, _ in (*mistake.node.next_functions, *other.node.next_functions)}
    near = mistake.node in fed or other.node in fed
    return mistake.node is other.node or (near and mistake.name == other.name)


def explained(mistakes: Sequence[Mistake], given: Given, names: Names) -> tuple[str, ...]:
    """Say the mistakes in words. A number, or a few round ones, fit something by chance."""
    if not mistakes:
        return ()
    first, *others = mistakes
    text = _said(first, names)
    if given.is_telling:
        sentences = [f"Your numbers are what comes out when {text}."]
    else:
        whose = "Your number is" if given.numbers.numel() == 1 else "Your numbers are"
        sentences = [f"{whose} consistent with this: {text}."]
    for other in others:
        begin = "Or when" if given.is_telling else "Or with this:"
        sentences.append(f"{begin} {_said(other, names)}.")
        sentences.append("These numbers cannot tell the two apart.")
    steps = set(places(mistakes))
    if steps:
        which = {1: "that step", 2: "both steps"}.get(len(steps), "these steps")
        sentences.append(f"Look at {which} again.")
    return tuple(sentences)


def steps_to_check(
    search: Search, names: Names, mistakes: Sequence[Mistake] = ()
) -> tuple[str, ...]:
    """Name the step to look at again or, where no mistake was found, all on the way."""
    if mistakes:
        return tuple(f"Look again at {_step(node, names)}." for node in places(mistakes))
    steps = list(dict.fromkeys(_step(node, names) for node in search.steps))
    if len(steps) > _LISTED:
        return _on_the_way(search, names)
    if not steps:
        return ()
    several = "Go through the steps once more, from the result back: "
    return (f"{several if len(steps) > 1 else 'Look again at '}{', '.join(steps)}.",)


def _on_the_way(search: Search, names: Names) -> tuple[str, ...]:
    """Name the tensors on a long way back, at which the gradient can be looked at by itself."""
    inside = set(search.steps)
    below = [place for node in search.steps for place in node.next_functions]
    known = (names.of(place) for place in below if place[0] in inside)
    named = [f"`{name}`" for name in dict.fromkeys(known) if name != UNKNOWN]
    if not 0 < len(named) <= _LISTED:
        return ()
    listed = ", ".join(named)
    return (f"It is a long way back. Find the gradients on it one by one: those of {listed}.",)


def places(mistakes: Iterable[Mistake]) -> list[Node]:
    """The steps where the mistakes were made."""
    each = [m for mistake in mistakes for m in (mistake, mistake.other) if m is not None]
    nodes = (node for m in each for node in (m.node, *m.also))
    return list(dict.fromkeys(node for node in nodes if node is not None))


def _said(mistake: Mistake, names: Names) -> str:
    """A mistake in words, with its step; two that came together with theirs."""
    place = "" if mistake.node is None else f", at {_steps((mistake.node, *mistake.also), names)}"
    if mistake.other is None:
        return f"{mistake.says}{place}"
    if mistake.other.node is mistake.node:
        return f"{mistake.says}, and {mistake.other.says}{place}"
    return f"{mistake.says}{place}, and {_said(mistake.other, names)}"


def _steps(nodes: Sequence[Node], names: Names) -> str:
    *others, last = dict.fromkeys(_step(node, names) for node in nodes)
    return f"{', at '.join(others)} and at {last}" if others else last


def _step(node: Node, names: Names) -> str:
    text = written_step(node, names)
    if text.startswith(UNKNOWN):
        return f"the {operation(node)}"
    return f"the step `{text}`"


def _reproduces(search: Search, right: Tensor) -> bool:
    if search.cuts:
        return True  # there is no other pass to compare with
    truth = search.question.gradients[search.name]
    return bool(agrees(right.cpu().to(truth.dtype), truth).all())
