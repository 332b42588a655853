"""`gradient`, `vjp` and `jacobian` as a learner meets them."""

import random
import sys
import threading
import time
import warnings
from fractions import Fraction

import numpy as np
import pytest
import torch
from junk import BLANKS, JUNK, LyingTensor, Unnameable
from labels import label
from snapshot import nothing_disturbed
from torch.utils._python_dispatch import TorchDispatchMode

import checks
from checks.undisturbed import _one_at_a_time, undisturbed

POINT = torch.tensor([0.5, -1.25, 3.0], dtype=torch.float64)


def graph(dtype=torch.float32):
    """A loss with a broadcast, a path that meets another, and no gradient that is small."""
    w = POINT.clone().to(dtype).requires_grad_()
    y = w * w.sum() + w.exp()
    return (y * torch.tensor([1.0, 2.0, -3.0], dtype=dtype)).sum(), w


def truth(dtype=torch.float64):
    loss, w = graph(torch.float64)
    return torch.autograd.grad(loss, w)[0].to(dtype)


def judged(answer, dtype=torch.float32):
    loss, w = graph(dtype)
    return checks.gradient("5.1", answer, of=loss, wrt=w)


# -- no right answer is refused --------------------------------------------------------------------

DIGITS = [float(f"{value:.3g}") for value in truth().tolist()]

RIGHT = {
    "three digits": DIGITS,
    "three digits, tuple": tuple(DIGITS),
    "numpy": truth().numpy(),
    "numpy float16": truth().numpy().astype("float16"),
    "fractions": [Fraction(value) for value in DIGITS],
    "numbers of numpy": list(np.array(DIGITS, dtype="float32")),
    "tensors": list(torch.tensor(DIGITS)),
    "Parameter": torch.nn.Parameter(truth()),
    "tracked": truth().requires_grad_() * 1,
    "sparse": truth().to_sparse(),
    "subclass": truth().as_subclass(LyingTensor),
    **{str(d): truth(d) for d in (torch.float16, torch.bfloat16, torch.float32, torch.float64)},
    **{
        f"three digits, {d}": torch.tensor(DIGITS).to(d)
        for d in (torch.float16, torch.bfloat16, torch.float32)
    },
}


@pytest.mark.parametrize("name", RIGHT)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_no_right_answer_is_refused(name, dtype):
    # Mistake caught: a right answer is wrong or invalid for the way it is written.
    assert judged(RIGHT[name], dtype)


def test_whole_numbers_are_right_where_they_are_exact():
    # Mistake caught: integers are refused, since gradients are floats.
    w = torch.tensor([1.5, 2.0], requires_grad=True)
    for answer in ([3, 4], torch.tensor([3, 4]), np.array([3, 4]), torch.tensor([3, 4]).byte()):
        assert checks.gradient("5.1", answer, of=(w * w).sum(), wrt=w)
    assert not checks.gradient("5.1", [3, 5], of=(w * w).sum(), wrt=w)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_graph_of_few_digits(dtype):
    # Mistake caught: the rounding of the truth itself is held against an exact answer.
    w = torch.tensor([1.1, 2.3], dtype=dtype, requires_grad=True)
    exact = [3 * float(x) ** 2 for x in w.tolist()]
    assert checks.gradient("5.1", exact, of=(w**3).sum(), wrt=w)
    assert not checks.gradient("5.1", [x * 1.05 for x in exact], of=(w**3).sum(), wrt=w)


def test_complex_gradients():
    # Mistake caught: the conjugate, or the real part alone, is taken for the gradient.
    z = torch.tensor([3 + 4j], requires_grad=True)
    assert checks.gradient("9.1", [6 + 8j], of=(z.abs() ** 2).sum(), wrt=z)
    assert not checks.gradient("9.1", [6 - 8j], of=(z.abs() ** 2).sum(), wrt=z)
    assert not checks.gradient("9.1", [6.0], of=(z.abs() ** 2).sum(), wrt=z)


def test_zero_is_right_where_everything_cancels():
    # Mistake caught: 0 is refused where autograd says 1e-9, or 1e-9 where it says 0.
    w = torch.tensor([0.3, -1.2, 2.0], requires_grad=True)
    total = w.softmax(0).sum()
    for answer in ([0, 0, 0], [1e-9, -1e-9, 0.0]):
        assert checks.gradient("5.1", answer, of=total, wrt=w)
    assert checks.gradient("5.1", [0.1 + 0.2 - 0.3, 0, 0], of=(w * 0).sum(), wrt=w)
    for answer in ([1e-4, 0, 0], [0.3, 0.1, 0.6]):
        assert not checks.gradient("5.1", answer, of=total, wrt=w)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_coarse_answer_is_judged_by_its_digits(dtype):
    # Mistake caught: the rounding of a coarse format covers twice the gradient.
    w = torch.tensor(0.0, requires_grad=True)
    loss = 1 / (w + 10)
    assert checks.gradient("5.1", torch.tensor(-0.01, dtype=dtype), of=loss, wrt=w)
    for answer in (-0.02, -0.0102, 0.0, 0.01):
        assert not checks.gradient("5.1", torch.tensor(answer, dtype=dtype), of=loss, wrt=w)
    almost = w * 1.0 - w * 0.98  # nearly cancels, but not by rounding
    assert checks.gradient("5.1", torch.tensor(0.02, dtype=dtype), of=almost, wrt=w)
    assert not checks.gradient("5.1", torch.tensor(0.0, dtype=dtype), of=almost, wrt=w)


def test_zero_is_wrong_for_a_small_gradient():
    # Mistake caught: an untouched zero passes because the gradient is small.
    w = torch.tensor([0.3, -1.2], requires_grad=True)
    assert not checks.gradient("5.1", [0, 0], of=(w * w * 1e-9).sum(), wrt=w)


# -- no wrong answer is taken ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        lambda t: -t,
        lambda t: 2 * t,
        lambda t: t.flip(0),
        lambda t: t * 0,
        lambda t: t + torch.tensor([0.0, 0.0, 1e-2]) * t,
        lambda t: t * 1.006,
        lambda t: torch.full((3,), float(t.mean())),
    ],
)
def test_wrong_numbers(change):
    # Mistake caught: a wrong gradient passes, or is called unusable.
    assert judged(change(truth())).outcome == "wrong"


@pytest.mark.parametrize(
    "shape", [(1, 3), (3, 1), (1,), (), (3, 3), (2,), (0,), (1, 1, 3)], ids=label
)
def test_shape_comes_before_values(shape):
    # Mistake caught: a shape that broadcasts is compared as if it fitted.
    answer = torch.ones(shape)
    if answer.numel() == 3:
        answer = truth().reshape(shape)
    verdict = judged(answer)
    assert verdict.outcome == "invalid" and verdict.about == "answer"


def test_a_column_is_no_row_even_where_every_number_is_the_same():
    # Mistake caught: a scalar is an exact match for a row of equal numbers.
    w = torch.ones(1, 4, requires_grad=True)
    for answer in (2.0, [2.0] * 4, [[2.0]] * 4):
        assert checks.gradient("5.1", answer, of=(w * w).sum(), wrt=w).outcome == "invalid"
    assert checks.gradient("5.1", [[2.0] * 4], of=(w * w).sum(), wrt=w)


@pytest.mark.filterwarnings("ignore:.*(quantized tensor creation|nested tensors).*:UserWarning")
@pytest.mark.parametrize("name", {**JUNK, **BLANKS})
def test_junk_is_never_right(name):
    # Mistake caught: junk raises, or passes. Each verb is asked, with one answer and with a dict.
    make = {**JUNK, **BLANKS}[name]
    loss, w = graph()
    y = w * 2
    v = torch.tensor([1.0, -2.0, 0.5])
    expected = {"unanswered"} if name in BLANKS else {"invalid", "wrong"}
    made = [make() for _ in range(5)]
    with nothing_disturbed(loss, w, y, v):
        verdicts = [
            checks.gradient("5.1", made[0], of=loss, wrt=w),
            checks.gradient("5.1", {"w": made[1]}, of=loss, wrt={"w": w}),
            checks.gradient("5.1", made[2], of=loss, wrt={"w": w}),
            checks.vjp("5.1", made[3], of=y, wrt=w, v=v),
            checks.jacobian("5.1", made[4], of=y, wrt=w),
        ]
    if name in BLANKS or name == "empty dict":
        verdicts.pop(2)  # where a dict was expected, a list of blanks is no blank
    for verdict in verdicts:
        assert verdict.outcome in expected, verdict
        assert verdict.about == "answer"
        assert all(len(sentence) < 400 for sentence in verdict.sentences)


def test_the_gradient_that_autograd_filled_in_is_pointed_out():
    # Mistake caught: `w.grad` passes for an answer found by hand, as itself or as a view of it.
    loss, w = graph()
    y = w * 3
    y.retain_grad()
    (loss + y.sum()).backward(retain_graph=True)
    for answer in (w.grad, w.grad[:], w.grad.numpy(), list(w.grad)):
        verdict = checks.gradient("5.1", answer, of=loss, wrt=w)
        assert verdict.outcome == "invalid" and "found by hand" in str(verdict)
        assert "by hand" in str(checks.jacobian("5.1", answer, of=loss, wrt=w))
    assert "by hand" in str(checks.gradient("5.1", y.grad, of=y.sum(), wrt=y))
    assert checks.gradient("5.1", truth(), of=loss, wrt=w)


def test_a_stored_gradient_is_pointed_out_where_of_is_a_function():
    # Mistake caught: the function is called with copies, and the copies have no `.grad`.
    w = torch.tensor([1.5, -2.0], requires_grad=True)
    y = w * w
    y.sum().backward()

    def function(x):
        return (x * x).sum()

    verdicts = [
        checks.gradient("5.1", w.grad, of=function, wrt=w),
        checks.gradient("5.1", {"w": w.grad}, of=function, wrt={"w": w}).entries["w"],
        checks.vjp("5.1", w.grad, of=lambda x: x * x, wrt=w, v=torch.ones(2)),
    ]
    x = torch.tensor([1.5], requires_grad=True)
    x.grad = torch.tensor([[3.0]])[0]
    verdicts.append(checks.jacobian("5.1", [x.grad], of=lambda x: x * x, wrt=x))
    for verdict in verdicts:
        assert verdict.outcome == "invalid" and "`.grad`" in str(verdict)
    assert checks.gradient("5.1", w.grad.clone(), of=function, wrt=w)


def test_a_sparse_stored_gradient_is_pointed_out():
    # Mistake caught: what is not a row of numbers in memory shares memory with nothing.
    table = torch.nn.Embedding(3, 2, sparse=True)
    loss = (table(torch.tensor([1, 2])) * 2).sum()
    loss.backward(retain_graph=True)
    weight = table.weight
    twice = torch.nn.Embedding(3, 2, sparse=True)
    (twice(torch.tensor([1, 1])) * 2).sum().backward()
    assert not twice.weight.grad.is_coalesced()
    again = (twice(torch.tensor([1, 1])) * 2).sum()
    assert "`.grad`" in str(checks.gradient("5.1", twice.weight.grad, of=again, wrt=twice.weight))
    for answer in (weight.grad, weight.grad.detach()):
        assert "`.grad`" in str(checks.gradient("5.1", answer, of=loss, wrt=weight))
    assert checks.gradient("5.1", [[0, 0], [2, 2], [2, 2]], of=loss, wrt=weight)


def test_a_gradient_found_by_hand_and_stored_is_no_accusation():
    # Mistake caught: "autograd filled this in" is said of a tensor that the learner put there.
    loss, w = graph()
    w.grad = truth(torch.float32)
    verdict = checks.gradient("5.1", w.grad, of=loss, wrt=w)
    assert verdict.outcome == "invalid" and "in a name of their own" in str(verdict)


def test_a_jacobian_of_complex_numbers_is_refused():
    # Mistake caught: a matrix that is right by one convention is wrong by another.
    z = torch.tensor([1 + 2j, 3 - 1j], requires_grad=True)
    for of in (z * z, z.real * 2, lambda z: z * z):
        verdict = checks.jacobian("2.1", [[1, 0], [0, 1]], of=of, wrt=z)
        assert verdict.about == "notebook" and "complex" in str(verdict)
    x = torch.ones(2, requires_grad=True)
    verdict = checks.jacobian("2.1", [[1, 0], [0, 1]], of=torch.complex(x, x), wrt=x)
    assert verdict.about == "notebook" and "complex" in str(verdict)


# -- several gradients of one pass -----------------------------------------------------------------


def chain():
    w = torch.tensor(1.5, requires_grad=True)
    y_hat = w * 2.5
    S = y_hat - 0.5
    return S**2, {"S": S, "y_hat": y_hat, "w": w}


def several(**answers):
    loss, wrt = chain()
    return checks.gradient("5.6", answers, of=loss, wrt=wrt)


def test_each_entry_has_its_own_outcome():
    # Mistake caught: the whole is right though an entry is wrong, missing or unusable.
    assert several(S=6.5, y_hat=6.5, w=16.25)
    for w, outcome in ((16.0, "wrong"), (..., "unanswered"), ("16.25", "invalid")):
        verdict = several(S=6.5, y_hat=6.5, w=w)
        assert verdict.outcome == outcome
        assert {name: str(e.outcome) for name, e in verdict.entries.items()} == {
            "S": "correct",
            "y_hat": "correct",
            "w": outcome,
        }
    assert several(S=6.5, y_hat=6.5).outcome == "unanswered"
    assert several().outcome == several(S=..., w=None).outcome == "unanswered"


def test_the_order_of_a_dict_does_not_matter():
    # Mistake caught: answers are matched with tensors by position.
    assert several(w=16.25, S=6.5, y_hat=6.5)


class Key:
    """A key that looks like "w" until it is compared with it."""

    def __hash__(self):
        return hash("w")

    def __eq__(self, other):
        raise RuntimeError("do not compare")


@pytest.mark.parametrize(
    "extra",
    [{"v": 1.0}, {1: 1.0}, {("w",): 1.0}, {None: 1.0}, {Key(): 1.0}],
    ids=["text", "number", "tuple", "None", "hostile"],
)
def test_keys_that_were_not_asked_for(extra):
    # Mistake caught: a misspelt key is passed over in silence.
    loss, wrt = chain()
    answer = extra if type(next(iter(extra))) is Key else {"S": 6.5, "y_hat": 6.5, "w": 1} | extra
    verdict = checks.gradient("5.6", answer, of=loss, wrt=wrt)
    assert verdict.outcome == "invalid" and "Nothing was asked about" in str(verdict)


def test_a_dict_where_one_gradient_is_asked_for_and_the_reverse():
    # Mistake caught: the one entry of a dict is taken for the answer.
    loss, wrt = chain()
    assert checks.gradient("5.6", {"w": 16.25}, of=loss, wrt=wrt["w"]).outcome == "invalid"
    verdict = checks.gradient("5.6", 16.25, of=loss, wrt=wrt)
    assert verdict.outcome == "invalid" and "keys `S`, `y_hat`, `w`" in str(verdict)


@pytest.mark.parametrize("wrt", [{}, {1: torch.ones(1, requires_grad=True)}])
def test_a_dict_of_inputs_that_makes_no_sense(wrt):
    # Mistake caught: no question at all, and every answer to it is right.
    loss, _ = chain()
    for answer in ({}, {1: 1.0}, 1.0, ...):
        assert not checks.gradient("5.6", answer, of=loss, wrt=wrt)


# -- vjp and jacobian ------------------------------------------------------------------------------


def test_a_vector_jacobian_product():
    # Mistake caught: Jv for vᵀJ, or v left out.
    x = torch.tensor([1.5, -2.0], requires_grad=True)
    z = torch.stack([x[0] * x[1], x[1] ** 2, x[0] * 3])
    v = torch.tensor([2.0, -1.0, 0.5])
    matrix = torch.tensor([[-2.0, 1.5], [0.0, -4.0], [3.0, 0.0]])
    assert checks.vjp("2.4", v @ matrix, of=z, wrt=x, v=v)
    assert checks.vjp("2.4", matrix.sum(0), of=z, wrt=x, v=v).outcome == "wrong"
    assert checks.jacobian("2.1", matrix, of=z, wrt=x)
    assert checks.jacobian("2.1", matrix.T, of=z, wrt=x).outcome == "invalid"
    assert checks.jacobian("2.1", -matrix, of=z, wrt=x).outcome == "wrong"


def test_a_square_jacobian_transposed():
    # Mistake caught: in the square case a shape check cannot see the transpose.
    x = torch.tensor([1.5, -2.0], requires_grad=True)
    y = torch.stack([x[0] * x[1], x[0] ** 2])
    matrix = torch.tensor([[-2.0, 1.5], [3.0, 0.0]])
    assert checks.jacobian("2.1", matrix, of=y, wrt=x)
    verdict = checks.jacobian("2.1", matrix.T, of=y, wrt=x)
    assert verdict.outcome == "wrong" and "transposed" in str(verdict)


def test_a_jacobian_of_a_size_that_would_never_fit():
    # Mistake caught: 10¹² entries are computed before the shape of the answer is looked at.
    x = torch.ones(10**6, requires_grad=True)
    y = x * 2
    for answer in (torch.eye(3), 2.0, ...):
        assert not checks.jacobian("2.1", answer, of=y, wrt=x)


# -- nothing is disturbed --------------------------------------------------------------------------


def busy():
    """A graph as busy as a learner's notebook: hooks, retained gradients, gradients from before."""
    fired = []
    w = torch.tensor([0.5, -1.25], requires_grad=True)
    frozen = torch.tensor([1.0, 2.0])
    y = w * frozen
    y.retain_grad()
    loss = (y * y).sum()
    loss.retain_grad()
    loss.backward(retain_graph=True)
    for tensor in (w, y, loss):
        tensor.register_hook(lambda gradient: fired.append(gradient) or 7 * gradient)
    loss.grad_fn.register_hook(lambda *_: fired.append("node"))
    loss.grad_fn.register_prehook(lambda *_: fired.append("node"))
    w.register_post_accumulate_grad_hook(fired.append)
    return loss, y, w, frozen, fired


ANSWERS = [[1.0, -10.0], [1.0, 5.0], [1.0], ..., "x", torch.ones(2, requires_grad=True)]


@pytest.mark.parametrize("answer", ANSWERS, ids=label)
def test_nothing_is_disturbed(answer):
    # Mistake caught: a hook fires or is lost, a .grad is written, a random number is drawn …
    loss, y, w, frozen, fired = busy()
    v = torch.tensor([1.0, 2.0])
    with nothing_disturbed(loss, y, w, frozen, v):
        checks.gradient("5.1", answer, of=loss, wrt=w)
        checks.gradient("5.1", {"y": answer, "w": answer}, of=loss, wrt={"y": y, "w": w})
        checks.gradient("5.1", answer, of=lambda w: (w * torch.rand(2)).sum(), wrt=frozen)
        checks.vjp("5.1", answer, of=y, wrt=w, v=v)
        checks.jacobian("5.1", answer, of=y, wrt=w)
        checks.value("5.1", answer, w)
        checks.error("5.1", "no error", torch.rand, 1) if answer is ... else None
    assert fired == []
    loss.backward()  # the graph is there to be used again, and the hooks fire as they should
    assert len(fired) == 6


def stir(x):
    """A function that changes every switch that it can reach."""
    torch.manual_seed(3)
    np.random.seed(3)
    random.seed(3)
    torch.set_default_dtype(torch.float16)
    torch.set_grad_enabled(False)
    return (x * 2).sum()


def test_a_function_that_stirs_everything():
    # Mistake caught: what a function changes outlasts the check.
    w = torch.ones(2)
    with nothing_disturbed(w):
        checks.gradient("5.1", [2, 2], of=stir, wrt=w)
        checks.error("5.1", "no error", lambda: stir(w))


class Interrupting(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x * 2

    @staticmethod
    def backward(ctx, gradient):
        torch.set_default_dtype(torch.float64)
        torch.rand(3)
        raise KeyboardInterrupt


def interrupting(x):
    torch.rand(3)
    raise KeyboardInterrupt


def test_an_interrupt_in_the_middle_disturbs_nothing():
    # Mistake caught: the stop button leaves grad mode off, or the random state elsewhere.
    w = torch.ones(2, requires_grad=True)
    loss = Interrupting.apply(w).sum()
    with nothing_disturbed(w, loss):
        for call in (
            lambda: checks.gradient("5.1", [2, 2], of=loss, wrt=w),
            lambda: checks.gradient("5.1", [2, 2], of=interrupting, wrt=w),
            lambda: checks.error("5.1", "no error", lambda: interrupting(w)),
        ):
            with pytest.raises(KeyboardInterrupt):
                call()


@pytest.mark.parametrize(
    "surroundings",
    [
        torch.no_grad,
        torch.inference_mode,
        torch.enable_grad,
        lambda: torch.device("meta"),
        lambda: torch.autocast("cpu", dtype=torch.bfloat16),
        lambda: torch.autograd.set_detect_anomaly(True, check_nan=False),
        torch.autograd.graph.save_on_cpu,
        lambda: torch.random.fork_rng(devices=[]),
    ],
)
def test_checks_in_any_surroundings(surroundings):
    # Mistake caught: what the learner's cell has switched on changes the truth or the comparison.
    loss, w = graph()
    y = (w[None] @ torch.diag(torch.tensor([9.41, 7.53, 3.005])))[0]
    with surroundings():
        assert checks.gradient("5.1", DIGITS, of=loss, wrt=w)
        assert checks.gradient("5.1", [1.0, 2.0, 3.0], of=loss, wrt=w).outcome == "wrong"
        assert checks.jacobian("5.1", torch.eye(3, device="cpu"), of=y, wrt=w).outcome == "wrong"
        diagonal = [[9.41, 0, 0], [0, 7.53, 0], [0, 0, 3.005]]
        assert checks.jacobian("5.1", diagonal, of=y, wrt=w)
        assert checks.gradient("5.1", [2, 4], of=lambda x: (x**2).sum(), wrt=SMALL)
        assert checks.value("5.1", 3.0, SMALL.sum(dtype=torch.float32))


SMALL = torch.tensor([1.0, 2.0])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_another_default_dtype(dtype):
    # Mistake caught: a tensor made inside has few digits, and right answers are refused.
    loss, w = graph()
    torch.set_default_dtype(dtype)
    try:
        assert checks.gradient("5.1", DIGITS, of=loss, wrt=w)
        assert not checks.gradient("5.1", [x * 1.006 for x in DIGITS], of=loss, wrt=w)
        assert torch.get_default_dtype() is dtype
    finally:
        torch.set_default_dtype(torch.float32)


def test_a_check_in_another_thread():
    # Mistake caught: the check needs a frame or a mode that only the main thread has.
    loss, w = graph()
    verdicts = []
    thread = threading.Thread(
        target=lambda: verdicts.append(checks.gradient("5.1", DIGITS, of=loss, wrt=w))
    )
    thread.start()
    thread.join()
    assert verdicts and verdicts[0]


def test_a_check_that_is_done_keeps_no_other_waiting():
    # Mistake caught: after one check, each check in another thread waits for ten seconds.
    loss, w = graph()
    assert checks.gradient("5.1", truth(), of=loss, wrt=w)
    lock, free = _one_at_a_time, []

    def take():
        free.append(lock.acquire(blocking=False))
        lock.release()

    thread = threading.Thread(target=take)
    thread.start()
    thread.join()
    assert free == [True]


def test_checks_in_two_threads_do_not_put_back_each_other_s_state():
    # Mistake caught: the one that began second puts back what the first had switched off.
    w = torch.ones(2, requires_grad=True)
    began, ended = threading.Event(), threading.Event()

    def first(x):
        began.set()
        time.sleep(0.2)  # long enough for the second to begin
        return (x * 2).sum()

    def second(x):
        ended.wait(1)
        return (x * 2).sum()

    def check(of):
        verdicts.append(checks.gradient("5.1", [2, 2], of=of, wrt=w))

    verdicts, filters, state = [], list(warnings.filters), torch.get_rng_state()
    one = threading.Thread(target=lambda: (check(first), ended.set()))
    other = threading.Thread(target=lambda: (began.wait(), check(second)))
    for thread in (one, other):
        thread.start()
    for thread in (one, other):
        thread.join()
    assert all(verdicts) and len(verdicts) == 2
    assert list(warnings.filters) == filters
    assert torch.equal(torch.get_rng_state(), state)


class Impatient:
    """A lock that tells whether anybody would have had to wait for it."""

    def __init__(self):
        self.lock, self.waits = threading.RLock(), 0
        self.release = self.lock.release

    def acquire(self, timeout):
        mine = self.lock.acquire(blocking=False)
        self.waits += not mine
        return mine


def test_a_check_inside_a_check(monkeypatch):
    # Mistake caught: the inner one waits for the outer one, in vain.
    lock = Impatient()
    monkeypatch.setattr("checks.undisturbed._one_at_a_time", lock)

    def double(x):
        assert checks.value("1", 2, 2)
        return x * 2

    def rule(upstream, x):
        assert checks.value("1", 2, 2)
        return upstream * 2

    w = torch.tensor(1.0, requires_grad=True)
    assert checks.gradient("5.1", 2, of=double, wrt=w)
    assert checks.rule("6.1", rule, of=lambda x: x * 2, shapes={"x": ()})
    assert lock.waits == 0


class Counts(TorchDispatchMode):
    number = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.number += 1
        return func(*args, **(kwargs or {}))


def test_a_mode_that_counts_operations_does_not_count_those_of_a_check():
    # Mistake caught: the learner's count of operations is that of the check as well.
    loss, w = graph()
    with Counts() as mode:
        _ = w + 1
        counted = mode.number
        assert checks.gradient("5.1", DIGITS, of=loss, wrt=w)
        checks.draw(loss)
        assert mode.number == counted > 0
        _ = w + 1
    assert mode.number == 2 * counted


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_tensors_on_another_device():
    # Mistake caught: the truth is compared where the answer is not.
    w = POINT.clone().cuda().requires_grad_()
    before = torch.cuda.get_rng_state()
    assert checks.gradient("5.1", (2 * POINT).tolist(), of=(w * w).sum(), wrt=w)
    assert checks.gradient("5.1", 2 * w, of=(w * w).sum(), wrt=w)
    assert torch.equal(before, torch.cuda.get_rng_state())


# -- the notebook around ---------------------------------------------------------------------------


def test_a_namespace_full_of_traps():
    # Mistake caught: looking for names touches variables that must not be touched.
    class Trap:
        __class__ = torch.Tensor

        def __getattribute__(self, name):
            raise RuntimeError("do not touch")

        def __eq__(self, other):
            raise RuntimeError("do not compare")

        __hash__ = None

    loss, w = graph()
    namespace = {
        "checks": checks,
        "trap": Trap(),
        "lying": torch.ones(3).as_subclass(LyingTensor),
        "tracked_lie": (torch.ones(3, requires_grad=True) * 1).as_subclass(LyingTensor),
        "unnameable": Unnameable(),
        "_hidden": w,
        3: w,
        (): loss,
        "meta": torch.ones(3, device="meta", requires_grad=True),
        "inference": torch.inference_mode()(lambda: torch.ones(3))(),
        "loss": loss,
        "w": w,
        "answer": DIGITS,
        **{f"x{k}": k for k in range(50_000)},
    }
    exec("verdict = checks.gradient('5.1', answer, of=loss, wrt=w)", namespace)
    assert namespace["verdict"]
    exec("verdict = checks.gradient('5.1', 1.0, of=loss, wrt=_hidden)", namespace)
    assert namespace["verdict"].outcome == "invalid"


@pytest.mark.parametrize("lie", ["of", "wrt"])
def test_tensors_that_lie_in_the_check_itself(lie):
    # Mistake caught: a subclass in the check cell raises out of the check, or makes all correct.
    loss, w = graph()
    given = {"of": loss, "wrt": w}
    given[lie] = given[lie].as_subclass(LyingTensor)
    assert not checks.gradient("5.1", [1.0, 1.0, 1.0], **given)


def test_a_leaf_that_was_updated_since():
    # Mistake caught: after `w -= …` the graph still belongs to the old w, and a right answer at
    # the new w is called wrong without a word of that.
    w = torch.tensor(2.0, requires_grad=True)
    x, y = torch.tensor(3.0), torch.tensor(1.0)
    y_hat = w * x
    loss = (y_hat - y) ** 2
    with torch.no_grad():
        w -= 0.1
    verdict = checks.gradient("5.1", (2 * (w * x - y) * x).detach(), of=loss, wrt=w)
    assert verdict.outcome == "invalid" and verdict.about == "notebook"
    assert "`w` has been changed after `y_hat` was computed" in str(verdict)
    y_hat = w * x
    loss = (y_hat - y) ** 2
    assert checks.gradient("5.1", (2 * (w * x - y) * x).detach(), of=loss, wrt=w)
    assert checks.gradient("5.1", 1.0, of=loss, wrt=w).outcome == "wrong"


def test_of_several_leaves_the_one_that_was_updated_is_named():
    # Mistake caught: another leaf is blamed; or the search for it takes all paths one by one.
    w, x = torch.tensor(3.0, requires_grad=True), torch.tensor(4.0, requires_grad=True)
    for first, second in ((w, x), (x, w)):
        y = first + second
        for _ in range(60):
            y = y + y
        loss = y * 2.0**-60
        with torch.no_grad():
            w += 1
        said = str(checks.gradient("5.1", 3.0, of=loss, wrt=x))
        assert "`w` has been changed after `y` was computed" in said


def test_the_computations_of_a_check_are_not_tracked():
    # Mistake caught: a graph of the check's own, which holds memory and hooks.
    with undisturbed():
        assert not torch.is_grad_enabled()


def test_sixty_doublings_and_wide_layers():
    # Mistake caught: paths are walked one by one, and there are 2⁶⁰ or 10⁵ of them.
    x = torch.tensor(1.0, requires_grad=True)
    y = x
    for _ in range(60):
        y = y + y
        if y.detach() == 32:  # of 32 paths none is spelled out
            assert " + " not in str(checks.gradient("5.1", 32.0, of=y, wrt=x))
    assert checks.gradient("5.1", 2.0**60, of=y, wrt=x)
    assert not checks.gradient("5.1", 2.0**60 * 3.7, of=y, wrt=x)
    units = [x * k for k in range(10)]
    for _ in range(4):
        units = [torch.stack(units).sum() * 0.01 for _ in range(10)]
    total = torch.stack(units).sum()
    assert checks.gradient("5.1", total.item(), of=total, wrt=x)
    assert not checks.gradient("5.1", -1.0, of=total, wrt=x)


def test_ten_million_entries():
    # Mistake caught: an answer of many entries takes minutes, or more memory than there is.
    w = torch.ones(10**7, requires_grad=True)
    loss = (w * w).sum()
    answer = torch.full((10**7,), 2.0)
    assert checks.gradient("5.1", answer, of=loss, wrt=w)
    answer[5] = 3.0
    verdict = checks.gradient("5.1", answer, of=loss, wrt=w)
    assert verdict.outcome == "wrong" and "1 of 10000000 entries is wrong: `[5]`" in str(verdict)


# -- nothing is given away -------------------------------------------------------------------------


@pytest.mark.parametrize("feedback", ["full", "hint", "verdict"])
def test_no_message_holds_a_true_value(feedback, monkeypatch):
    # Mistake caught: the answer stands in the text, in the HTML or in the drawing of a wrong,
    # empty or unusable one. Each true value has more digits than an honest text would hold.
    monkeypatch.setenv("CHECKS_FEEDBACK", feedback)
    w = torch.tensor(1.2345, requires_grad=True, dtype=torch.float64)
    b = torch.tensor([0.41421, 2.7183, -1.6180], requires_grad=True, dtype=torch.float64)
    y_hat = w * b
    S = y_hat - 0.57721
    loss = (S**2).mean()
    wrt = {"S": S, "y_hat": y_hat, "w": w, "b": b}
    true = dict(zip(wrt, torch.autograd.grad(loss, wrt.values(), retain_graph=True), strict=True))
    wrong = [0.0, 1.0, [1.0, 2.0, 3.0], ..., "x", [[1.0]], float("nan")]
    wrong += [2 * value for value in true.values()] + [-value for value in true.values()]
    asked = [
        (checks.gradient("5.6", answer, of=loss, wrt=tensor), [name])
        for answer in wrong
        for name, tensor in wrt.items()
    ]
    asked += [
        (checks.gradient("5.6", dict.fromkeys(wrt, a), of=loss, wrt=wrt), [*wrt]) for a in wrong
    ]
    asked += [
        (checks.gradient("5.6", true | {name: 2 * true[name]}, of=loss, wrt=wrt), [name])
        for name in wrt
    ]
    asked += [(checks.vjp("5.6", a, of=S, wrt=b, v=true["S"]), ["b"]) for a in wrong]
    for verdict, names in asked:
        if verdict:
            continue  # a number that happens to be right for another tensor
        numbers = [x for name in names for x in true[name].flatten().tolist()]
        secrets = {f"{abs(x):.7g}"[:5] for x in numbers}
        assert all(len(secret) == 5 for secret in secrets)
        data, metadata = verdict._repr_mimebundle_()
        shown = data["text/plain"] + data["text/html"] + repr(metadata)
        assert not [secret for secret in secrets if secret in shown], data["text/plain"]


def test_a_right_answer_says_why():
    # Mistake caught: the chain of local gradients is missing, or wrong.
    verdict = several(S=6.5, y_hat=6.5, w=16.25)
    assert "∂loss/∂S" not in str(several(S=6.5, y_hat=6.5, w=1.0))
    assert "16.25" in str(verdict)


# -- when an explanation fails, or there is none ---------------------------------------------------


@pytest.mark.parametrize("failing", ["changed_since", "explain", "places", "wrong_step"])
def test_a_wrong_answer_is_wrong_also_where_no_explanation_can_be_had(failing, monkeypatch):
    # Mistake caught: what goes wrong while a mistake is looked for makes the answer right.
    def fails(*arguments, **named):
        raise RuntimeError("no explanation")

    monkeypatch.setattr(sys.modules["checks.judging"], failing, fails)
    verdict = judged([0.1, 0.2, 0.3])
    assert verdict.outcome == "wrong"
    assert "All 3 entries are wrong." in str(verdict)


def test_where_no_mistake_is_found_the_steps_are_named():
    # Mistake caught: "wrong", and nothing to go on with.
    assert "Go through the steps once more" in str(judged([0.1, 0.2, 0.3]))


def test_a_step_is_written_with_the_names_and_numbers_of_the_cell():
    # Mistake caught: "y_hat = w * ?", though x is a variable of the cell.
    w, x = torch.tensor(3.0, requires_grad=True), torch.tensor([4.0, 5.5])
    y_hat = w * x
    loss = ((y_hat - 17) ** 2).sum()
    said = str(checks.gradient("5.1", 0.125, of=loss, wrt=w))
    assert "`y_hat = w * x`" in said
    assert "y_hat - 17" in said


def test_an_answer_in_few_digits_is_held_to_them():
    # Mistake caught: the rounding of a coarse format counts twice.
    w = torch.tensor(1.0, dtype=torch.float64, requires_grad=True)
    assert checks.gradient("5.1", torch.tensor(1.0117).bfloat16(), of=1.006 * w, wrt=w)
    assert not checks.gradient("5.1", torch.tensor(1.0156).bfloat16(), of=1.004 * w, wrt=w)


def test_a_message_names_the_variable_of_the_cell():
    # Mistake caught: another variable is named, or none, so one runs the wrong cell again.
    w = torch.tensor([1.0, 2.0], requires_grad=True)
    _hidden = plain = w.detach()
    assert _hidden is plain
    for check, more in ((checks.gradient, {}), (checks.vjp, {"v": w}), (checks.jacobian, {})):
        said = str(check("5.1", [1, 1], of=plain, wrt=w, **more))
        assert "`plain` has no graph" in said
        assert "the cell that computes `plain`" in said


def test_the_names_of_several_gradients_are_texts():
    # Mistake caught: the keys are used as they are, and the message is about something else.
    loss, w = graph()
    for wrt in ({1: w}, {"w": w, 2: w}):
        verdict = checks.gradient("5.1", dict.fromkeys(wrt, 1.0), of=loss, wrt=wrt)
        assert verdict.about == "notebook"
        assert "must be names in quotes" in str(verdict)
