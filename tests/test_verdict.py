"""A verdict shows itself, says the same in HTML and in text, and is strict where that is asked."""

import json
import re
import warnings

import pytest
import torch
from snapshot import nothing_disturbed

import checks
from checks import deliver
from checks.verdict import CheckFailed, Outcome, Picture, Verdict, overall


@pytest.fixture(autouse=True)
def lenient(monkeypatch):
    monkeypatch.delenv("CHECKS_STRICT", raising=False)
    monkeypatch.delenv("NBGRADER_EXECUTION", raising=False)


def shown(verdict):
    """The three forms: text, HTML, and the summary for a build."""
    data, metadata = verdict._repr_mimebundle_()
    return data["text/plain"], data["text/html"], metadata["checks"]


@pytest.mark.parametrize("outcome", list(Outcome))
def test_true_exactly_when_correct(outcome):
    # Mistake caught: an untouched or broken answer counts as solved.
    assert bool(Verdict("5.1", outcome)) is (outcome is Outcome.CORRECT)


def test_every_outcome_has_a_sign_and_a_word():
    # Mistake caught: outcomes that are told apart by colour alone.
    headlines = {Verdict("5.1", outcome).headline for outcome in Outcome}
    assert headlines == {"✓ 5.1: correct", "✗ 5.1: wrong", "○ 5.1: unanswered", "! 5.1: invalid"}


def test_html_says_what_the_text_says():
    # Mistake caught: something is told to those who see HTML only, or to nobody.
    inner = {"S": Verdict("S", Outcome.WRONG, ("Look at `loss = S ** 2`.",))}
    picture = Picture("a < b", lambda: None)
    verdict = Verdict("5.6", Outcome.WRONG, ("Begin with `S`.",), entries=inner, picture=picture)
    text, html, _ = shown(verdict)
    plain = re.sub(r"<[^>]*>", " ", html).replace("&lt;", "<").replace("&quot;", '"')
    for words in ("5.6: wrong", "Begin with", "S: wrong", "loss = S ** 2", "a < b"):
        assert words in text
        assert words in plain


def test_a_picture_is_drawn():
    # Mistake caught: only its text is ever shown.
    verdict = Verdict("5.1", Outcome.WRONG, picture=Picture("a step", lambda: "<svg>a step</svg>"))
    assert "<svg>a step</svg>" in shown(verdict)[1]
    assert "<pre>" not in shown(verdict)[1]


def test_what_follows_from_an_earlier_step_says_so_and_earns_its_share():
    # Mistake caught: it reads "wrong", or has no headline; a right answer earns nothing.
    follows = Verdict("w", Outcome.WRONG, follows=True, worth=0.5)
    assert follows.headline == "→ w: right given your earlier step"
    assert (follows.credit, Verdict("S", Outcome.CORRECT).credit) == (0.5, 1.0)
    assert Verdict("S", Outcome.WRONG).credit == 0.0
    entries = {"S": Verdict("S", Outcome.CORRECT), "w": follows}
    assert Verdict("5.6", Outcome.WRONG, entries=entries).credit == 0.75


def test_a_picture_that_cannot_be_drawn():
    # Mistake caught: the drawing library fails while a verdict is shown, and nothing is shown.
    verdict = Verdict("5.1", Outcome.WRONG, picture=Picture("loss = S ** 2", lambda: str(1 / 0)))
    assert "<pre>loss = S ** 2</pre>" in shown(verdict)[1]


def test_what_is_shown_cannot_break_the_page():
    # Mistake caught: a name or label with < or quotes in it becomes markup.
    verdict = Verdict('<img src=x onerror="1">', Outcome.INVALID, ("A `<script>` came & went.",))
    _, html, _ = shown(verdict)
    assert "<script>" not in html and "<img" not in html
    assert ">&lt;script&gt;</code> came &amp; went." in html


def test_the_summary_is_json_and_tells_every_outcome():
    # Mistake caught: a build cannot read from a stored output what a check said.
    entries = {"S": Verdict("S", Outcome.CORRECT), "w": Verdict("w", Outcome.WRONG)}
    *_, summary = shown(Verdict("5.6", Outcome.WRONG, entries=entries))
    assert json.loads(json.dumps(summary)) == summary
    assert summary["exercise"] == "5.6" and summary["outcome"] == "wrong"
    assert summary["entries"] == {"S": "correct", "w": "wrong"}


def outcomes(*names):
    return {str(k): Verdict(str(k), Outcome(name)) for k, name in enumerate(names)}


@pytest.mark.parametrize(
    "entries, expected",
    [
        (["correct", "correct"], "correct"),
        (["correct", "wrong"], "wrong"),
        (["correct", "unanswered"], "unanswered"),
        (["unanswered", "unanswered"], "unanswered"),
        (["wrong", "invalid", "unanswered"], "invalid"),
        (["wrong", "unanswered"], "wrong"),
        ([], "invalid"),
    ],
)
def test_the_whole_is_correct_only_when_all_are(entries, expected):
    # Mistake caught: an empty dict of answers, or one with a blank, counts as solved.
    assert overall(outcomes(*entries)) == expected


def test_a_verdict_can_be_compared_and_put_in_a_set():
    # Mistake caught: the dict of entries makes a verdict unhashable.
    first, second = (Verdict("5.1", Outcome.WRONG, entries=outcomes("wrong")) for _ in range(2))
    assert first == second and len({first, second}) == 1


def asked(answer, label="5.1"):
    w = torch.tensor(1.5, requires_grad=True)
    return checks.gradient(label, answer, of=w**3, wrt=w)


@pytest.mark.parametrize("variable", ["CHECKS_STRICT", "NBGRADER_EXECUTION"])
def test_strict_mode_raises_what_would_be_shown(variable, monkeypatch):
    # Mistake caught: a wrong answer passes in CI or under nbgrader, or its text is lost.
    monkeypatch.setenv(variable, "1")
    assert asked(6.75)
    for answer, outcome in ((1.0, "wrong"), (..., "unanswered"), ("x", "invalid")):
        with pytest.raises(CheckFailed) as caught:
            asked(answer)
        assert caught.value.verdict.outcome == outcome
        assert str(caught.value) == str(caught.value.verdict)
        assert isinstance(caught.value, AssertionError)


@pytest.mark.parametrize("value", ["", "0"])
def test_strict_mode_is_off_otherwise(value, monkeypatch):
    # Mistake caught: CHECKS_STRICT=0 switches it on.
    monkeypatch.setenv("CHECKS_STRICT", value)
    assert not asked(1.0)


class BadLabel:
    def __str__(self):
        raise RuntimeError("no")


@pytest.mark.parametrize(
    "label, shown_as",
    [(5.1, "5.1"), (..., "Ellipsis"), ("5.1\n<b>", "5.1<b>"), ("x" * 200, "x" * 80)],
)
def test_any_label_becomes_a_line_of_text(label, shown_as):
    # Mistake caught: a label that is no text breaks the verdict, or spreads over the page.
    assert asked(6.75, label).exercise == shown_as


def test_a_label_that_cannot_be_written():
    # Mistake caught: `str` of the label raises, and the learner sees a traceback.
    assert asked(6.75, BadLabel()).exercise == "(BadLabel)"


@pytest.mark.parametrize(
    "call",
    [
        lambda: checks.gradient("5.1", 6.75),
        lambda: checks.gradient(),
        lambda: checks.gradient("5.1", 6.75, on=1, wrt=2),
        lambda: checks.vjp("5.1", 6.75, of=1, wrt=2),
        lambda: checks.jacobian("5.1"),
        lambda: checks.value("5.1", 1),
        lambda: checks.error("5.1"),
    ],
)
def test_a_check_called_in_the_wrong_way_says_so(call):
    # Mistake caught: a slip in a check cell is a traceback into the harness.
    verdict = call()
    assert verdict.outcome == "invalid" and verdict.about == "notebook"
    assert "was called in the wrong way" in verdict.sentences[0]


def broken(error):
    @deliver.delivered
    def check(exercise):
        raise error

    return check


@pytest.mark.parametrize(
    "error", [ValueError("secret"), RecursionError(), MemoryError(), SystemExit(1), GeneratorExit()]
)
def test_whatever_goes_wrong_inside_is_a_verdict(error):
    # Mistake caught: an error of our own is shown as a traceback, with true values in its text.
    verdict = broken(error)("5.1")
    assert verdict.outcome == "invalid" and verdict.about == "notebook"
    assert type(error).__name__ in str(verdict) and "secret" not in str(verdict)
    assert re.search(r"`, deliver\.py line \d+\)", str(verdict))  # where to look, for the author


def test_an_interrupt_goes_through():
    # Mistake caught: the stop button of the notebook does not stop a check.
    with pytest.raises(KeyboardInterrupt):
        broken(KeyboardInterrupt())("5.1")


def test_a_label_that_exits_when_it_is_written():
    # Mistake caught: the kernel ends.
    class Exits:
        def __str__(self):
            raise SystemExit(3)

    assert "(Exits)" in str(checks.value(Exits(), 1, 1))


def test_a_label_that_stirs_the_process():
    # Mistake caught: writing a label is outside of what puts everything back.
    class Stirs:
        def __str__(self):
            warnings.simplefilter("once")
            torch.manual_seed(3)
            return "4.1"

    with nothing_disturbed():
        assert checks.value(Stirs(), 1, 1).exercise == "4.1"
