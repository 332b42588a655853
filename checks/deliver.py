"""Hand a verdict over: shown in the notebook, or raised where a run must be strict."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec

from checks.verdict import CheckFailed, Outcome, Verdict

P = ParamSpec("P")


def delivered(check: Callable[P, Verdict]) -> Callable[P, Verdict]:
    """Make a check strict where the environment asks for it.

    With `CHECKS_STRICT=1`, or while nbgrader runs a notebook (`NBGRADER_EXECUTION`), a check that
    is not correct raises `CheckFailed` with the same text.
    """

    @wraps(check)
    def run(*args: P.args, **kwargs: P.kwargs) -> Verdict:
        verdict = check(*args, **kwargs)
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
