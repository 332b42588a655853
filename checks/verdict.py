"""The result of a check, and how it is shown. Knows nothing of PyTorch."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal


class Outcome(StrEnum):
    """What a check found. The four are never mixed up."""

    CORRECT = "correct"
    WRONG = "wrong"
    UNANSWERED = "unanswered"
    INVALID = "invalid"


# A symbol and a word stand beside each colour: nobody has to see the colour.
_SYMBOL = {
    Outcome.CORRECT: "✓",
    Outcome.WRONG: "✗",
    Outcome.UNANSWERED: "○",
    Outcome.INVALID: "!",
}
_UNBROKEN = 40  # characters of code that are not broken into two lines
_COLOUR = {
    Outcome.CORRECT: "var(--jp-success-color1, #2e7d32)",
    Outcome.WRONG: "var(--jp-error-color1, #c62828)",
    Outcome.UNANSWERED: "var(--jp-border-color1, #757575)",
    Outcome.INVALID: "var(--jp-warn-color1, #e65100)",
}


@dataclass(frozen=True)
class Picture:
    """A drawing that goes with a verdict: always text, and SVG where it can be laid out.

    It is laid out when it is shown, not when the check runs.
    """

    text: str
    draw: Callable[[], str | None]


@dataclass(frozen=True)
class Verdict:
    """What a check says of an answer. True in a condition exactly when the answer is correct.

    `sentences` are plain English, with names and code between backticks. `about` tells whether
    they speak of the learner's answer or of the state of the notebook around it. `entries` holds
    one verdict per name where several gradients were asked for at once. `mistakes` are the names
    of the mal-rules that explain the answer: a teacher's report counts them. `follows` marks a
    gradient that is wrong, but right given the learner's earlier step, and `worth` is the share of
    its points that it still earns.
    """

    exercise: str
    outcome: Outcome
    sentences: tuple[str, ...] = ()
    about: Literal["answer", "notebook"] = "answer"
    entries: Mapping[str, Verdict] = field(default_factory=dict, hash=False)
    mistakes: tuple[str, ...] = ()
    picture: Picture | None = None
    follows: bool = False
    worth: float = 0.0

    def __bool__(self) -> bool:
        return self.outcome is Outcome.CORRECT

    @property
    def credit(self) -> float:
        """The share of the points that is earned, 0 to 1; the mean over several entries."""
        if self.entries:
            return sum(entry.credit for entry in self.entries.values()) / len(self.entries)
        return 1.0 if self else self.worth

    def __str__(self) -> str:
        return "\n".join(self._lines())

    __repr__ = __str__

    @property
    def headline(self) -> str:
        """The symbol, the exercise and the outcome, on one line."""
        whose = " (the notebook, not your answer)" if self.about == "notebook" else ""
        if self.follows:
            return f"→ {self.exercise}: right given your earlier step"
        return f"{_SYMBOL[self.outcome]} {self.exercise}: {self.outcome}{whose}"

    def _lines(self) -> list[str]:
        lines = [self.headline, *(f"  {sentence}" for sentence in self.sentences)]
        for entry in self.entries.values():
            lines += [f"  {line}" for line in entry._lines()]
        if self.picture:
            lines += ["", *self.picture.text.splitlines()]
        return lines

    def _html(self) -> str:
        items = "".join(f"<div>{inline(sentence)}</div>" for sentence in self.sentences)
        entries = "".join(entry._html() for entry in self.entries.values())
        picture = ""
        if self.picture:
            svg = self._drawn() or f"<pre>{html.escape(self.picture.text)}</pre>"
            picture = f'<div style="margin-top: 6px">{svg}</div>'
        return (
            f'<div role="group" aria-label="{html.escape(self.headline)}" style="'
            f"border-left: 4px solid {_COLOUR[self.outcome]}; padding: 4px 12px; margin: 4px 0; "
            f'color: var(--jp-content-font-color1, inherit); line-height: 1.5">'
            f"<strong>{html.escape(self.headline)}</strong>{items}{entries}{picture}</div>"
        )

    def _drawn(self) -> str | None:
        try:
            return self.picture.draw() if self.picture else None
        except Exception:  # no picture is worth the verdict
            return None

    def _repr_mimebundle_(
        self, include: object = None, exclude: object = None
    ) -> tuple[dict[str, str], dict[str, Any]]:
        summary: dict[str, Any] = {"exercise": self.exercise, "outcome": str(self.outcome)}
        if self.entries:
            summary["entries"] = {name: str(e.outcome) for name, e in self.entries.items()}
        if self.credit not in (0.0, 1.0):
            summary["credit"] = self.credit
        if self.mistakes:
            summary["mistakes"] = list(self.mistakes)
        return {"text/plain": str(self), "text/html": self._html()}, {"checks": summary}


def overall(entries: Mapping[str, Verdict]) -> Outcome:
    """The outcome of several entries together: correct only when all are (and there are any)."""
    if not entries:
        return Outcome.INVALID
    outcomes = {entry.outcome for entry in entries.values()}
    if outcomes == {Outcome.UNANSWERED}:
        return Outcome.UNANSWERED
    for outcome in (Outcome.INVALID, Outcome.WRONG, Outcome.UNANSWERED):
        if outcome in outcomes:
            return outcome
    return Outcome.CORRECT


class CheckFailed(AssertionError):
    """Raised in strict mode by a check that is not correct; `verdict` says why."""

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(str(verdict))
        self.verdict = verdict


def inline(sentence: str) -> str:
    """HTML of a sentence: what stands between backticks is code, which is not broken if short."""

    def code(found: re.Match[str]) -> str:
        style = ' style="white-space: nowrap"' if len(found[1]) <= _UNBROKEN else ""
        return f"<code{style}>{found[1]}</code>"

    return re.sub(r"`([^`]*)`", code, html.escape(sentence, quote=False))
