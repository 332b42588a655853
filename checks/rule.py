"""The check of a function: `rule` compares a backward rule written by hand with autograd."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from torch import Tensor

from checks import answers, inputs
from checks.caged import Cage
from checks.deliver import delivered, invalid, state, unanswered
from checks.examine import Examiner, Stop
from checks.findings import failed, right, stopped
from checks.inputs import UPSTREAM, Kind, Numbers, Recipe
from checks.reasons import foreign
from checks.smallest import any_failing, smaller
from checks.states import StateError
from checks.trial import Asked
from checks.verdict import Outcome, Verdict
from checks.wording import a, is_tensor, listed, what_came


@delivered
def rule(
    exercise: str,
    function: object,
    *,
    of: Callable[..., Tensor],
    shapes: Mapping[str, tuple[str | int, ...] | Kind],
    gives: str | Sequence[str] | None = None,
    call: Callable[..., object] | None = None,
    allow_autograd: bool = False,
) -> Verdict:
    """Compare a backward rule written by hand with autograd, on about a hundred inputs.

    The learner's function is called as `function(upstream, *inputs)`: first the upstream gradient,
    of the shape of what `of` returns (a 0-d tensor where that is a single number), then the inputs
    in the order of `shapes`. It returns the gradient of each input in `gives`: for one a tensor,
    for several a tuple or list in that order, or a dict by name. Arrays, numbers and nested lists
    do as well.

        def linear(X, W, b):
            return X @ W + b

        def linear_backward(upstream, X, W, b):          # the learner's
            return upstream @ W.T, X.T @ upstream, upstream.sum(0)

        checks.rule(
            "6.2",
            linear_backward,
            of=linear,
            shapes={"X": ("N", "D"), "W": ("D", "K"), "b": ("K",)},
        )

    A function of one number has the shape `()`: `checks.rule("7.1", d_tanh, of=torch.tanh,
    shapes={"x": ()})` calls `d_tanh(upstream, x)`.

    What is tried: each letter of `shapes` goes from 1 to 5, for itself, and some inputs are larger.
    Numbers are float64, of both signs and never 0, mostly from 0.07 to 3; at times those of one
    tensor go up to 93, or down to 0.0001. The upstream gradient is as random as the inputs; at
    times it is in the thousands, or has zeros. The function is held to 1e-9, relative to each
    entry. Kinks (a ReLU at 0, a maximum at a tie) are left out: either convention is right there.
    Inputs on which the forward function raises an error, or on which its result or a true gradient
    is not finite, are left out, too.

    The function is called twice on each input, first with copies of it, then with transposed views
    of copies. It may take five seconds for that.

    Args:
        exercise: the label of the exercise, such as "6.2".
        function: the learner's function; unanswered while it is, or returns, `...` or None.
        of: the forward function. It is called with the inputs in the order of `shapes`, as
            positional arguments, and returns one tensor.
        shapes: for each input a tuple of sizes, letters or whole numbers; or
            `checks.numbers("N", above=0)` for numbers between bounds; or
            `checks.classes("N", below="K")` for class indices, which have no gradient.
        gives: the name or names of the inputs whose gradients are asked for; all that can have one,
            if left out.
        call: how the answer is called, where it is no such function. It gets the answer, the
            upstream gradient and the inputs: `call=lambda local, upstream, x: upstream * local(x)`
            checks a local gradient, and a class of the learner's can be put to use in the same way.
        allow_autograd: whether the function may ask autograd for gradients.

    Returns:
        A Verdict: correct, wrong, unanswered or invalid, with the smallest input on which the
        function fails.

    Raises:
        CheckFailed: in strict mode only, where the verdict is not correct.
    """
    parts = function.values() if isinstance(function, dict) else [function]
    if any(answers.is_blank(part) for part in parts):
        return unanswered(exercise)
    try:
        asked = _asked(of, shapes, gives)
    except StateError as error:
        return state(exercise, str(error))
    if call is None:
        problem = _not_callable(function, [UPSTREAM, *asked.kinds])
        if problem:
            return invalid(exercise, problem)
    target: Any = function if call is None else partial(call, function)
    with Cage() as cage:
        examiner = Examiner(asked, target, cage, allow_autograd, call)
        try:
            recipe = _smallest_failing(examiner)
            if recipe is None:
                return right(exercise, examiner)
            return failed(exercise, examiner, recipe, foreign(function))
        except Stop as stop:
            return stopped(exercise, stop)


def _asked(of: object, shapes: object, gives: object) -> Asked:
    """Read what the check was given.

    Raises:
        StateError: it cannot be used.
    """
    kinds = inputs.described(shapes)
    if is_tensor(of) or not callable(of):
        raise StateError(f"`of` must be the forward function, but it is {a(of)}.")
    able = [name for name, kind in kinds.items() if isinstance(kind, Numbers)]
    names = able if gives is None else [gives] if isinstance(gives, str) else list(gives)  # type: ignore[call-overload]
    if not names or not set(names) <= set(able) or len(set(names)) < len(names):
        raise StateError(f"`gives` must be names out of {listed(able)}.")
    return Asked(of, kinds, tuple(names))


def _not_callable(function: object, names: Sequence[str]) -> str:
    """Why something cannot be called with the upstream gradient and the inputs; '' if it can."""
    if is_tensor(function) or not callable(function):
        return f"{what_came(function)} came. Expected: a function (its name, without brackets)."
    try:
        signature = inspect.signature(function)
    except Exception:
        return ""  # not every callable tells
    try:
        signature.bind(*names)
    except TypeError:
        takes = listed(list(signature.parameters)) or "none"
        return (
            f"Your function is called with {len(names)} arguments: {listed(names)}, in this order. "
            f"The arguments that it takes are {takes}."
        )
    return ""


def _smallest_failing(examiner: Examiner) -> Recipe | None:
    """The smallest input that was found to fail; None where all are right.

    Raises:
        Stop: something is wrong everywhere.
    """
    kinds = examiner.asked.kinds
    plain, *special = inputs.telling(kinds)
    # With a branch forgotten, a function returns nothing for one sign, or for one sample.
    places = (inputs.simplest(kinds), inputs.simplest(kinds, negative=True), plain)
    faults = [fault for fault in map(examiner.fault, places) if fault]
    blank = [fault for fault in faults if fault.outcome is Outcome.UNANSWERED]
    if blank and len(blank) == len(faults) and not examiner.answered:
        raise Stop(blank[0])
    found = any_failing(examiner.fails, kinds)
    if found is None:
        found = next((recipe for recipe in (plain, *special) if examiner.fails(recipe)), None)
    found = found and smaller(examiner.fails, kinds, found)
    examiner.ask_again()
    return found
