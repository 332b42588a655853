"""Run one submission in a cage, again and again until it comes through.

A cell that ends the process, or never ends, is left out the next time: it costs its exercise, and
no other.
"""

from __future__ import annotations

import ast
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from checks.classroom.cell import Cell, Role, check_call
from checks.classroom.fence import PATIENCE, Isolation, Limits
from checks.classroom.keeper import DIED
from checks.classroom.servers import Server, ServerError

_BLANK = '{"value": {"blank": true}, "grads": []}'
_MOST_TIMES = 20  # the time of one cell, for all that is tried with one submission
_LINGER = 1.0  # seconds, in which a process that has died once may die again
_SLACK = 60.0  # seconds for a keeper to say that time is up
_MOST_NOTES, _LONGEST_NOTE = 20, 300
_FAILED = "the process that watches it has failed"


@dataclass(frozen=True)
class Settings:
    """What holds for a whole run, and is stored with it."""

    limits: Limits
    isolation: Isolation
    follow_through: float = 1.0


@dataclass
class _Heard:
    """What one run has said."""

    answers: dict[str, str] = field(default_factory=dict)
    notes: list[tuple[int, str]] = field(default_factory=list)
    end: tuple[int, str] | None = None


class Run:
    """A submission in its cage. `answers` are plain data as text, by exercise.

    The cage of the last run stays, so that functions can be called, until `close`.
    """

    def __init__(
        self,
        source: Sequence[Cell],
        typed: Mapping[str, str],
        settings: Settings,
        zygote: Server,
    ) -> None:
        self._cells = [cell for cell in source if cell.role is not Role.TEXT]
        self._answer_cells = [k for k, c in enumerate(self._cells) if c.role is Role.ANSWER]
        self._job = {
            "cells": [job_cell(cell, typed) for cell in self._cells],
            "limits": asdict(settings.limits),
            "isolation": asdict(settings.isolation),
        }
        seconds = settings.limits.seconds
        self._patience = PATIENCE * seconds * len(self._cells) + _SLACK
        self._begun, self._budget = time.monotonic(), _MOST_TIMES * seconds
        self._zygote = zygote
        self._open = False
        self._ended: dict[int, str] = {}  # cells that are left out, and why
        self._aside: set[int] = set()
        self._heard = _Heard()
        self._until_it_comes_through()

    def answer(self, label: str) -> str:
        """What the submission answers to an exercise, as plain data in a text."""
        return self._heard.answers.get(label, _BLANK)

    def notes(self, label: str) -> list[str]:
        """What went wrong in the cells of an exercise."""
        ended = [
            f"A cell was left out: {why}."
            for number, why in sorted(self._ended.items())
            if self._cells[number].label == label
        ]
        raised = [told for number, told in self._heard.notes if self._cells[number].label == label]
        return [*ended, *dict.fromkeys(raised)][:_MOST_NOTES]

    def call(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Call a function of the submission's.

        Returns:
            {"result": …} or {"raised": …}; {"ended": …, "why": …} where the process has not
            survived it.

        Raises:
            ServerError: the process that watches it has failed.
        """
        if not self._open:
            return {"ended": 0, "why": _FAILED}
        self._zygote.say({"label": request["call"], "args": request["args"]})
        while True:
            message = self._hear()
            if message.keys() & {"result", "raised", "ended"}:
                return message

    def until(self, label: str) -> bool:
        """Run again without what comes after an exercise; False where nothing does.

        A later cell may leave behind what ends or slows down the function of this one.
        """
        last = max(self._of(label), default=len(self._cells))
        self._aside = {k for k in self._answer_cells if k > last and k not in self._ended}
        if self._spent(0.5):  # there must be time left to go on afterwards
            self._aside = set()
        if self._aside:
            self._once()
        return bool(self._aside)

    def again(self) -> None:
        """Run again, with everything that was left aside."""
        if self._aside:
            self._aside = set()
            self._until_it_comes_through()

    def without(self, label: str, why: str) -> None:
        """Run again, without the cells of an exercise whose function ended the process."""
        for number in self._of(label):
            self._ended.setdefault(number, why)
        if self._spent() and not self._aside:
            return  # what has been answered stays
        self._aside = set()
        self._until_it_comes_through()

    def close(self) -> None:
        """End the cage."""
        if self._open:
            self._open = False
            self._zygote.say({"enough": True})
            while "over" not in (message := self._zygote.hear(self._patience)):
                continue
            if message["failed"]:
                raise ServerError(_FAILED)

    def _hear(self) -> dict[str, Any]:
        message = self._zygote.hear(self._patience)
        if "over" in message:
            self._open = False
            raise ServerError(_FAILED)
        return message

    def _of(self, label: str) -> Iterator[int]:
        return (k for k in self._answer_cells if self._cells[k].label == label)

    def _spent(self, share: float = 1.0) -> bool:
        """Whether so much of the time has passed that all that is tried may take together."""
        return time.monotonic() - self._begun >= share * self._budget

    def _until_it_comes_through(self) -> None:
        suspects: list[int] = []
        linger = 0.0
        while True:
            self._once(linger)
            if self._heard.end is None:
                break
            number, why = self._heard.end
            linger = _LINGER if why == DIED else linger
            guilty = [k for k in self._answer_cells if k <= number and k not in self._ended]
            if not guilty:
                break
            suspects.append(guilty[-1])
            self._ended[guilty[-1]] = why
            if self._spent():
                return  # what has been answered until then stays
        # A cell may leave behind what ends the process later, in the cell of another exercise.
        for suspect in suspects[:-1]:
            if self._spent():
                break
            why = self._ended.pop(suspect)
            self._once()
            if self._heard.end is not None:
                self._ended[suspect] = why
        if self._heard.end is not None:
            self._once()

    def _once(self, linger: float = 0.0) -> None:
        """Run what is not left out. It has come through when it has lived on for a while.

        Else it would depend on the speed of the machine in whose cell it ends what an earlier one
        has left behind to end it later: a timer, a thread.
        """
        self.close()
        self._zygote.say({**self._job, "blanked": sorted({*self._ended, *self._aside})})
        self._open = True
        heard = self._heard = _Heard()
        while True:
            message = self._hear()
            if "done" in message:
                if not linger:
                    return
                time.sleep(linger)
                linger = 0.0
                self._zygote.say({"still": True})
            if "ended" in message:
                heard.end = int(message["ended"]), str(message["why"])
                return
            if "answer" in message:
                heard.answers.setdefault(message["label"], message["answer"])
            if "note" in message and 0 <= message["cell"] < len(self._cells):
                told = message["cell"], message["note"][:_LONGEST_NOTE]
                heard.notes[_MOST_NOTES * len(self._cells) :] = [told]


def job_cell(cell: Cell, typed: Mapping[str, str]) -> dict[str, Any]:
    """A cell as the cage is told of it."""
    plain = {"role": str(cell.role), "code": cell.blank, "label": cell.label}
    if cell.role is Role.ANSWER:
        plain["typed"] = typed[cell.id]
    if cell.role is Role.CHECK:
        call = check_call(cell)
        given = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
        plain |= {
            "asked": ast.unparse(call.args[1]),
            "call": given.get("call", ""),
            "wrt": given.get("wrt", "None"),
        }
    return plain
