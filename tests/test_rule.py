"""A function written by hand is right on every input, or it is refused, and told why."""

import _thread
import contextlib
import io
import os
import re
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import nbclient
import nbformat
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from backward_rules import RIGHT, SHAPES, WRONG, cross_entropy, d_linear, linear, two_layers
from junk import BLANKS, JUNK
from snapshot import nothing_disturbed

import checks
from checks import caged

VECTOR = {"x": ("N",)}


def right_tanh(upstream, x):
    return upstream * (1 - torch.tanh(x) ** 2)


def tanh(function, **more):
    return checks.rule("6.2", function, **{"of": torch.tanh, "shapes": VECTOR} | more)


def asked(table, name):
    function, of, shapes, more = table[name]
    return checks.rule("6.2", function, of=of, shapes=shapes, **more)


# -- what is right, and what is wrong --------------------------------------------------------------


@pytest.mark.parametrize("name", RIGHT)
def test_every_equivalent_form_is_right(name):
    # Mistake caught: an honest function is refused, for its rounding, its types or its kinks.
    verdict = asked(RIGHT, name)
    assert verdict.outcome == "correct", verdict


@pytest.mark.parametrize("name", WRONG)
def test_every_wrong_function_is_refused(name):
    # Mistake caught: a function that is wrong somewhere is called right, or an open blank.
    verdict = asked(WRONG, name)
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
    assert SMALLEST[name] in asked(WRONG, name).sentences[0]


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
    verdict = asked(WRONG, name)
    assert verdict.mistakes and "With `" in str(verdict) and NAMED[name] in str(verdict)


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
    "recurses": "`RecursionError`",
}


@pytest.mark.parametrize("name", TOLD)
def test_what_is_wrong_is_told_in_a_sentence(name):
    # Mistake caught: a wrong shape, a wrong type or a wrong digit is only called wrong.
    assert TOLD[name] in str(asked(WRONG, name))


def test_each_gradient_is_judged_for_itself():
    # Mistake caught: one wrong gradient of four costs all points, or is not named; or one that is
    # wrong on larger inputs only counts as right because the smallest input does not show it.
    verdict = asked(WRONG, "one of four is wrong")
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
import torch, checks
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


# -- functions that misbehave ----------------------------------------------------------------------


@pytest.fixture
def patience(monkeypatch):
    """The time limit, made short."""
    monkeypatch.setattr(caged, "SECONDS", 0.5)


def forever(u, x):
    while True:
        pass


def forever_and_stubborn(u, x):
    while True:
        with contextlib.suppress(BaseException):
            x = x * 1.0


def forever_asleep(u, x):
    time.sleep(3)


def sometimes_forever(u, x):
    while len(x) > 2:
        pass
    return right_tanh(u, x)


@pytest.mark.usefixtures("patience")
@pytest.mark.parametrize(
    "function", [forever, forever_and_stubborn, forever_asleep, sometimes_forever]
)
def test_a_function_that_never_returns_is_ended(function):
    # Mistake caught: the notebook hangs, or the function goes on running behind it.
    verdict = tanh(function)
    assert verdict.outcome == "invalid" and "did not return" in str(verdict)
    waiting = [t for t in threading.enumerate() if t.name == "checks.rule"]
    for thread in waiting:  # the sleeper ends when it wakes
        assert function is forever_asleep
        thread.join(5)
        assert not thread.is_alive()


def test_a_slow_function_is_refused(monkeypatch):
    # Mistake caught: a function of a second a call keeps the notebook busy for minutes.
    monkeypatch.setattr("checks.examine._BUDGET", 0.2)

    def slow(u, x):
        time.sleep(0.05)
        return right_tanh(u, x)

    verdict = tanh(slow)
    assert verdict.outcome == "invalid" and "too slow" in str(verdict)


def test_the_notebook_can_be_interrupted():
    # Mistake caught: KeyboardInterrupt is taken for the function's own error, or does not come
    # through; the function runs on.
    with nothing_disturbed():
        threading.Timer(0.3, _thread.interrupt_main).start()
        with pytest.raises(KeyboardInterrupt):
            tanh(forever)
    assert not [t for t in threading.enumerate() if t.name == "checks.rule"]
    assert tanh(right_tanh)


def test_a_keyboard_interrupt_of_its_own_is_its_own():
    # Mistake caught: `raise KeyboardInterrupt` in an answer ends a whole run of a notebook.
    def interrupts(u, x):
        raise KeyboardInterrupt

    assert "KeyboardInterrupt" in str(tanh(interrupts))


def test_its_error_is_shown_with_its_line():
    # Mistake caught: the line is one of the check or of a library, not the learner's.
    def helper(x):
        return np.linalg.inv(x.numpy())

    def raises(u, x):
        return u * helper(x)

    verdict = tanh(raises)
    assert verdict.outcome == "invalid"
    assert "`LinAlgError`: 1-dimensional array given" in str(verdict)
    assert "in `helper`" in str(verdict) and "`return np.linalg.inv(x.numpy())`" in str(verdict)


def test_what_it_prints_is_said_and_not_shown(capfd):
    # Mistake caught: 200 lines of debugging output in the notebook, or a right function is refused.
    def prints(u, x):
        print("x is `x`", file=sys.stderr)
        print("and u")
        return right_tanh(u, x)

    verdict = tanh(prints)
    assert verdict and "`x is 'x' and u" in str(verdict)
    assert capfd.readouterr() == ("", "")


def test_what_the_forward_function_prints_is_not_the_learner_s():
    # Mistake caught: the learner is told to have printed what the lesson's own function prints.
    def forward(x):
        print("forward")
        return torch.tanh(x)

    assert "print" not in str(tanh(right_tanh, of=forward))


class Endless(io.TextIOBase):
    def write(self, text):
        raise AssertionError("the notebook's own output was written to")


@pytest.mark.usefixtures("patience")
def test_endless_output_is_not_kept(monkeypatch):
    # Mistake caught: the text of an endless loop that prints fills the memory.
    def prints(u, x):
        while True:
            print("x" * 1000)

    monkeypatch.setattr(sys, "stdout", Endless())
    assert len(str(tanh(prints))) < 1000


@pytest.mark.parametrize("name", JUNK)
@pytest.mark.filterwarnings("ignore:.*(quantized tensor creation|nested tensors).*:UserWarning")
def test_junk_is_never_right(name):
    # Mistake caught: junk for a function, or from one, raises or is taken for a gradient.
    assert tanh(JUNK[name]()).outcome == "invalid"
    assert tanh(lambda u, x: JUNK[name]()).outcome in {"invalid", "wrong"}
    pair = {"a": ("N",), "b": ("N",)}
    both = checks.rule("6.2", lambda u, a, b: (u, JUNK[name]()), of=torch.add, shapes=pair)
    assert both.outcome in {"invalid", "wrong"}


@pytest.mark.parametrize("blank", BLANKS)
def test_a_blank_is_unanswered(blank):
    # Mistake caught: an untouched notebook is told that it is wrong.
    assert tanh(BLANKS[blank]()).outcome == "unanswered"
    assert tanh(lambda u, x: BLANKS[blank]()).outcome == "unanswered"


def test_a_function_that_is_not_finished_is_unanswered():
    # Mistake caught: a stub is called wrong, or its `...` is called an error of the learner's.
    def computes_with_it(u, x):
        mask = ...
        return u * mask

    def asks_it(u, x):
        return (...).sum()

    def hands_it_on(u, x):
        return torch.matmul(u, ...)

    for stub in (computes_with_it, asks_it, hands_it_on):
        assert tanh(stub).outcome == "unanswered", tanh(stub)

    def half(u, X, W, b):
        dX = dW = ...
        return dX, dW, u.sum(0)

    verdict = checks.rule("6.2", half, of=linear, shapes=SHAPES[linear])
    assert (
        verdict.outcome == "unanswered" and "`X`, `W`" in str(verdict) and "`b`" not in str(verdict)
    )

    def whole(u, X, W, b):
        dX = dW = db = ...
        return dX, dW, db

    assert checks.rule("6.2", whole, of=linear, shapes=SHAPES[linear]).outcome == "unanswered"
    parts = {"add": right_tanh, "mul": ...}
    assert tanh(parts, call=lambda f, u, x: f["add"](u, x)).outcome == "unanswered"


def test_a_blank_in_strict_mode(monkeypatch):
    # Mistake caught: a run that must be strict takes a blank, or what is wrong, for done.
    monkeypatch.setenv("CHECKS_STRICT", "1")
    with pytest.raises(checks.CheckFailed) as failed:
        tanh(lambda u, x: ...)
    assert failed.value.verdict.outcome == "unanswered"
    with pytest.raises(checks.CheckFailed):
        tanh(lambda u, x: u)
    assert tanh(right_tanh)


# -- nothing is disturbed --------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["d two layers", "prints", "autograd where it is allowed"])
def test_a_right_function_disturbs_nothing(name):
    # Mistake caught: random states, the default dtype or the streams are not put back.
    streams = sys.stdout, sys.stderr
    engine = torch.autograd.Variable._execution_engine
    with nothing_disturbed():
        assert asked(RIGHT, name)
    assert (sys.stdout, sys.stderr) == streams
    assert torch.autograd.Variable._execution_engine is engine


def disturbs(u, x):
    torch.manual_seed(5)
    np.random.seed(5)
    torch.set_default_dtype(torch.float16)
    torch.set_grad_enabled(False)
    torch.rand(3)
    return u


@pytest.mark.usefixtures("patience")
@pytest.mark.parametrize("function", [disturbs, forever, WRONG["by backward"][0]])
def test_a_wrong_function_disturbs_nothing(function):
    # Mistake caught: what a learner's function switches stays switched.
    leaf = torch.ones(3, requires_grad=True)
    (leaf * 2).sum().backward()
    streams = sys.stdout, sys.stderr
    with nothing_disturbed(leaf):
        assert not tanh(function)
    assert (sys.stdout, sys.stderr) == streams


def test_it_works_where_the_notebook_tracks_nothing():
    # Mistake caught: within `no_grad`, or with another default dtype, right functions fail.
    with torch.no_grad():
        assert tanh(right_tanh)
    with torch.inference_mode():
        assert tanh(right_tanh)
    torch.set_default_dtype(torch.float64)
    try:
        assert tanh(right_tanh)
    finally:
        torch.set_default_dtype(torch.float32)


def test_training_elsewhere_is_not_the_learner_s_autograd():
    # Mistake caught: a backward pass in another thread of the notebook is held against the answer.
    stop = threading.Event()

    def train():
        w = torch.ones(2, requires_grad=True)
        while not stop.is_set():
            (w * w).sum().backward()

    thread = threading.Thread(target=train)
    thread.start()
    try:
        assert tanh(right_tanh)
    finally:
        stop.set()
        thread.join()


CELLS = [
    "import torch, checks\nfrom IPython.display import display",
    """
    def noisy(upstream, x):
        print("called")
        display(x)
        return upstream * (1 - torch.tanh(x) ** 2)
    checks.rule("6.2", noisy, of=torch.tanh, shapes={"x": ("N",)})
    """,
    """
    def raises(upstream, x):

        return upstream[5] * x
    checks.rule("6.3", raises, of=torch.tanh, shapes={"x": ("N",)})
    """,
    "print('after'); display('shown')",
]


def test_in_a_kernel(tmp_path):
    # Mistake caught: in Jupyter, output of the function or of Hypothesis lies around the verdict,
    # or the line of an error is not the one in its cell.
    cells = [nbformat.v4.new_code_cell(textwrap.dedent(cell).strip()) for cell in CELLS]
    notebook = nbformat.v4.new_notebook(cells=cells)
    nbclient.NotebookClient(
        notebook, timeout=60, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    _, first, second, last = [cell.outputs for cell in notebook.cells]
    for outputs, outcome in ((first, "correct"), (second, "invalid")):
        assert [output.output_type for output in outputs] == ["execute_result"]
        assert outputs[0].metadata["checks"]["outcome"] == outcome
    text = second[0].data["text/plain"]
    assert "in `raises`, line 3 of its cell: `return upstream[5] * x`" in text
    assert [output.output_type for output in last] == ["stream", "display_data"]
    assert list(tmp_path.iterdir()) == []


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
        assert (X != 0).all() and (u != 0).all() and u.shape == X.shape
        assert (y >= 0).all() and (y < X.shape[1]).all()
        assert (p > 0).all() and (p < 1).all() and -2 < q < -1
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
