"""A function written by hand is right on every input, or it is refused, and told why."""

import functools
import itertools
import os
import re
import subprocess
import sys
import types
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from backward_rules import (
    RIGHT,
    SHAPES,
    WRONG,
    asked,
    cross_entropy,
    d_linear,
    linear,
    right_tanh,
    tanh,
    two_layers,
)

import checks
from checks.reasons import foreign


@pytest.fixture(autouse=True, scope="module")
def no_hurry():
    """On a busy machine the time for all inputs may be over too early."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("checks.examine._BUDGET", 600.0)
        yield


@functools.cache
def refused(name):
    """What is said of a wrong function; several tests look at the same."""
    return asked(WRONG, name)


# -- what is right, and what is wrong --------------------------------------------------------------


@pytest.mark.parametrize("name", RIGHT)
def test_every_equivalent_form_is_right(name):
    # Mistake caught: an honest function is refused, for its rounding, its types or its kinks.
    verdict = asked(RIGHT, name)
    assert verdict.outcome == "correct", verdict


@pytest.mark.parametrize("name", WRONG)
def test_every_wrong_function_is_refused(name):
    # Mistake caught: a function that is wrong somewhere is called right, or an open blank.
    verdict = refused(name)
    assert verdict.outcome in {"wrong", "invalid"} and verdict.about == "answer", verdict
    assert verdict.sentences


SMALLEST = {
    "matmul transposed": "`N = 1`, `D = 1`, `K = 2`",
    "right for square shapes only": "`N = 1`, `D = 1`, `K = 2`",
    "wrong for square shapes only": "`N = 1`, `D = 2`, `K = 2`",
    "right for one sample only": "`N = 2`, `D = 1`, `K = 1`",
    "wrong for more than four samples": "`N = 5`, `D = 1`, `K = 1`",
    "raises for size 1": "`N = 1`, `K = 1`, `z = [[1]]`, `upstream = [[1]]`",
    "ignores the upstream gradient": "`N = 1`, `x = [1]`, `upstream = [-1]`",
    "right if upstream is constant": "`D = 2`, `x = [[1, 1]]`, `upstream = [[1, -1]]`",
    "wrong for negative inputs": "`N = 1`, `x = [-1]`, `upstream = [1]`",
    "wrong for the last class": "`N = 1`, `K = 2`, `logits = [[1, 1]]`, `target = [1]`",
    "divides by d only": "`N = 2`, `D = 1`, `P = [[1], [1]]`, `Y = [[1], [-1]]`",
}


@pytest.mark.parametrize("name", SMALLEST)
def test_the_smallest_input_is_shown(name):
    # Mistake caught: an input is shown that is larger than it need be, which hides the cause.
    assert SMALLEST[name] in refused(name).sentences[0]


NAMED = {
    "drops the 2": "`(P - Y) ** 2`",
    "drops the mean": "`((P - Y) ** 2).mean()`",
    "divides by n only": "`((P - Y) ** 2).mean()`",
    "sign": "`P - Y`",
    "matmul transposed": "`X @ W`",
    "bias averaged": "`(X @ W) + b`",
    "bias over the wrong axis": "`(X @ W) + b`",
    "factors swapped": "`a * b`",
    "exp uses its input": "`exp(x)`",
    "relu value for the mask": "relu",
    "softmax elementwise": "`softmax(z)`",
    "without the one hot": "one-hot",
    "softmax before cross entropy": "softmax",
    "tanh left out": "`tanh(",
}


@pytest.mark.parametrize("name", NAMED)
def test_the_mistake_is_named(name):
    # Mistake caught: the diagnosis is lost on the way, or looks at an input that cannot tell.
    verdict = refused(name)
    assert verdict.mistakes and "With `" in str(verdict) and NAMED[name] in str(verdict)
    assert "← look here" in str(verdict)


TOLD = {
    "rounds to float32 inside": "about 7 digits",
    "returns float16": "digits and no more",
    "finite difference": "digits and no more",
    "other order": "in another order than `X`, `W`, `b`",
    "uses the notebook s tensor": "it reads `_W`",
    "keepdim lost": "`(N, D)`, here `(1, 2)`. Yours has the shape `(2, 1)`",
    "forgets one gradient": "It returned 2 results. Expected: 3 gradients",
    "other keys": "the keys `dX`, `dW`, `db`. Expected: `X`, `W`, `b`",
    "nothing for negative inputs": "It returned nothing there",
    "gives nan": "`nan`",
    "takes one argument": "with 2 arguments: `upstream`, `x`",
    "changes its input sometimes": "its argument `x` in place",
    "wrong every third time": "Called twice with the same input",
    "by func jvp": "asks autograd",
    "by grad fn": "asks autograd",
    "by a thread of its own": "asks autograd",
    "by an engine that was kept": "asks autograd",
    "by an engine of its own": "asks autograd",
    "by the check itself": "asks autograd",
    "recurses": "`RecursionError`",
    "for contiguous tensors only": "when its argument is a transposed view",
    "reads the memory in its order": "when its argument is a transposed view",
}


@pytest.mark.parametrize("name", TOLD)
def test_what_is_wrong_is_told_in_a_sentence(name):
    # Mistake caught: a wrong shape, a wrong type or a wrong digit is only called wrong.
    assert TOLD[name] in str(refused(name))


SLOPE, WEIGHTS, WORD = 0.1, torch.ones(2), "sum"


@pytest.mark.parametrize(
    "function, named",
    [
        (lambda u, x: u * SLOPE, "`SLOPE`"),
        (lambda u, x: u * WEIGHTS, "`WEIGHTS`"),
        (lambda u, x: (lambda: u * SLOPE)(), "`SLOPE`"),  # inside of a function of its own
        (lambda u, x: u * SLOPE * WEIGHTS * SLOPE, "`SLOPE`, `WEIGHTS`"),
        (lambda u, x: getattr(torch, WORD)(u * right_tanh(u, x)), ""),
        (torch.mul, ""),
    ],
)
def test_numbers_of_the_notebook_are_named(function, named):
    # Mistake caught: a function is right in the notebook, and reads its variables instead of its
    # arguments; or a module, a function or a text is called a number.
    said = foreign(function)
    assert (f"it reads {named} from" in said) if named else not said


def test_each_gradient_is_judged_for_itself():
    # Mistake caught: one wrong gradient of four costs all points, or is not named; or one that is
    # wrong on larger inputs only counts as right because the smallest input does not show it.
    verdict = refused("one of four is wrong")
    outcomes = {name: str(entry.outcome) for name, entry in verdict.entries.items()}
    assert outcomes == {"W1": "correct", "b1": "correct", "W2": "correct", "b2": "wrong"}
    assert verdict.credit == 0.75

    def two_wrong(u, X, W, b):
        dX, dW, db = d_linear(u, X, W, b)
        return dX, dW + (len(X) > 3), -db

    verdict = checks.rule("6.2", two_wrong, of=linear, shapes=SHAPES[linear])
    assert [str(entry.outcome) for entry in verdict.entries.values()] == [
        "correct",
        "wrong",
        "wrong",
    ]


def test_of_several_gradients_one_may_be_rounded():
    # Mistake caught: what agrees in seven digits only is named among those that are right.
    def rounded(u, X, W, b):
        dX, dW, db = d_linear(u, X, W, b)
        return dX, dW.float(), db

    verdict = checks.rule("6.2", rounded, of=linear, shapes=SHAPES[linear])
    assert [str(e.outcome) for e in verdict.entries.values()] == ["correct", "wrong", "correct"]
    assert "about 7 digits" in str(verdict)


def test_what_is_said_gives_no_right_number_away():
    # Mistake caught: the true gradient of the smallest input stands in the verdict.
    def bad(u, x):
        return 1.5 * u * (1 - torch.tanh(x) ** 2)

    text = str(tanh(bad))
    assert "`x = [1]`, `upstream = [1]`" in text
    assert "0.6299615" in text  # what came back
    assert "0.41997" not in text


def test_how_many_inputs_were_tried_is_said():
    # Mistake caught: a right answer does not tell what it was held against.
    seen = []

    def watch(u, x):
        seen.append(x)
        return right_tanh(u, x)

    said = re.search(r"Right on more than (\d+) inputs", str(tanh(watch)))
    assert said and 100 <= int(said[1]) < len(seen) / 2  # each input twice


def test_a_teacher_may_say_less(monkeypatch):
    # Mistake caught: in an exam the smallest input or the mistake is told.
    monkeypatch.setenv("CHECKS_FEEDBACK", "verdict")
    for name in ("drops the 2", "exp uses its input", "adds noise", "changes upstream"):
        verdict = asked(WRONG, name)
        assert verdict.outcome == "wrong"
        assert verdict.sentences == () and not any(e.sentences for e in verdict.entries.values())
    assert tanh(right_tanh).sentences == ()
    shape = asked(WRONG, "bias not summed")
    assert "shape" in str(shape) and "With `" not in str(shape) and not shape.mistakes
    # The marks are the same, whatever is said; but the mistake would be stored in the notebook.
    assert asked(WRONG, "one of four is wrong").credit == 0.75
    assert not asked(WRONG, "exp uses its input").mistakes
    monkeypatch.setenv("CHECKS_FEEDBACK", "hint")
    text = str(asked(WRONG, "exp uses its input"))
    assert "`x = [1]`" in text and "exponential" not in text and "Look again at" in text


# -- the same each time ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["returns the transposed", "wrong for negative inputs"])
def test_twenty_runs_say_the_same(name):
    # Mistake caught: what is tried depends on the random state, the clock or earlier runs.
    torch.manual_seed(1)
    texts = set()
    for run in range(20):
        torch.rand(run)
        texts.add(str(asked(WRONG, name)))
    assert len(texts) == 1


SCRIPT = """
import sys
sys.path[:0] = [{tests!r}, "."]
import torch, checks, checks.examine
checks.examine._BUDGET = 600.0
if {first}:
    import local_constants
from backward_rules import WRONG, RIGHT
for table, name in ((WRONG, "wrong above 50"), (WRONG, "same sign for both"), (RIGHT, "d softmax")):
    function, of, shapes, more = table[name]
    print(checks.rule("6.2", function, of=of, shapes=shapes, **more))
"""


def test_processes_agree_and_leave_nothing_behind(tmp_path):
    # Mistake caught: Hypothesis writes a folder, prints, or draws constants of the learner's own
    # modules; or the order of a set decides.
    (tmp_path / "local_constants.py").write_text("A, B = 5, b'0123456789abcdefg' * 2\n")
    outputs = set()
    for seed in ("1", "2"):
        script = SCRIPT.format(tests=str(Path(__file__).parent), first=seed == "2")
        ran = subprocess.run(
            [sys.executable, "-B", "-c", script],
            cwd=tmp_path,
            env={**os.environ, "PYTHONHASHSEED": seed, "CHECKS_STRICT": "0"},
            capture_output=True,
            text=True,
            check=True,
        )
        assert ran.stderr == ""
        outputs.add(ran.stdout)
    assert len(outputs) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["local_constants.py"]


def test_a_busy_machine_finds_the_same_smallest_input(monkeypatch):
    # Mistake caught: how long a smaller input is looked for is a matter of time: the same answer
    # is shown another input, and earns other points, where the machine has more to do.
    quiet = asked(WRONG, "mask forgotten in a network")
    assert "`N = 1`, `D = 1`, `H = 1`, `K = 2`, `X = " in quiet.sentences[0]
    now = itertools.count(0.0, 0.05)  # seconds that pass from one look at the clock to the next
    monkeypatch.setattr("checks.examine.time", types.SimpleNamespace(monotonic=now.__next__))
    assert str(asked(WRONG, "mask forgotten in a network")) == str(quiet)


# -- what the check is given -----------------------------------------------------------------------


def test_what_is_asked_must_make_sense():
    # Mistake caught: a teacher's slip is blamed on the learner, or shows a traceback.
    wrong = [
        {"of": torch.ones(2)},
        {"of": None},
        {"of": lambda x: 3.0},
        {"of": lambda x: torch.ones(2)},
        {"of": lambda x: torch.tanh(x).float()},
        {"of": lambda x: torch.tanh(x).detach()},
        {"of": lambda x: (x, x)},
        {"of": lambda x: 1 / 0},
        {"of": lambda x: torch.log(-x.abs())},
        {"shapes": {}},
        {"shapes": ["N"]},
        {"shapes": {"x": "N"}},
        {"shapes": {"x": ("N", 0)}},
        {"shapes": {"x": ("N", 1.5)}},
        {"shapes": {"upstream": ("N",)}},
        {"shapes": {3: ("N",)}},
        {"shapes": {"x": checks.classes("N", below="K")}},
        {"gives": "y"},
        {"gives": ()},
        {"gives": ("x", "x")},
        {"gives": 3},
        {"call": 3},
    ]
    for given in wrong:
        verdict = tanh(right_tanh, **given)
        assert verdict.outcome == "invalid" and verdict.about == "notebook", (given, verdict)
    assert "division by zero" in str(tanh(right_tanh, of=lambda x: 1 / 0))


@pytest.mark.parametrize("came", [3, "tanh", [1.0], torch.ones(2), {}])
def test_what_is_no_function_is_said(came):
    # Mistake caught: "your function raised: object is not callable", of what is no function.
    verdict = tanh(came)
    assert verdict.outcome == "invalid" and "Expected: a function" in str(verdict)


def test_where_there_is_one_gradient_it_is_not_named():
    # Mistake caught: "For `x`: …" of the only thing that is asked for.
    assert "For `" not in str(tanh(lambda u, x: "0.5"))


def test_a_blank_is_told_at_once():
    # Mistake caught: a function that is still to be written is called hundreds of times.
    called = []

    def blank(u, x):
        called.append(x)
        return ...

    assert tanh(blank).outcome == "unanswered"
    assert len(called) < 10


def test_inputs_on_which_the_forward_function_fails_are_left_out():
    # Mistake caught: a forward function that needs two samples makes the check useless.
    def forward(x):
        if len(x) == 1:
            raise ValueError("one sample has no variance")
        return x - x.mean()

    assert tanh(lambda u, x: u - u.mean(), of=forward)


def test_inputs_are_what_is_described():
    # Mistake caught: class indices out of range, numbers out of bounds, equal or zero numbers, all
    # upstream gradients alike, sizes always equal.
    seen = []

    def watch(u, X, y, p, q):
        seen.append((u, X, y, p, q))
        return u * q

    shapes = {
        "X": ("N", "D"),
        "y": checks.classes("N", below="D"),
        "p": checks.numbers("N", above=0, below=1),
        "q": checks.numbers(above=-2, below=-1),
    }
    verdict = checks.rule(
        "6.2", watch, of=lambda X, y, p, q: X * q + 0 * p[:, None], shapes=shapes, gives="X"
    )
    assert verdict
    sizes = {tuple(X.shape) for _, X, *_ in seen}
    assert {1, 5} <= {n for n, _ in sizes} & {d for _, d in sizes} and (7, 4) in sizes
    assert sum(n != d for n, d in sizes) > len(sizes) / 2
    for u, X, y, p, q in seen:
        assert X.dtype == u.dtype == p.dtype == torch.float64 and y.dtype == torch.int64
        assert (X != 0).all() and u.shape == X.shape
        assert (y >= 0).all() and (y < X.shape[1]).all()
        assert (p > 0).all() and (p < 1).all() and -2 < q < -1
    zeros = [(u == 0).double().mean() for u, *_ in seen]
    assert sum(share > 0 for share in zeros) < len(seen) / 4  # or a wrong one shows in few
    assert any(0 < share < 0.5 for share in zeros)
    numbers = torch.cat([X.flatten() for _, X, *_ in seen]).abs()
    assert numbers.max() > 50 and numbers.min() < 1e-3
    assert sum((u == 1).all().item() for u, *_ in seen) < len(seen) / 4


def test_several_tensors_one_call_and_a_class_to_fill_in():
    # Mistake caught: what is no plain function cannot be checked.
    class Engine:
        def __init__(self, data):
            self.data, self.grad, self.after = data, 0.0, []

        def __mul__(self, other):
            out = Engine(self.data * other.data)
            out.after = [(self, other.data), (other, self.data)]
            return out

        def backward(self, upstream):
            self.grad += upstream
            for value, local in self.after:
                value.backward(upstream * local)

    def use(kind, upstream, a, b):
        a, b = kind(float(a)), kind(float(b))
        (a * b * a).backward(float(upstream))
        return a.grad, b.grad

    numbers = {"a": (), "b": ()}
    assert checks.rule("7.3", Engine, of=lambda a, b: a * b * a, shapes=numbers, call=use)

    class Overwrites(Engine):
        def backward(self, upstream):
            self.grad = upstream
            for value, local in self.after:
                value.backward(upstream * local)

    verdict = checks.rule("7.3", Overwrites, of=lambda a, b: a * b * a, shapes=numbers, call=use)
    assert verdict.outcome in {"wrong", "invalid"}


def test_the_kink_itself_is_nobody_s_mistake():
    # Mistake caught: with whole numbers a sum is exactly 0, and one convention is called wrong.
    of = {"of": lambda X, w: torch.relu(X @ w).sum(), "shapes": {"X": ("N", 2), "w": (2,)}}
    for at_zero in (0.0, 0.5, 1.0):

        def rule(u, X, w, at_zero=at_zero):
            pre = X[:, 1] * w[1] + X[:, 0] * w[0]
            g = u * torch.where(pre == 0, at_zero, (pre > 0).double())
            return torch.outer(g, w), X.T @ g

        assert checks.rule("6.4", rule, **of)


def test_classes_get_no_gradient_but_may_be_none():
    # Mistake caught: a target is asked for a gradient, or None for it counts as a blank.
    def fused(u, logits, target):
        return u * (F.softmax(logits, 1) - F.one_hot(target, logits.shape[1])) / len(target)

    shapes = SHAPES[cross_entropy]
    assert checks.rule("6.5", fused, of=cross_entropy, shapes=shapes)
    assert checks.rule("6.5", lambda *a: (fused(*a), None), of=cross_entropy, shapes=shapes)
    assert "X" not in str(asked(RIGHT, "d two layers")) and two_layers in SHAPES
