"""What one answer does to the judge must not be there for the next one."""

from __future__ import annotations

import json
import select
from types import SimpleNamespace
from typing import cast

import pytest
import torch
from classroom import NAME, SOURCE

from checks.classroom import judge, marking
from checks.classroom.cell import Role
from checks.classroom.lesson import parse
from checks.classroom.marking import JudgeError, _shown
from checks.classroom.plain import encode
from checks.classroom.running import Settings
from checks.classroom.servers import ServerError
from checks.classroom.warm import Warm


def test_a_gradient_that_was_given_back_does_not_stay() -> None:
    # The mistake: where the second of two gradients has no fitting shape, the first one stays.
    u, v = torch.tensor(1.3, requires_grad=True), torch.tensor(0.7, requires_grad=True)
    (check,) = (c for c in parse(SOURCE, NAME).cells if c.role is Role.CHECK and c.label == "1.4")
    answer = {"u": torch.tensor(0.5), "v": torch.tensor([1.0, 2.0])}
    import checks

    names = {"checks": checks, "u": u, "v": v, "z": u * u * v}
    text = json.dumps({"value": encode(answer), "grads": ["u", "v"]})
    judged = judge._Check(check, names).judge(text, lambda *_: None)
    assert judged["credit"] == 0 and judged["note"]
    assert u.grad is None and v.grad is None


def test_what_cannot_be_judged_gets_no_points() -> None:
    # The mistake: an error of the marker's counts for the learner, or ends the run.
    (check,) = (c for c in parse(SOURCE, NAME).cells if c.role is Role.CHECK and c.label == "1.4")
    text = json.dumps({"value": encode(2), "grads": []})
    judged = judge._Check(check, {}).judge(text, lambda *_: None)
    assert (judged["outcome"], judged["credit"]) == ("invalid", 0.0)
    assert "could not be judged (NameError)" in judged["text"]
    assert "could not be read" in judge._Check(check, {}).judge("{", lambda *_: None)["note"]


def test_what_a_function_did_to_its_arguments_is_done_here() -> None:
    # The mistakes: a function that changes its argument in place passes; or what it sends back is
    # put in place of another tensor.
    own, number = torch.tensor([1.0, 2.0]), 3
    came = [encode(part) for part in (7, torch.tensor([5.0, 6.0]), 4)]
    assert judge._result({"result": json.dumps(came)}, (own, number)) == 7
    assert own.tolist() == [5, 6]
    for odd in (torch.ones(3), torch.ones(2, dtype=torch.int64), 4):
        judge._result({"result": json.dumps([encode(7), encode(odd)])}, (own,))
        assert own.tolist() == [5, 6]
    with pytest.raises(RuntimeError, match="ValueError: no"):
        judge._result({"raised": "ValueError: no"}, (own,))


def test_a_verdict_that_is_very_long_is_not_kept() -> None:
    # The mistake: twenty megabytes in the result of a student, and in the page for the teacher.
    shown = _shown("x" * 10**7, "<b>" * 10**7)
    assert len(shown["text"]) < 10**5 and shown["html"] == ""
    assert _shown("right", "<b>right</b>") == {"text": "right", "html": "<b>right</b>"}


def test_a_judge_that_does_not_begin_is_not_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    # The mistake: a lesson that cannot be judged leaves a process for each submission.
    made: list[Gone] = []

    class Gone:
        stopped = 0

        def __init__(self, *_: object) -> None:
            made.append(self)

        def hear(self, seconds: float) -> None:
            raise ServerError("gone")

        def stop(self) -> None:
            self.stopped += 1

    monkeypatch.setattr(marking, "judge", Gone)
    settings = cast(Settings, SimpleNamespace(follow_through=0.5))
    bench = marking.Bench(parse(SOURCE, NAME), settings, lambda: cast(Warm, None))
    with pytest.raises(JudgeError, match=f"{NAME}.md does not run by itself"):
        bench._ready()
    assert [one.stopped for one in made] == [1] * len(made) and len(made) > 1


def test_a_moment_ends_when_nobody_asks_any_more() -> None:
    # The mistake: a judge that has ended leaves a process behind for each exercise.
    (check,) = (c for c in parse(SOURCE, NAME).cells if c.role is Role.CHECK and c.label == "1.3")
    ask, reply = judge._moment(check, {})
    answered = select.poll()
    answered.register(reply, select.POLLIN)
    ask.close()
    assert answered.poll(20_000)
    assert reply.readline() == b""
    reply.close()
