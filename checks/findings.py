"""From what was found of a function to a verdict."""

from __future__ import annotations

from dataclasses import replace

from checks import inputs
from checks.deliver import state
from checks.examine import Examiner, Fault, Stop
from checks.inputs import Recipe
from checks.reasons import reasons
from checks.returned import in_another_order
from checks.settings import current
from checks.smallest import any_failing
from checks.trial import numerals
from checks.verdict import Outcome, Verdict
from checks.wording import listed

_FEWEST = 10  # inputs; with fewer, nothing is shown to be right
_MOST_SHOWN = 12  # numbers of what came back
_SURELY = 12  # inputs on which every gradient is looked at, however long it takes
_NOTHING = "It returned nothing there: on some way through it, a `return` or a value is missing."


def right(exercise: str, examiner: Examiner) -> Verdict:
    """The verdict where no input was found to fail."""
    count = examiner.tried
    if count < _FEWEST:
        why = examiner.problem or "At the others, the forward result or its gradient is not finite."
        return state(exercise, f"Only {count} inputs could be tried. {why}")
    if current().feedback != "full":
        return Verdict(exercise, Outcome.CORRECT)
    # Rounded, so that the sentence does not depend on the version of Hypothesis.
    many = f"more than {(count - 1) // 50 * 50}"
    sizes = "sizes from 1 to 7, " if inputs.letters(examiner.asked.kinds) else ""
    sentence = (
        f"Right on {many} inputs: {sizes}small and large numbers, another upstream gradient each "
        "time. It agrees with PyTorch in nine digits."
    )
    return Verdict(exercise, Outcome.CORRECT, (sentence, *_printed(examiner)))


def stopped(exercise: str, stop: Stop) -> Verdict:
    """The verdict where something is wrong that does not depend on the input."""
    fault = stop.fault
    silent = current().feedback == "verdict" and fault.outcome is Outcome.WRONG
    return Verdict(exercise, fault.outcome, () if silent else fault.says, about=stop.about)


def failed(exercise: str, examiner: Examiner, recipe: Recipe, foreign: str) -> Verdict:
    """The verdict where a function fails on an input, the smallest that was found."""
    fault, made = examiner.fault(recipe), examiner.made(recipe)
    assert fault and made
    if fault.outcome is Outcome.UNANSWERED:  # elsewhere it returns something
        fault = Fault(Outcome.INVALID, (_NOTHING,))
    told: tuple[str, ...] = (f"It fails already with {made.shown()}.", *fault.says)
    aside = tuple(filter(None, [foreign, *_printed(examiner)]))
    if current().feedback == "verdict":
        told, aside = fault.says, ()
    if not fault.wrong:
        return Verdict(exercise, fault.outcome, (*told, *aside))
    whys = {name: _why(examiner, name, recipe) for name in _names(examiner, fault)}
    mistakes = tuple(mistake for why in whys.values() for mistake in why.mistakes)
    telling = examiner.fault(inputs.telling(examiner.asked.kinds)[0])
    by_shape = telling is not None and telling.outcome is Outcome.INVALID
    if told and (by_shape or not mistakes) and _only_order(examiner, recipe):
        order = f"Your gradients are the right ones, in another order than {listed([*made.true])}."
        return Verdict(exercise, fault.outcome, (*told, order))
    first, *later = whys
    if fault.outcome is Outcome.WRONG and len(made.true) > 1:
        whys |= {name: replace(whys[name], picture=None) for name in later}  # one will do
        entries = {n: whys.get(n, Verdict(n, Outcome.CORRECT)) for n in made.true}
        return Verdict(exercise, fault.outcome, (*told, *aside), entries=entries, mistakes=mistakes)
    sentences = (*told, *whys[first].sentences, *aside)
    return replace(whys[first], exercise=exercise, outcome=fault.outcome, sentences=sentences)


def _names(examiner: Examiner, fault: Fault) -> list[str]:
    """The names of the gradients that are off somewhere."""
    names = set(fault.wrong)
    if fault.outcome is Outcome.WRONG:
        kinds, every = examiner.asked.kinds, set(examiner.asked.gives)

        # Which of them are right must not depend on how slow the function is.
        for place in inputs.telling(kinds)[:_SURELY]:
            found = examiner.fault(place, hurry=False)
            names |= set(found.wrong if found else ())

        examiner.search_anew()

        def another(recipe: Recipe) -> bool:
            found = examiner.fault(recipe)
            return bool(found and (not found.wrong or set(found.wrong) - names))

        while names < every and (recipe := any_failing(another, kinds)):
            found = examiner.fault(recipe)
            names |= set(found.wrong if found and found.wrong else every)
    return [name for name in examiner.asked.gives if name in names]


def _why(examiner: Examiner, name: str, recipe: Recipe) -> Verdict:
    """What came back for one gradient, and why it is wrong."""
    found = examiner.fault(recipe)
    came: tuple[str, ...] = ()
    if found and found.outcome is Outcome.WRONG and name in found.wrong:
        given = found.given[name]
        if given.numel() <= _MOST_SHOWN and current().feedback != "verdict":
            came = (f"There `{numerals(given)}` came back.",)
    for place in (inputs.telling(examiner.asked.kinds)[0], recipe):
        fault, made = examiner.fault(place), examiner.made(place)
        if fault and made and name in fault.wrong and name in fault.given:
            where = made.shown_sizes() or made.shown()
            is_shown = place == recipe
            why = reasons(made, name, fault.given[name], "" if is_shown else f"With {where}")
            return replace(why, sentences=(*came, *why.sentences))
    return Verdict(name, Outcome.WRONG, came)


def _only_order(examiner: Examiner, recipe: Recipe) -> bool:
    """Whether the right gradients came, in another order."""
    if len(examiner.asked.gives) == 1:
        return False
    for place in (inputs.telling(examiner.asked.kinds)[0], recipe):
        made = examiner.made(place)
        if made and not in_another_order(examiner.returned(made), made):
            return False
    return True


def _printed(examiner: Examiner) -> tuple[str, ...]:
    """What the function printed, which is not shown otherwise."""
    text = " ".join(examiner.cage.printed.replace("`", "'").split())
    if not text:
        return ()
    return (f"It prints at each call, which is not shown here: `{text[:60]}`.",)
