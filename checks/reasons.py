"""Why a function is wrong: how its numbers differ, and the mistake that gives them.

Explained on one input with unequal sizes and numbers of several digits, where mistakes differ from
each other. On the smallest input that fails, all of them may look alike.
"""

from __future__ import annotations

import dis
import math
from collections.abc import Iterator, Mapping
from types import CodeType, FunctionType

from torch import Tensor

from checks import truth
from checks.comparison import agrees, difference
from checks.diagnosis import explain, explained, steps_to_check
from checks.graph import names_for
from checks.illustration import wrong_step
from checks.matching import Given
from checks.nesting import is_numpy
from checks.search import Search
from checks.settings import current
from checks.trial import Trial
from checks.truth import Question
from checks.verdict import Outcome, Verdict
from checks.wording import is_tensor, listed

_NEVER = "accumulated"  # a function is called for one backward pass, and has no earlier ones


def reasons(made: Trial, name: str, given: Tensor, where: str = "") -> Verdict:
    """Say why the numbers that came back for one gradient are wrong.

    Args:
        made: the input.
        name: the input tensor whose gradient was asked for.
        given: the numbers, of the right shape or another.
        where: which input that is, to begin a sentence.
    """
    same_shape = given.shape == made.true[name].shape
    digits = _digits(given, made.true[name]) if same_shape else 0
    if digits:
        sentence = (
            f"It agrees with PyTorch in about {digits} digits and no more. Something is rounded on "
            "the way: single precision, a constant, a finite difference."
        )
        return Verdict(name, Outcome.WRONG, (sentence,) if current().feedback != "verdict" else ())
    try:
        return _diagnosed(made, name, given, where)
    except Exception:  # no explanation is worth the verdict
        return Verdict(name, Outcome.WRONG)


def _digits(given: Tensor, true: Tensor) -> int:
    """In how many digits an answer is right; 0 for one that is wrong from the start."""
    if not bool(true.any()) or not bool(agrees(given, true).all()):
        return 0
    share = float((given - true).abs().max() / true.abs().max())
    return max(int(-math.log10(max(share, 1e-15))), 1)


def _diagnosed(made: Trial, name: str, given: Tensor, where: str) -> Verdict:
    question = _question(made)
    tensors = (*question.wrt.values(), *made.inputs.values())
    names = names_for(question.nodes, [*question.wrt.items(), *made.inputs.items()])
    search, numbers = Search(question, name, tensors), Given(given)
    mistakes = [mistake for mistake in explain(search, numbers) if mistake.name != _NEVER]
    feedback = current().feedback
    full = feedback == "full"
    told = _differs(made, given, made.true[name], not mistakes and full)
    if full:
        told += explained(mistakes, numbers, names)
    if told and where:
        told = (f"{where}: {told[0]}", *told[1:])
    if not full or not mistakes:
        told += steps_to_check(search, names, mistakes[:1])
    if feedback == "verdict":
        told = ()
    marked = [mistake.node for mistake in mistakes if mistake.node is not None]
    secrets = list(question.gradients.values())
    picture = wrong_step(question, names, tensors, marked, secrets) if full and marked else None
    return Verdict(
        name,
        Outcome.WRONG,
        told,
        mistakes=tuple(mistake.name for mistake in mistakes[:1]),
        picture=picture,
    )


def _question(made: Trial) -> Question:
    asked, order = made.asked, list(made.inputs)

    def forward(*wrt: Tensor) -> object:
        own = {**made.inputs, **dict(zip(asked.gives, wrt, strict=True))}
        return asked.of(*(own[name] for name in order))

    return truth.ask(forward, {name: made.inputs[name] for name in asked.gives}, made.upstream)


def _differs(made: Trial, given: Tensor, true: Tensor, pattern: bool) -> tuple[str, ...]:
    if given.shape != true.shape:
        return ()
    sizes = {n for t in made.inputs.values() for n in (*t.shape, t.numel())}
    return difference(given, true, sizes=sizes, pattern=pattern)


def foreign(function: object) -> str:
    """Name the notebook's numbers that a function reads although they are not its arguments."""
    if not isinstance(function, FunctionType):
        return ""
    known = function.__globals__
    names = [name for name in dict.fromkeys(_reads(function.__code__)) if _is_number(known, name)]
    if not names:
        return ""
    return (
        f"Besides its arguments it reads {listed(names)} from the notebook. Is that meant? It must "
        "be right for any input, not only for the notebook's."
    )


def _reads(code: CodeType) -> Iterator[str]:
    """The global names that a function reads, those of functions inside it, too."""
    for instruction in dis.get_instructions(code):
        if instruction.opname == "LOAD_GLOBAL":
            yield instruction.argval
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield from _reads(inner)


def _is_number(known: Mapping[str, object], name: str) -> bool:
    value = known.get(name)
    return is_tensor(value) or is_numpy(value) or type(value) in (int, float)
