"""Hand a verdict over: shown in the notebook, or raised where a run must be strict."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from pathlib import Path
from typing import ParamSpec

from checks.marks import record
from checks.settings import SettingsError, current
from checks.undisturbed import undisturbed
from checks.verdict import CheckFailed, Outcome, Verdict
from checks.wording import type_name

P = ParamSpec("P")

_LONGEST_LABEL = 80


def delivered(check: Callable[P, Verdict]) -> Callable[P, Verdict]:
    """Make a check safe, and strict where the environment asks for it.

    Whatever goes wrong inside becomes a verdict; only an interrupt goes through. The notebook is
    left as it was. With `CHECKS_STRICT=1`, or while nbgrader runs a notebook
    (`NBGRADER_EXECUTION`), a check that is not correct raises `CheckFailed` with the same text.
    """

    @wraps(check)
    def run(*args: P.args, **kwargs: P.kwargs) -> Verdict:
        try:
            with undisturbed():
                # No frame may come between: the check looks up names in the cell that called it.
                verdict = check(*args, **kwargs)
        except (Exception, SystemExit, GeneratorExit) as error:
            verdict = _stumbled(check, args, kwargs, error)
        verdict = _labelled(_as_set(verdict))
        if verdict:
            record(verdict.exercise)
        if strict() and not verdict:
            raise CheckFailed(verdict)
        return verdict

    return run


def strict() -> bool:
    """Whether a check that is not correct raises."""
    return os.environ.get("CHECKS_STRICT", "0") not in {"", "0"} or bool(
        os.environ.get("NBGRADER_EXECUTION")
    )


def unanswered(exercise: str) -> Verdict:
    """The verdict on a blank."""
    sentence = "Put your answer in place of the `...`, run that cell, then this one."
    return Verdict(exercise, Outcome.UNANSWERED, (sentence,))


def invalid(exercise: str, sentence: str) -> Verdict:
    """The verdict on an answer that cannot be compared."""
    return Verdict(exercise, Outcome.INVALID, (sentence,))


def state(exercise: str, sentence: str) -> Verdict:
    """The verdict where the notebook around the answer is not ready."""
    return Verdict(exercise, Outcome.INVALID, (sentence,), about="notebook")


def _stumbled(
    check: Callable[..., Verdict],
    args: tuple[object, ...],
    kwargs: dict[str, object],
    error: BaseException,
) -> Verdict:
    exercise = args[0] if args else kwargs.get("exercise", "?")
    try:
        inspect.signature(check).bind(*args, **kwargs)
    except TypeError as wrong:
        sentence = f"`checks.{check.__name__}` was called in the wrong way: {wrong}."
        return state(exercise, sentence)  # type: ignore[arg-type]  # `_labelled` mends it
    if isinstance(error, SettingsError):
        return state(exercise, f"The settings of this run are wrong: {error}")  # type: ignore[arg-type]
    sentence = (
        f"Something came that this check cannot handle ({_place(error)}), so nothing is said about "
        "your answer. Run the cells of this exercise again, from the top. If that does not help, "
        "show this message to whoever gave you the course."
    )
    return state(exercise, sentence)  # type: ignore[arg-type]


def _place(error: BaseException) -> str:
    """The kind of an error and where it came from; not its text, which may hold true values."""
    trace, here = error.__traceback__, ""
    while trace is not None:
        path = Path(trace.tb_frame.f_code.co_filename)
        if path.parent == Path(__file__).parent:
            here = f", {path.name} line {trace.tb_lineno}"
        trace = trace.tb_next
    return f"`{type_name(error)}`{here}"


def _as_set(verdict: Verdict) -> Verdict:
    """The same verdict, with no more said than the settings allow.

    In an exam a right or wrong answer is told its outcome alone. What cannot be read is said, since
    it is no matter of right or wrong. Which mistake was made is named with full feedback only, also
    in what the notebook stores.
    """
    try:
        feedback = current().feedback
    except SettingsError:
        feedback = "verdict"
    if feedback == "full":
        return verdict
    entries = {name: _as_set(entry) for name, entry in verdict.entries.items()}
    verdict = replace(verdict, mistakes=(), entries=entries)
    if feedback == "verdict" and verdict.outcome in (Outcome.CORRECT, Outcome.WRONG):
        return replace(verdict, sentences=(), picture=None)
    return verdict


def _labelled(verdict: Verdict) -> Verdict:
    """The same verdict, with an exercise label that surely is a text on one line."""
    label = verdict.exercise
    if type(label) is str and label.isprintable() and len(label) <= _LONGEST_LABEL:
        return verdict
    try:
        with undisturbed():  # what a label does when it is written is the notebook's own code
            text = "".join(c for c in str(label) if c.isprintable())[:_LONGEST_LABEL]
    except (Exception, SystemExit, GeneratorExit):
        text = f"({type_name(label)})"
    return replace(verdict, exercise=text)
