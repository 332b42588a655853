"""What a teacher may set: how much a verdict says, and what follow-through is worth."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Literal, get_args

from checks.wording import a

Feedback = Literal["full", "hint", "verdict"]


class SettingsError(ValueError):
    """A setting has a value that does not exist; the text says which there are."""


@dataclass(frozen=True)
class Settings:
    """How checks behave.

    Attributes:
        feedback: "full" (self-study: which entries, which step, which mistake, and why a right
            answer is right), "hint" (which entries and which step) or "verdict" (an exam: the
            outcome alone).
        follow_through: what a gradient is worth that is wrong, but follows from the learner's own
            earlier answers: 0 to 1 of its points.
    """

    feedback: Feedback = "full"
    follow_through: float = 1.0


_LONGEST = 60  # characters of a wrong setting that are shown
_current: Settings | None = None


def current() -> Settings:
    """The settings in force: those of `settings`, else of the environment, else the defaults.

    Raises:
        SettingsError: the environment has a value that does not exist.
    """
    return _current or Settings(
        _feedback(os.environ.get("CHECKS_FEEDBACK", "full")),
        _share(os.environ.get("CHECKS_FOLLOW_THROUGH", "1")),
    )


def settings(*, feedback: Feedback | None = None, follow_through: float | None = None) -> Settings:
    """Set how checks behave from here on; what is left out stays as it is.

    The environment variables `CHECKS_FEEDBACK` and `CHECKS_FOLLOW_THROUGH` set the same for a whole
    run.

    Raises:
        SettingsError: a value that does not exist, with the ones that do.
    """
    global _current
    before = current()
    _current = Settings(
        before.feedback if feedback is None else _feedback(feedback),
        before.follow_through if follow_through is None else _share(follow_through),
    )
    return _current


def _feedback(text: object) -> Feedback:
    for known in get_args(Feedback):
        if isinstance(text, str) and text == known:
            return known  # type: ignore[no-any-return]
    came = _short(text)
    raise SettingsError(f'feedback is {came}, but it must be "full", "hint" or "verdict".')


def _share(value: float | str) -> float:
    try:
        share = float(value)
    except (TypeError, ValueError, OverflowError):
        share = -1.0
    if not 0 <= share <= 1:
        came = _short(value)
        raise SettingsError(f"follow_through is {came}, but it must be a number from 0 to 1.")
    return share


def _short(value: object) -> str:
    """What came, in a few characters; by its type where it cannot be written."""
    try:
        return repr(value)[:_LONGEST]
    except Exception:  # Python writes no number of thousands of digits
        return a(value)
