"""A wrong gradient is told why, and hardly one by chance: `python tests/census.py` prints it."""

import pytest
import torch
from census import asked, chances, every_mistake
from exercises import exercises
from graphs import GRAPHS

import checks


@pytest.fixture(scope="module")
def counts():
    return {(one.label, one.name): every_mistake(one) for one in asked()}


def test_every_lesson_is_in_it(counts):
    # Mistake caught: a table of nothing.
    lessons = {label.split(".")[0] for label, _ in counts}
    assert lessons >= {"1", "2", "3", "4", "5", "6", "7"}


def test_every_wrong_answer_is_rejected(counts):
    assert {one for one, count in counts.items() if count.rejected != count.wrong} == set()


def test_almost_every_wrong_answer_is_told_why(counts):
    # Mistake caught: an explanation that names another mistake, or none. Two small whole numbers
    # tell too little: there only the likely mistakes are named.
    wrong = sum(count.wrong for count in counts.values())
    named = sum(count.named for count in counts.values())
    assert named >= 0.98 * wrong
    # Where the numbers tell enough, every single one is named.
    assert {one: count.missed for one, count in counts.items() if count.missed} == {}


def test_the_numbers_of_an_exercise_tell_mistakes_apart(counts):
    # Mistake caught: an exercise whose numbers hide the commonest mistakes, as w = x = 1 does.
    likely = {"power-factor", "mean-count", "difference-turned", "product-swapped", "mse-factor"}
    of_lessons = {one: count for one, count in counts.items() if one[0][0].isdigit()}
    hidden = {one: c.hidden & likely for one, c in of_lessons.items() if c.hidden & likely}
    # What the variance hands back to the mean cancels, whatever is done to it on the way.
    assert {one: mistakes for one, mistakes in hidden.items() if one[1] != "mean"} == {}


def test_hardly_any_answer_is_explained_by_chance():
    # Mistake caught: a mistake is made up for numbers that come from nowhere.
    totals, _ = chances(40)
    tensors = [totals["tensor", look] for look in ("floats", "integers", "one decimal")]
    explained, wrong = (sum(column) for column in zip(*tensors, strict=True))
    assert wrong > 10_000
    assert explained < 0.01 * wrong
    assert all(few < 0.01 * many for few, many in tensors)
    assert totals["scalar", "floats"][0] < 0.01 * totals["scalar", "floats"][1]


def forms(answer):
    """The same gradient in other types, nested otherwise, and rounded to three digits."""
    answer = torch.as_tensor(answer).detach()
    rounded = [float(f"{number:.3g}") for number in answer.double().flatten()]
    yield from (answer.double(), answer.to(torch.float16), answer.numpy(), answer.tolist())
    yield torch.tensor(rounded, dtype=torch.float64).reshape(answer.shape).tolist()


def test_the_solution_of_every_exercise_is_right():
    # Mistake caught: a right answer is refused, in whatever form it comes.
    for exercise in exercises():
        answer = exercise.answer
        each = zip(*map(forms, answer.values()), strict=True) if isinstance(answer, dict) else ()
        same = [dict(zip(answer, one, strict=True)) for one in each] or [*forms(answer)]
        for form in (answer, *same):
            assert exercise.check(form), (exercise.label, form)


def test_a_right_gradient_is_right_in_every_form():
    # Mistake caught: the same, on graphs that no lesson has.
    for label, build in GRAPHS.items():
        graph = build()
        for name in graph.wrt:
            for form in forms(graph.true(name)):
                assert graph.check(form, name), (label, name, form)


def test_no_number_alone_is_told_more_than_what_it_is_consistent_with():
    # Mistake caught: a scalar fits something by chance more often, and must not be told for sure.
    w = torch.tensor(3.0, requires_grad=True)
    S = w * 4 - 17
    loss = S**2
    text = str(checks.gradient("5.4", -20, of=loss, wrt=w))
    assert "consistent with this: the derivative of the square is not applied fully" in text
    assert "what comes out" not in text


def test_where_nothing_fits_the_way_is_told_and_nothing_is_guessed():
    # Mistake caught: a guess; or a wrong answer that is told nothing at all.
    graph = GRAPHS["network_with_tanh"]()
    source = torch.Generator().manual_seed(1)
    for name, told in (
        ("W1", "Find the gradients on it one by one: those of `logits`, `H`, `Z`."),
        ("W2", "from the result back: the step `loss = nll_loss(log_softmax(logits))`, the step"),
    ):
        verdict = graph.check(torch.randn(graph.wrt[name].shape, generator=source), name)
        assert told in str(verdict)
        assert not verdict.mistakes
        assert verdict.picture is None


def test_what_cannot_be_told_apart_is_said():
    # Mistake caught: the first of two explanations is given out as the only one. Here either of the
    # two squares may be the one of which the 2 is missing.
    x = torch.tensor([0.5, -0.75, 0.25], requires_grad=True)
    loss = (torch.exp(x**2) ** 2).sum()
    right = torch.autograd.grad(loss, x, retain_graph=True)[0]
    text = " ".join(str(checks.gradient("1.1", right / 2, of=loss, wrt=x)).split())
    either = "the derivative of the square is not applied fully, at the step"
    assert f"{either} `x ** 2`. Or when {either} `(exp(x ** 2)) ** 2`." in text
    assert "These numbers cannot tell the two apart. Look at both steps again." in text
