"""Call a learner's function on one input, and say what is wrong with what it does."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from torch import Tensor

from checks import trial
from checks.caged import SECONDS, Cage, Called, TimeUpError, without_graphs
from checks.inputs import UPSTREAM, Recipe
from checks.returned import BlankError, UnusableResultError, read
from checks.smallest import TRIED
from checks.states import StateError, quoted
from checks.trial import Asked, Trial
from checks.verdict import Outcome
from checks.wording import listed

_BUDGET = 30.0  # seconds for all inputs together
_MOST_SMALLER = 600  # inputs that one search for a smaller one may take
_SHRINKING = 45.0  # seconds for that; only a function that is really slow needs them
_SAME = 1e-12  # relative to the largest entry; the same sum may be rounded in another way

_BY_HAND = "Your function asks autograd for the gradient. Here it is to be found by hand."
_CHANGEABLE = (
    "Called twice with the same input, your function does not give the same. Does it use random "
    "numbers, or a variable of the notebook that changes from call to call?"
)
_NOTHING = (
    "Your function returned `None`: is its `return` missing? If a `...` is still there, put your "
    "answer in its place. Run that cell, then this one."
)
_VIEWS = (
    "Your function is right for plain tensors, but not when its argument is a transposed view, as "
    "`X.T` is: the same numbers, in another order in memory. `.reshape(…)` can take that, "
    "`.view(…)` cannot."
)
_SECOND_TIME = "Your function was called twice with the same input. The first time all went well."


@dataclass(frozen=True)
class Fault:
    """What is wrong with a function on one input.

    `wrong` are the names of the gradients that are off, `given` the numbers that came.
    """

    outcome: Outcome
    says: tuple[str, ...] = ()
    wrong: tuple[str, ...] = ()
    given: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class _Came:
    """What a function returned, read: the gradients, or why they cannot be had."""

    read: dict[str, Tensor] | BlankError | UnusableResultError
    is_none: bool


def _and_read(function: Callable[..., object], made: Trial) -> Callable[..., _Came]:
    """The function, with its result read at once: reading may take as long as it likes, too."""

    def called(*arguments: object) -> _Came:
        returned = function(*arguments)
        with torch.inference_mode(False), torch.no_grad(), torch._C.DisableTorchFunction():
            try:
                return _Came(read(returned, made), is_none=False)
            except (BlankError, UnusableResultError) as error:
                return _Came(error, is_none=returned is None)

    return called


class Stop(BaseException):
    """Nothing else needs to be tried. Not an Exception: Hypothesis is not to look into it."""

    def __init__(self, fault: Fault, about: Literal["answer", "notebook"] = "answer") -> None:
        super().__init__()
        self.fault, self.about = fault, about


@dataclass
class Examiner:
    """Calls the function on one input after another, and keeps what came out.

    Attributes:
        asked: what the function is to do.
        function: what to call, with the upstream gradient and the inputs.
        cage: where to call it.
        allow_autograd: whether it may use autograd.
        helper: what calls the learner's function, where the check does not do so itself.
        tried: on how many inputs the function was called.
        answered: whether it ever returned something without a blank in it.
    """

    asked: Asked
    function: Callable[..., object]
    cage: Cage
    allow_autograd: bool = False
    helper: object = None
    tried: int = 0
    answered: bool = False
    problem: str = ""
    _found: dict[Recipe, Fault | None] = field(default_factory=dict)
    _first: tuple[Trial, Fault] | None = None
    _started: float = field(default_factory=time.monotonic)
    _failed: float = math.inf
    _is_by_hand: bool = False
    _left: int = field(default_factory=lambda: _MOST_SMALLER)

    def fault(self, recipe: Recipe, *, hurry: bool = True) -> Fault | None:
        """What is wrong on an input; None where nothing is, or where it cannot be used.

        In a hurry, None comes also where enough was tried to find a smaller input.

        Raises:
            Stop: something is wrong that is wrong everywhere, or the forward function is.
        """
        if recipe in self._found:
            return self._found[recipe]
        if hurry and self._is_enough():
            return None
        made = self.made(recipe)
        found = None if made is None else self._examined(made)
        self._found[recipe] = found
        self._left -= hurry and self._failed < math.inf
        if found:
            self._failed = min(self._failed, time.monotonic())
        return found

    def search_anew(self) -> None:
        """Grant the next search as many inputs as the last, however many that one took."""
        self._left = _MOST_SMALLER

    def ask_again(self) -> None:
        """Call the function once more on the first input.

        Raises:
            Stop: something else comes out than at first.
        """
        if self._first is not None:
            made, first = self._first
            _require_same(first, self._called(made))

    def fails(self, recipe: Recipe) -> bool:
        """Whether something is wrong on an input. Raises `Stop`, as `fault` does."""
        return self.fault(recipe) is not None

    def made(self, recipe: Recipe) -> Trial | None:
        """The input, and the true gradients there; None where it cannot be used.

        Raises:
            Stop: the forward function cannot be used at all.
        """
        try:
            return trial.make(self.asked, recipe)
        except trial.ForwardError as error:
            self.problem = self.problem or str(error)
            return None
        except StateError as error:
            raise Stop(Fault(Outcome.INVALID, (str(error),)), about="notebook") from error

    def returned(self, made: Trial) -> object:
        """What the function returns, as it is."""
        return self.cage.call(self.function, [made.arguments()])[0].result

    def _is_enough(self) -> bool:
        """Whether no smaller input is looked for any more.

        Inputs are counted: by the clock, what is said would depend on how busy the machine is.
        """
        now = time.monotonic()
        if self._failed < math.inf or now < self._started + _BUDGET:
            return self._left <= 0 or now > self._failed + _SHRINKING
        sentence = (
            f"Your function is too slow: in {_BUDGET:.0f} seconds it was done with {self.tried} "
            f"small inputs only, and {TRIED} are to be tried."
        )
        raise Stop(Fault(Outcome.INVALID, (sentence,)))

    def _examined(self, made: Trial) -> Fault | None:
        self.tried += 1
        found = self._called(made)
        self._first = self._first or (made, found)
        if found.outcome is not Outcome.CORRECT:
            return found
        wrong = made.wrong(found.given)
        if not (wrong or self._is_by_hand or self.allow_autograd):
            self._require_by_hand(made, found)
        return replace(found, outcome=Outcome.WRONG, wrong=tuple(wrong)) if wrong else None

    def _require_by_hand(self, made: Trial, found: Fault) -> None:
        """See that the function comes to the same where there is no graph to ask.

        It may be one that changes from call to call: then this tells nothing.
        """
        self._is_by_hand = True
        for function in (without_graphs(self.function), self.function) * 2:
            (again,) = self._calls(made, function, [made.arguments()])
            if function is self.function:
                _require_same(found, again)
            elif _is_same(found, again):
                return
        raise Stop(Fault(Outcome.INVALID, (_BY_HAND,)))

    def _called(self, made: Trial) -> Fault:
        """Call the function, twice; correct means that its numbers can be compared.

        The second time its arguments are transposed views.
        """
        plain, views = self._twice(made)
        if _is_same(plain, views):
            return plain
        if plain.outcome is not Outcome.CORRECT:
            _require_same(plain, views)
        # In another order, or it might be one that changes with every second call.
        views_again, plain_again = self._twice(made, views_first=True)
        _require_same(plain, plain_again)
        _require_same(views, views_again)
        if made.wrong(plain.given):
            return plain
        if views.outcome is Outcome.CORRECT and not made.wrong(views.given):
            return plain  # the same, but for rounding
        outcome = Outcome.WRONG if views.outcome is Outcome.CORRECT else views.outcome
        raise Stop(Fault(outcome, (_VIEWS, *views.says)))

    def _twice(self, made: Trial, *, views_first: bool = False) -> list[Fault]:
        both = [made.arguments(as_views=views) for views in (views_first, not views_first)]
        return self._calls(made, self.function, both)

    def _calls(
        self,
        made: Trial,
        function: Callable[..., object],
        arguments: Sequence[Sequence[Tensor]],
    ) -> list[Fault]:
        try:
            calls = self.cage.call(_and_read(function, made), arguments)
        except TimeUpError as error:
            sentence = (
                f"Your function did not return within {SECONDS:.0f} seconds, called with "
                f"{made.shown()}. Is there a loop that never ends?"
            )
            raise Stop(Fault(Outcome.INVALID, (sentence,))) from error
        if self.cage.used_autograd and not self.allow_autograd:
            raise Stop(Fault(Outcome.INVALID, (_BY_HAND,)))
        return [self._read(*pair, made) for pair in zip(calls, arguments, strict=True)]

    def _read(self, called: Called, arguments: Sequence[Tensor], made: Trial) -> Fault:
        if called.error is not None:
            return self._raised(called.error, called.line)
        _require_unchanged(made, arguments)
        assert isinstance(called.result, _Came)
        given = called.result.read
        if isinstance(given, BlankError):
            if called.result.is_none:
                return Fault(Outcome.UNANSWERED, (_NOTHING,))
            return _blank(given.names)
        if isinstance(given, UnusableResultError):
            self.answered = True
            came = {} if given.numbers is None else {given.name: given.numbers}
            return Fault(Outcome.INVALID, (str(given),), tuple(came), came)
        self.answered = True
        return Fault(Outcome.CORRECT, given=given)

    def _raised(self, error: BaseException, line: str) -> Fault:
        sentence = f"Your function raised {quoted(error)}"
        of_a_blank = issubclass(type(error), (TypeError, AttributeError))
        if of_a_blank and "ellipsis" in sentence.lower():  # it computes with a blank
            return _blank(())
        if self._is_of_the_helper(error):  # it fails on what the function gave it
            if of_a_blank and "NoneType" in sentence:
                return Fault(Outcome.UNANSWERED, (_NOTHING,))
            return Fault(
                Outcome.INVALID,
                (f"What your function returned could not be used: {quoted(error)}",),
            )
        where = f" It was raised {line}." if line else ""
        return Fault(Outcome.INVALID, (sentence + where,))

    def _is_of_the_helper(self, error: BaseException) -> bool:
        """Whether an error was raised by the check's own helper, and not inside the function."""
        trace = error.__traceback__
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        own = getattr(self.helper, "__code__", None)
        return trace is not None and own is not None and trace.tb_frame.f_code is own


def _blank(names: Sequence[str]) -> Fault:
    open_ = f"Still blank: {listed(names)}. " if names else ""
    sentence = f"{open_}Put your answer in place of the `...`, run that cell, then this one."
    return Fault(Outcome.UNANSWERED, (sentence,))


def _require_unchanged(made: Trial, arguments: Sequence[Tensor]) -> None:
    before = {UPSTREAM: made.upstream, **made.inputs}
    changed = [
        name
        for (name, tensor), now in zip(before.items(), arguments, strict=True)
        if now.shape != tensor.shape or not torch.equal(now.detach(), tensor)
    ]
    if changed:
        sentence = (
            f"Your function changes its argument {listed(changed)} in place, and whoever calls it "
            "goes on with the changed numbers. Work on a copy (`.clone()`), or make a new tensor."
        )
        raise Stop(Fault(Outcome.WRONG, (sentence,)))


def _is_same(first: Fault, second: Fault) -> bool:
    return first.outcome is second.outcome and all(
        bool(((g - second.given[name]).abs() <= _SAME * g.abs().max()).all())
        for name, g in first.given.items()
        if g.numel() and name in second.given and g.shape == second.given[name].shape
    )


def _require_same(first: Fault, second: Fault) -> None:
    if _is_same(first, second):
        return
    if first.outcome is Outcome.CORRECT and second.outcome is Outcome.INVALID:
        raise Stop(Fault(Outcome.INVALID, (_SECOND_TIME, *second.says)))
    raise Stop(Fault(Outcome.WRONG, (_CHANGEABLE,)))
