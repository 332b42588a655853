"""What PyTorch says, and what is said where it cannot say anything."""

import pytest
import torch
from junk import JUNK
from snapshot import nothing_disturbed
from torch.utils.checkpoint import checkpoint

from checks import engine, states, truth
from checks.states import StateError


def leaf(*values, dtype=torch.float32):
    return torch.tensor(values if len(values) > 1 else values[0], dtype=dtype, requires_grad=True)


def gradients(of, wrt, v=None, **how):
    return truth.ask(of, wrt, v, **how).gradients


def test_the_gradient_is_autograd_s():
    # Mistake caught: another number, or a gradient that is still tied to a graph.
    w, x = leaf(1.5, -2.0), leaf(0.5)
    loss = (w.sin() * x).sum()
    found = gradients(loss, {"w": w, "x": x})
    expected = torch.autograd.grad(loss, [w, x])
    assert [torch.equal(a, b) for a, b in zip(found.values(), expected, strict=True)] == [True] * 2
    assert not any(g.requires_grad for g in found.values())


def test_inputs_in_any_order_and_twice():
    # Mistake caught: gradients are matched with names by position, or one tensor is lost.
    w, x = leaf(1.5), leaf(0.5)
    found = gradients(w * x * 3, {"x": x, "w": w, "w_again": w})
    assert {name: float(g) for name, g in found.items()} == {"x": 4.5, "w": 1.5, "w_again": 1.5}


def test_a_function_gets_copies_of_its_inputs():
    # Mistake caught: the learner's tensors are written to, or need requires_grad for no reason.
    plain = torch.tensor([1.0, 2.0])
    with nothing_disturbed(plain), torch.no_grad():
        found = gradients(lambda p, q: (p * q).sum(), {"p": plain, "q": plain * 3})
    assert found["p"].tolist() == [3.0, 6.0]
    assert not plain.requires_grad


def test_the_jacobian():
    # Mistake caught: rows and columns are exchanged, or shapes of more than one axis are flattened.
    x = leaf(1.0, 2.0, 3.0)
    y = torch.stack([x[0] * x[1], x[2] ** 2])
    expected = torch.autograd.functional.jacobian(
        lambda x: torch.stack([x[0] * x[1], x[2] ** 2]), x.detach()
    )
    assert torch.equal(truth.jacobian(truth.ask_jacobian(y, {"x": x})), expected)
    a = torch.randn(2, 3, requires_grad=True)
    question = truth.ask_jacobian(lambda a: a.T @ a, {"a": a})
    expected = torch.autograd.functional.jacobian(lambda a: a.T @ a, a.detach())
    torch.testing.assert_close(truth.jacobian(question), expected)


def test_a_jacobian_without_entries():
    # Mistake caught: stacking no rows at all raises.
    x = leaf(1.0, 2.0)
    assert truth.jacobian(truth.ask_jacobian(x[:0] * 2, {"x": x})).shape == (0, 2)


# -- states of the notebook ------------------------------------------------------------------------


def freed():
    w = leaf(1.5)
    loss = w**2
    loss.backward()
    return loss, {"w": w}


def changed():
    w = leaf(1.5)
    loss = w**2
    with torch.no_grad():
        w.mul_(2)
    return loss, {"w": w}


def changed_result_of_a_step():
    w = leaf(1.5)
    y = w * 3
    loss = y + 1
    y.mul_(2)
    return loss, {"y": y}


def made_anew():
    w = leaf(1.5)
    loss = w**2
    return loss, {"w": leaf(1.5)}


def other_chunk():
    x = leaf(1.0, 2.0)
    first, second = (x * 2).chunk(2)
    return first.sum(), {"second": second}


def detached():
    return (leaf(1.5) ** 2).detach(), {"w": leaf(1.5)}


def untracked():
    w = leaf(1.5)
    with torch.no_grad():
        return w**2, {"w": w}


def inference():
    w = leaf(1.5)
    with torch.inference_mode():
        return w**2, {"w": w}


def not_tracked_input():
    return leaf(1.5) ** 2, {"w": torch.tensor(1.5)}


def integers():
    return leaf(1.5) ** 2, {"w": torch.tensor(1)}


def many_numbers():
    w = leaf(1.5, 2.0)
    return w**2, {"w": w}


def not_finite():
    w = leaf(0.0, 1.0)
    return w.sqrt().sum(), {"w": w}


def on_meta():
    w = torch.ones(2, device="meta", requires_grad=True)
    return w.sum(), {"w": w}


def sparse():
    w = torch.eye(2).to_sparse().requires_grad_()
    return torch.sparse.sum(w), {"w": w}


def other_size():
    w = leaf(1.0, 2.0)
    loss = w.sum()
    w.data = torch.ones(3)
    return loss, {"w": w}


def view_changed_in_place():
    x = leaf(1.0, 2.0)
    with torch.no_grad():
        rows = (x * 1).unbind()
    rows[0].requires_grad_()
    return rows[0] * 2, {"x": x}


STATES = {
    freed: "graph of `loss` has been freed: `backward()`",
    changed: "changed in place since",
    changed_result_of_a_step: "`y` has been changed in place, perhaps after `loss`",
    made_anew: "`loss` does not depend on `w`",
    other_chunk: "`loss` does not depend on `second`",
    detached: "`loss` has no graph",
    untracked: "`loss` has no graph",
    inference: "`torch.inference_mode()`",
    not_tracked_input: "`w` does not require grad",
    integers: "`w` holds `torch.int64`",
    many_numbers: "`loss` is not a single real number (its shape is `(2,)`)",
    not_finite: "is not finite here",
    on_meta: "`meta` device",
    sparse: "sparse or nested",
    other_size: "another shape when `loss` was computed",
    view_changed_in_place: "`loss` does not depend on `x`",
}


@pytest.mark.parametrize("state", STATES, ids=lambda state: state.__name__)
def test_states(state):
    # Mistake caught: a notebook that was run out of order gives a traceback, or a verdict on the
    # answer. The sentence must say what to run again.
    of, wrt = state()
    with pytest.raises(StateError) as caught:
        _ = gradients(of, wrt, called="loss")
    assert STATES[state] in str(caught.value)
    assert "Run the cell" in str(caught.value)


@pytest.mark.parametrize(
    "of, part",
    [
        (..., "still blank"),
        (None, "still blank"),
        (3.0, "a `float`"),
        ("loss", "text"),
        ([1.0], "a `list`"),
        ({}, "a `dict`"),
    ],
)
def test_a_result_that_is_no_tensor(of, part):
    # Mistake caught: a blank or a number in place of the loss is a traceback.
    for ask in (truth.ask, truth.ask_jacobian):
        with pytest.raises(StateError, match=part):
            ask(of, {"w": leaf(1.0)})


def test_a_result_without_numbers():
    # Mistake caught: it is taken for a result like any other, and what is said is about `w`.
    w = leaf(1.0)
    result = torch.ones((), device="meta", requires_grad=True)
    with pytest.raises(StateError, match="`of` is on the `meta` device: it has no numbers"):
        truth.ask(result, {"w": w})


@pytest.mark.parametrize(
    "wrt", [{}, {"w": 3.0}, {"w": None}, {"w": [leaf(1.0)]}, {"w": torch.nn.Linear(1, 1)}]
)
def test_inputs_that_are_no_tensors(wrt):
    # Mistake caught: as above; and an empty dict of inputs, whose every answer would be right.
    with pytest.raises(StateError):
        truth.ask(leaf(1.0) * 2, wrt)


@pytest.mark.parametrize(
    "v, part",
    [
        (None, "needs weights `v`"),
        ([1.0, 1.0], "a `list`"),
        (torch.ones(3), "shape `(3,)`"),
        (torch.ones(1), "shape `(1,)`"),
        (torch.ones(2, dtype=torch.bool), "plain numbers"),
        (torch.ones(2, dtype=torch.complex64), "complex"),
        (torch.tensor([1.0, float("nan")]), "`nan`"),
        (torch.ones(2, device="meta"), "plain numbers"),
    ],
)
def test_upstream_gradients_that_do_not_fit(v, part):
    # Mistake caught: v is broadcast, or its fault is laid at the answer's door.
    w = leaf(1.0, 2.0)
    with pytest.raises(StateError) as caught:
        truth.ask(w * 2, {"w": w}, v)
    assert part in str(caught.value)


@pytest.mark.filterwarnings("ignore:.*(quantized tensor creation|nested tensors).*:UserWarning")
@pytest.mark.parametrize("kind", ["quantized", "nested", "float8"])
def test_upstream_gradients_that_hold_no_plain_numbers(kind):
    # Mistake caught: "something came that this check cannot handle".
    w = leaf(1.0, 2.0, 3.0)
    with pytest.raises(StateError, match=r"plain numbers|dense"):
        truth.ask(w * 2, {"w": w}, JUNK[kind]())


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.int64])
def test_upstream_gradients_of_another_dtype(dtype):
    # Mistake caught: v of another number format is refused, or computes in that format.
    w = leaf(1.0, 2.0)
    found = gradients(w * 3, {"w": w}, torch.tensor([2, 4], dtype=dtype))["w"]
    assert found.dtype is torch.float32 and found.tolist() == [6, 12]


def raises(x):
    raise ValueError("too bad.")


class DoublesInPlace(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x * 2

    @staticmethod
    def backward(ctx, gradient):
        return gradient.mul_(2)


def test_the_upstream_gradient_stays_the_learner_s():
    # Mistake caught: a Function that computes in place changes v, and then the right answer is
    # refused; also where the engine calls it.
    w, v = leaf(1.0, 2.0), torch.tensor([3.0, 5.0])
    question = truth.ask(DoublesInPlace.apply(w), {"w": w}, v)
    assert question.gradients["w"].tolist() == [6, 10]
    _ = question.rounding("w", 0.0), question.seen
    assert question.gradients["w"].tolist() == [6, 10]
    engine.gradients(question.of, question.wrt, question.v)
    assert v.tolist() == [3, 5]


def test_a_checkpoint_that_cannot_be_differentiated_is_named():
    # Mistake caught: "run the cells again", which helps nobody.
    w = leaf(1.0, 2.0)
    loss = checkpoint(lambda x: (x * 2).sum(), w, use_reentrant=True)
    with pytest.raises(StateError, match="cannot be checked step by step") as caught:
        _ = gradients(loss, {"w": w}, called="loss")
    assert "again" not in str(caught.value)


class Silent(Exception):
    def __str__(self):
        raise RuntimeError("no words")


def raises_in_silence(x):
    raise Silent


FUNCTIONS = {
    raises: "raised an error. `ValueError`: too bad.",
    raises_in_silence: "raised an error. `Silent`.",
    exit: "raised an error. `SystemExit`",
    (lambda x: None): "returned nothing",
    (lambda x: float(x.sum())): "returned a `float`",
    (lambda x: (x, x)): "returned a `tuple`",
    (lambda x: torch.ones(())): "does not depend on its arguments",
    (lambda x: x.detach().sum()): "does not depend on its arguments",
    (lambda x: torch.ones((), requires_grad=True)): "does not depend on `x`",
    (lambda x, y: x): "missing 1 required positional argument",
    (lambda x: x.mul_(2)): "in-place operation",
    (lambda x: x * 2): "is not a single real number",
    torch.nn.Linear(2, 3): "is not a single real number",
    int: "raised an error",
}


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("number", range(len(FUNCTIONS)))
def test_functions_that_do_not_work(number):
    # Mistake caught: what a function does wrong is a traceback, or is laid at the answer's door.
    function, part = list(FUNCTIONS.items())[number]
    with pytest.raises(StateError) as caught:
        gradients(function, {"x": torch.tensor([1.0, 2.0])})
    assert part in str(caught.value)
    assert ".." not in str(caught.value)


# -- rounding --------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_a_gradient_that_cancels_is_covered_by_its_rounding(dtype):
    # Mistake caught: softmax(x).sum() has the gradient 0, but autograd's is 1e-9: 0 is refused.
    torch.manual_seed(0)
    x = torch.randn(6, dtype=dtype).requires_grad_()
    question = truth.ask(x.softmax(0).sum(), {"x": x})
    noise = question.rounding("x", 0.0)
    assert bool((question.gradients["x"].abs() <= noise).all())
    assert float(noise.max()) < 100 * torch.finfo(dtype).eps


def test_a_gradient_that_does_not_cancel_is_far_above_its_rounding():
    # Mistake caught: rounding is taken to be so large that small gradients count as zero.
    torch.manual_seed(0)
    x = (torch.randn(6) * 1e-3).requires_grad_()
    question = truth.ask((x.exp() * torch.randn(6)).sum(), {"x": x})
    assert bool((question.gradients["x"].abs() > 1000 * question.rounding("x", 0.0)).all())
    assert question.rounding("x", 2.0**-7).tolist() == [0.0] * 6  # nor for a coarse answer
    zero = leaf(-1.0, -2.0)
    assert truth.ask(zero.relu().sum(), {"x": zero}).rounding("x", 0.0).tolist() == [0.0, 0.0]


# -- the engine, for very large graphs -------------------------------------------------------------


def test_a_very_large_graph_is_answered_by_the_engine_without_a_trace():
    # Mistake caught: a graph of fifty thousand steps kills the kernel, fires hooks or writes .grad.
    x, unrelated = leaf(1.0), leaf(1.0)
    first = y = x * 2
    first.retain_grad()
    fired = []
    first.register_hook(fired.append)
    for _ in range(50_000):
        y = y + 1
    with nothing_disturbed(x, first, y):
        question = truth.ask(y, {"x": x, "first": first})
        assert question.is_large and question.nodes == []
        assert {name: float(g) for name, g in question.gradients.items()} == {"x": 2, "first": 1}
        with pytest.raises(StateError, match="does not depend on `other`"):
            _ = truth.ask(y, {"other": unrelated}).gradients
    assert fired == [] and first.grad is None


def test_the_engine_puts_hooks_and_gradients_back():
    # Mistake caught: a hook is lost, or a retained .grad doubled, where the engine is asked.
    w = leaf(3.0)
    y = w * 2
    y.retain_grad()
    fired = []
    w.register_hook(fired.append)
    loss = y**2
    loss.backward(retain_graph=True)
    fired.clear()
    with nothing_disturbed(w, y, loss):
        found = engine.gradients(loss, {"w": w, "y": y}, torch.tensor(1.0))
        assert {name: float(g) for name, g in found.items()} == {"w": 24, "y": 12}
    assert fired == []
    loss.backward()
    assert [float(gradient) for gradient in fired] == [24]


def test_a_state_names_no_variable_where_it_knows_none():
    # Mistake caught: "Run the cell that computes `of` again", where no cell has an `of`.
    assert states.again("of") == states.again("v") == states.again(states.FUNCTION)
    assert "`loss`" in states.again("loss")


def test_what_to_run_again_is_said_in_any_case():
    # Mistake caught: a sentence that says what is wrong, and not what to do.
    assert states.again("of") == states.again(states.FUNCTION)
    assert states.again("of").startswith("Run the cells of this exercise again")
    w = leaf(1.0)
    made_anew = states.not_connected("w", w, "loss")
    assert "Perhaps `w` was made anew after `loss` was computed." in str(made_anew)


def test_what_remains_of_large_terms_is_no_rounding():
    # Mistake caught: 0 or 2 is taken for the 1 that 100000 - 99999 leaves.
    w = leaf(1.5)
    question = truth.ask(100000 * w - 99999 * w, {"w": w})
    assert float(question.rounding("w", 0.0)) == 0
    half = leaf(3.0, dtype=torch.float16)
    question = truth.ask(half**2 - 5.75 * half, {"w": half})
    assert float(question.rounding("w", 0.0)) == 0


@pytest.mark.parametrize("seed", range(30))
def test_zero_is_within_the_rounding_of_what_cancels(seed):
    # Mistake caught: too little is granted, and the right answer 0 is refused.
    torch.manual_seed(seed)
    x = torch.randn(7, 4, requires_grad=True)
    for total in (
        x.softmax(1).sum(),
        torch.nn.functional.layer_norm(x, (4,)).sum(),
        torch.nn.functional.batch_norm(x, None, None, training=True).sum(),
        (x.exp() / x.exp().sum()).sum(),
        x.log_softmax(1).exp().sum(),
    ):
        question = truth.ask(total, {"x": x})
        true = question.gradients["x"].abs().double()
        assert bool((true <= question.rounding("x", 0.0)).all())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_no_gradient_that_is_its_own_size_counts_as_rounding(dtype):
    # Mistake caught: in a graph of few digits every answer is near enough.
    w = torch.tensor([1.5, -2.0], dtype=dtype, requires_grad=True)
    question = truth.ask((w**3).sum(), {"w": w})
    assert question.rounding("w", 1e-3).tolist() == [0, 0]


def test_a_node_that_cannot_be_called_by_itself_is_left_to_the_engine(monkeypatch):
    # Mistake caught: no gradient at all, and the notebook is blamed.
    def fails(*arguments, **named):
        raise RuntimeError("this node is special")

    w = leaf(1.5, -2.0)
    monkeypatch.setattr(truth.backward, "run", fails)
    assert gradients((w**3).sum(), {"w": w})["w"].tolist() == [6.75, 12.0]
