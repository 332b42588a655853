"""A function that misbehaves is ended, and told what it did; nothing around it is disturbed."""

import _thread
import contextlib
import gc
import io
import random
import signal
import sys
import textwrap
import threading
import time

import nbclient
import nbformat
import numpy as np
import pytest
import torch
from backward_rules import RIGHT, SHAPES, WRONG, asked, linear, right_tanh, tanh
from junk import BLANKS, JUNK
from snapshot import nothing_disturbed

import checks
from checks import caged

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


WAKE = threading.Event()


def forever_asleep(u, x):
    WAKE.wait(120)


def sometimes_forever(u, x):
    while len(x) > 2:
        pass
    return right_tanh(u, x)


@pytest.mark.usefixtures("patience")
def test_what_is_returned_is_read_in_time():
    # Mistake caught: a number that takes forever to be read hangs the notebook.
    class Slow(float):
        def __float__(self):
            time.sleep(2)
            return 1.0

    verdict = tanh(lambda u, x: [Slow(1.0)] * len(x))
    assert verdict.outcome == "invalid" and "did not return" in str(verdict)
    for thread in [t for t in threading.enumerate() if t.name == "checks.rule"]:
        thread.join(9)


@pytest.mark.usefixtures("patience")
@pytest.mark.parametrize(
    "function", [forever, forever_and_stubborn, forever_asleep, sometimes_forever]
)
def test_a_function_that_never_returns_is_ended(function, monkeypatch):
    # Mistake caught: the notebook hangs, or the function goes on running behind it.
    if function is not forever_asleep:
        monkeypatch.setattr(caged, "_PATIENCE", 30.0)  # a busy machine needs longer to stop it
    verdict = tanh(function)
    assert verdict.outcome == "invalid" and "did not return" in str(verdict)
    waiting = [t for t in threading.enumerate() if t.name == "checks.rule"]
    assert len(waiting) == (function is forever_asleep)
    WAKE.set()
    for thread in waiting:  # the sleeper ends when it wakes
        thread.join(60)
        assert not thread.is_alive()
    WAKE.clear()


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
    # What a shell starts in the background is deaf to interrupts; a kernel never is.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    begun = threading.Event()

    def loudly_forever(u, x):
        begun.set()
        forever(u, x)

    def interrupt():
        begun.wait()
        _thread.interrupt_main()

    try:
        with nothing_disturbed(), pytest.raises(KeyboardInterrupt):
            threading.Thread(target=interrupt, daemon=True).start()
            tanh(loudly_forever)
    finally:
        signal.signal(signal.SIGINT, before)
    assert not [t for t in threading.enumerate() if t.name == "checks.rule"]
    assert tanh(right_tanh)


def test_a_slow_function_that_is_wrong_is_told_so(monkeypatch):
    # Mistake caught: after the first failure it is still refused for being slow.
    monkeypatch.setattr("checks.examine._BUDGET", 0.2)

    def slow(u, x):
        time.sleep(0.05)
        return 1.5 * right_tanh(u, x)

    assert tanh(slow).outcome == "wrong"


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


def test_to_the_function_all_is_as_usual():
    # Mistakes caught: what `write` returns, or what PyTorch's engine can be asked, is other inside;
    # the numbers that are drawn are others each time; the thread outlives the check, or keeps the
    # notebook's process from ending.
    drawn = []

    def looks(u, x):
        assert sys.stdout.write("three") == 5
        assert torch.autograd.Variable._execution_engine.is_checkpoint_valid()
        drawn[-1].append((random.random(), np.random.rand(), torch.rand(()).item()))
        assert threading.current_thread().daemon
        return right_tanh(u, x)

    for seed in range(5):
        random.seed(seed), np.random.seed(seed), torch.manual_seed(seed)
        drawn.append([])
        assert tanh(looks)
        assert [t for t in threading.enumerate() if t.name == "checks.rule"] == []
    assert all(numbers == drawn[0] for numbers in drawn)


def test_what_the_forward_function_prints_is_not_the_learner_s():
    # Mistake caught: the learner is told to have printed what the lesson's own function prints.
    def forward(x):
        print("forward")
        return torch.tanh(x)

    assert "print" not in str(tanh(right_tanh, of=forward))


@pytest.mark.parametrize("collects", [True, False])
def test_no_garbage_is_collected_while_frames_are_looked_at(monkeypatch, collects):
    # Mistake caught: on Python 3.11 the whole notebook hangs for ever; or a notebook that has
    # switched the collection off finds it on again.
    look, seen = sys._current_frames, []

    def looked():
        seen.append(gc.isenabled())
        return look()

    def slow(u, x):
        time.sleep(3 * caged._SLICE)
        return right_tanh(u, x)

    monkeypatch.setattr(sys, "_current_frames", looked)
    before = gc.isenabled()
    (gc.enable if collects else gc.disable)()
    try:
        with caged.Cage() as cage:
            (called,) = cage.call(slow, [(torch.ones(2), torch.zeros(2))])
        assert called.error is None
        assert gc.isenabled() == collects
    finally:
        (gc.enable if before else gc.disable)()
    assert seen and not any(seen)


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


def test_a_forgotten_branch_is_no_blank():
    # Mistake caught: what returns nothing for some inputs counts as not answered.
    def for_negative_only(u, x):
        if x < 0:
            return -u
        return None

    def for_several_only(u, x):
        return u * x.sign() if len(x) > 1 else None

    for function, shapes in ((for_negative_only, {"x": ()}), (for_several_only, {"x": ("N",)})):
        verdict = tanh(function, of=torch.abs, shapes=shapes)
        assert verdict.outcome == "invalid" and "returned nothing there" in str(verdict)


def test_a_function_that_never_returns_anything_is_told_so():
    # Mistake caught: it is told to replace a `...` that it does not contain.
    def no_return(u, x):
        right_tanh(u, x)

    verdict = tanh(no_return)
    assert verdict.outcome == "unanswered" and "is its `return` missing?" in str(verdict)


def unpacks(rule, u, x):
    (dx,) = rule(u, x)
    return dx


def test_what_the_helper_cannot_use_is_not_raised_by_the_function():
    # Mistake caught: "your function raised" is said of an error of the lesson's own helper.
    text = str(tanh(lambda u, x: 2.0, call=unpacks))
    assert "What your function returned could not be used" in text and "cannot unpack" in text
    assert "Your function raised" in str(tanh(lambda u, x: u[7], call=unpacks))
    assert tanh(lambda u, x: None, call=unpacks).outcome == "unanswered"
    assert tanh(lambda u, x: (right_tanh(u, x),), call=unpacks)


def test_an_error_of_its_own_about_an_ellipsis_is_an_error():
    # Mistake caught: the word alone, in the learner's own message, makes a stub of a function.
    def raises(u, x):
        raise ValueError("the ellipsis axis is missing")

    assert tanh(raises).outcome == "invalid"


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


def test_what_imports_a_module_is_not_stopped_halfway(tmp_path, monkeypatch):
    # Mistake caught: PyTorch imports SymPy, ten seconds on a slow machine, when autograd is first
    # handed an upstream gradient. Stopped there, the half module breaks the notebook; and stopped
    # right behind it, the function pays for what the import took.
    (tmp_path / "slow_to_import.py").write_text("import time\ntime.sleep(1.5)\nwhole = True\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("checks.caged.SECONDS", 1.0)

    def imports(u, x):
        if "slow_to_import" not in sys.modules:
            import slow_to_import

            assert slow_to_import.whole
            time.sleep(0.3)
        return right_tanh(u, x)

    assert tanh(imports)


def test_an_import_that_never_ends_is_ended(tmp_path, monkeypatch):
    # Mistake caught: what is granted to an import is granted for ever.
    (tmp_path / "never_imported.py").write_text("import time\nwhile True:\n    time.sleep(0.01)\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("checks.caged.SECONDS", 0.3)
    monkeypatch.setattr("checks.caged._LONGEST_IMPORT", 0.3)

    def imports(u, x):
        import never_imported

        return never_imported

    verdict = tanh(imports)
    assert verdict.outcome == "invalid" and "did not return" in str(verdict)


def test_a_function_that_fails_the_second_time_is_told_how():
    # Mistake caught: "it does not give the same" is all that is said of an error, or of a process
    # that had to be ended.
    calls = iter([1])

    def spent(u, x):
        next(calls)
        return right_tanh(u, x)

    text = str(tanh(spent))
    assert "The first time all went well." in text and "StopIteration" in text


def test_a_gradient_that_there_was_no_time_for_is_not_called_right(monkeypatch):
    # Mistake caught: a slow function, or a busy machine, earns half of the points.
    monkeypatch.setattr("checks.examine._SHRINKING", 0.0)
    bad = checks.rule(
        "6.2",
        lambda u, a, b: (-u * b, u * a if len(a) < 2 else 2 * u * a),
        of=torch.mul,
        shapes={"a": ("N",), "b": ("N",)},
    )
    assert {str(entry.outcome) for entry in bad.entries.values()} == {"wrong"}
