"""A wrong gradient is told why, and hardly one by chance: `python tests/census.py` prints it."""

import pytest
import torch
import torch.nn.functional as F
from census import asked, chances, every_mistake
from exercises import exercises
from graphs import GRAPHS, Graph, numbers

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


# -- what is said ----------------------------------------------------------------------------------


def test_a_mistake_made_at_every_step_is_told_of_every_step():
    # Mistake caught: it is said of one step alone. Who mends that one is wrong again.
    X, *Ws = (numbers(4, 4, seed=seed, dtype=torch.float64) for seed in range(4))
    Ws = [W.requires_grad_() for W in Ws]
    h1 = torch.tanh(X @ Ws[0])
    h2 = torch.tanh(h1 @ Ws[1])
    y = torch.tanh(h2 @ Ws[2])
    with torch.no_grad():
        each = (1 - y**2) @ Ws[2] * (1 - h2**2) @ Ws[1] * (1 - h1**2)
        last = (1 - y**2) @ Ws[2] * (1 - h2**2) @ Ws[1].T * (1 - h1**2)
    names = {"X": X, "W1": Ws[0], "W2": Ws[1], "W3": Ws[2], "h1": h1, "h2": h2}
    graph = Graph(y.sum(), {"W1": Ws[0]}, names)
    said = str(graph.check(X.T @ each, "W1"))
    assert "at the step `h2 @ W3` and at the step `h1 @ W2`" in said
    assert said.count("← look here") == 2
    assert "at the step `h2 @ W3`.\n" in str(graph.check(X.T @ last, "W1"))


def soft_targets(x):
    return F.cross_entropy(x, torch.full((3, 4), 0.25))


ODD = {  # steps with other inputs than their kind mostly has
    "soft targets": soft_targets,
    "label smoothing": lambda x: F.cross_entropy(x, torch.tensor([0, 3, 1]), label_smoothing=0.1),
    "attention": lambda x: F.scaled_dot_product_attention(x, x, x).square().sum(),
    "a variable exponent": lambda x: (x * 2**x).sum(),
    "trapezoids": lambda x: torch.trapezoid(x**2).sum(),
    "cosines": lambda x: F.cosine_embedding_loss(x, x.detach().flip(0), torch.ones(3)),
}


@pytest.mark.parametrize("of", ODD.values(), ids=ODD)
def test_a_step_of_an_odd_form_does_not_silence_all(of):
    # Mistake caught: what looks for softmax by hand trips over such a step, and nothing is said.
    x = numbers(3, 4).requires_grad_()
    loss = of(x)
    (right,) = torch.autograd.grad(loss, x, retain_graph=True)
    assert checks.gradient("1", -right, of=loss, wrt=x).mistakes


@pytest.mark.parametrize("answer", [[0.087, -0.047, 0.14], [0.09, -0.05, 0.14]])
def test_a_right_answer_with_too_few_digits_is_told_so(answer):
    # Mistake caught: who has rounded too much is sent through all steps once more.
    x = torch.tensor([1.3, -0.7, 2.1], requires_grad=True)
    verdict = checks.gradient("1", answer, of=(x**2 / 30).sum(), wrt=x)
    assert verdict.outcome == "wrong"
    assert "rounded too much" in str(verdict)


@pytest.mark.parametrize("answer", [0.7, 0.66, 0.64, 1])
def test_a_guess_is_not_taken_for_rounding(answer):
    # Mistake caught: one digit that fits by chance is called right "as far as its digits go".
    x = torch.tensor(9.798, requires_grad=True)
    assert "rounded" not in str(checks.gradient("1", answer, of=x**2 / 30, wrt=x))


def test_what_was_never_accumulated_is_not_blamed_on_that():
    # Mistake caught: four times the gradient of a pool is told to come from an old `.grad`.
    x = numbers(1, 4, 4).requires_grad_()
    loss = (F.max_pool2d(x, 2) ** 2).sum()
    (right,) = torch.autograd.grad(loss, x, retain_graph=True)
    assert "accumulated" not in checks.gradient("1", 4 * right, of=loss, wrt=x).mistakes
