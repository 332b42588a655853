"""What one answer does to the judge must not be there for the next one."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import threading
from dataclasses import asdict
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from classroom import NAME, POINTS, SOURCE

from checks.classroom import judge, marking, servers
from checks.classroom.cell import Role
from checks.classroom.lesson import parse
from checks.classroom.marking import JudgeError, _shown
from checks.classroom.plain import decode, encode
from checks.classroom.running import Run, Settings
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


def said(answer: object) -> str:
    """An answer, as it comes from the cage."""
    return json.dumps({"value": encode(answer), "grads": []})


def test_a_judge_judges_one_answer_after_another() -> None:
    # The mistakes: an answer is judged at another exercise's moment, or not at all; a function is
    # asked, and what it gives back is not heard.
    cells = [asdict(cell) for cell in parse(SOURCE, NAME).cells]
    command = [sys.executable, "-c", "from checks.classroom import judge; judge.main()"]
    env = {**os.environ, **servers.environment(), "CHECKS_STRICT": "1"}
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env)
    assert process.stdin is not None and process.stdout is not None
    late = threading.Timer(60, process.kill)  # then nothing more is read
    late.start()

    def ask(message: dict[str, Any]) -> dict[str, Any]:
        process.stdin.write(json.dumps(message).encode() + b"\n")
        process.stdin.flush()
        return dict(json.loads(process.stdout.readline()))

    assert ask({"cells": cells}) == {"ready": ["1.1", "1.2", "1.3", "1.4"]}
    for answer, outcome in ((2, "correct"), (3, "wrong"), (2, "correct")):
        judged = ask({"label": "1.3", "answer": said(answer)})
        assert (judged["outcome"], judged["credit"]) == (outcome, float(outcome == "correct"))
    judged = ask({"label": "1.4", "answer": said({"u": 2 * 1.3 * 0.7, "v": 1.0})})
    assert judged["entries"] == {"u": "correct", "v": "wrong"} and 0 < judged["credit"] < 1
    told, calls = ask({"label": "1.2", "answer": said(len)}), 0
    while "call" in told:
        upstream, a, b = (decode(argument) for argument in told["args"])
        parts = ((upstream * b, upstream * a), upstream, a, b)
        told, calls = ask({"result": json.dumps([*map(encode, parts)])}), calls + 1
    assert (told["outcome"], calls > 1) == ("correct", True)
    process.stdin.close()
    assert process.wait() == 0 and process.stdout.read() == b""
    late.cancel()


class Told:
    """Stands for a judge: says what it is told to, and keeps what it hears."""

    def __init__(self, *replies: dict[str, Any]) -> None:
        self.replies, self.heard, self.stopped = [{"ready": []}, *replies], [], 0

    def say(self, message: dict[str, Any]) -> None:
        self.heard.append(message)

    def hear(self, seconds: float) -> dict[str, Any]:
        if not self.replies:
            raise ServerError("gone")
        return self.replies.pop(0)

    def stop(self) -> None:
        self.stopped += 1


class Cage:
    """Stands for a run: its functions give back what they were asked, or end the process."""

    ends = False

    def answer(self, label: str) -> str:
        return f"answer to {label}"

    def call(self, request: dict[str, Any]) -> dict[str, Any]:
        return {"ended": 0, "why": "it ended"} if self.ends else {"result": request["args"]}


def judged_by(monkeypatch: pytest.MonkeyPatch, judges: list[Told], cage: Cage) -> Any:
    waiting = iter(judges)
    monkeypatch.setattr(marking, "judge", lambda *_: next(waiting))
    settings = cast(Settings, SimpleNamespace(follow_through=0.5))
    bench = marking.Bench(parse(SOURCE, NAME), settings, lambda: cast(Warm, None))
    result = bench.judge("1.2", cast(Run, cage))
    bench.stop()
    bench.stop()
    assert [judge.stopped for judge in judges] == [1] * len(judges)
    return result


CALL = {"call": "1.2", "args": [1]}
DONE = {"outcome": "correct"}


def test_a_judge_has_a_function_called(monkeypatch: pytest.MonkeyPatch) -> None:
    # The mistakes: the answer is not sent; what the function gave back reaches nobody; a function
    # that has ended its process is called again; a judge that is done with is left behind.
    judge = Told(CALL, CALL, DONE)
    assert judged_by(monkeypatch, [judge], Cage()) == (DONE, "")
    asked = {"label": "1.2", "answer": "answer to 1.2"}
    assert judge.heard == [asked, {"result": [1]}, {"result": [1]}]
    judge, cage = Told(CALL, CALL, DONE), Cage()
    cage.ends = True
    assert judged_by(monkeypatch, [judge], cage) == (DONE, "it ended")
    assert judge.heard[1:] == [{"ended": 0, "why": "it ended"}, {"ended": "it ended"}]


def test_a_judge_that_is_lost_is_replaced_once(monkeypatch: pytest.MonkeyPatch) -> None:
    # The mistakes: a right answer gets no points because a process was ended; points for an answer
    # that nobody has judged.
    assert judged_by(monkeypatch, [Told(), Told(DONE)], Cage()) == (DONE, "")
    told, ended = judged_by(monkeypatch, [Told(CALL), Told()], Cage())
    assert (told, ended) == (marking.closed("It could not be judged: gone."), "")
    assert (told["outcome"], told["credit"]) == ("invalid", 0.0)


def test_what_cannot_be_marked_gets_no_points_and_a_reason() -> None:
    refused = marking.refused(parse(SOURCE, NAME), "It is empty.")
    assert refused["notes"] == ["It is empty."]
    assert [(e["label"], e["points"], e["score"]) for e in refused["exercises"]] == [
        (label, points, 0) for label, points in POINTS.items()
    ]
    assert {(e["outcome"], e["text"]) for e in refused["exercises"]} == {
        ("invalid", "It is empty.")
    }
