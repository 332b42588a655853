"""The drawn graph: its numbers are autograd's, and nothing in it is invented."""

import _thread
import re
import subprocess
import sys
import time
from types import MappingProxyType

import numpy as np
import pytest
import torch
from junk import LyingTensor
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import checkpoint

import checks
from checks import truth
from checks.backward import is_leaf
from checks.diagram import shown
from checks.drawing import Drawing
from checks.graph import Names
from checks.illustration import wrong_step


class Cubed(torch.autograd.Function):
    """A custom Function: its node is not one of PyTorch's own."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx, upstream):
        (x,) = ctx.saved_tensors
        return 3 * x**2 * upstream


def leaf(*numbers: float) -> Tensor:
    """A leaf: one number, or a vector of several."""
    value = numbers[0] if len(numbers) == 1 else list(numbers)
    return torch.tensor(value, requires_grad=True)


def shared_node() -> dict[str, Tensor]:
    a = leaf(1.7)
    b = a * 3
    return {"a": a, "b": b, "loss": b * b}


def skip_connection() -> dict[str, Tensor]:
    a = leaf(0.4)
    b = torch.tanh(a)
    return {"a": a, "b": b, "loss": b**2 + a}


def broadcast() -> dict[str, Tensor]:
    w, b = leaf(1.5), leaf(0.25)
    y_hat = w * torch.tensor([1.0, 2.5, 4.0]) + b
    return {"w": w, "b": b, "y_hat": y_hat, "loss": (y_hat**2).mean()}


def matmul() -> dict[str, Tensor]:
    w = torch.arange(6.0).reshape(2, 3).requires_grad_()
    p = torch.tensor([[1.0, -2.0], [0.5, 3.0]]) @ w
    return {"w": w, "p": p, "loss": (p**2).sum()}


def in_place() -> dict[str, Tensor]:
    a = leaf(1.0, -2.0, 4.0)
    b = a * 2
    b.add_(1)
    return {"a": a, "b": b, "loss": (b**2).sum()}


def custom_function() -> dict[str, Tensor]:
    a = leaf(1.3)
    b = Cubed.apply(a)
    return {"a": a, "b": b, "loss": b * 2}


GRAPHS = [shared_node, skip_connection, broadcast, matmul, in_place, custom_function]


def lines(drawing: Drawing) -> dict[str, str]:
    """The lines of a drawing's text, by the name that they begin with."""
    found = (re.match(r"\s*((\w+) = .*)", line) for line in drawing.text.splitlines()[1:])
    return {match[2]: match[1] for match in found if match}


@pytest.mark.parametrize("graph", GRAPHS)
def test_values_and_gradients_are_autograds(graph):
    # A gradient drawn at the wrong wire, one path counted instead of two, a value before an
    # in-place change: any of them puts another number beside a name.
    tensors = graph()
    named = {name: tensor for name, tensor in tensors.items() if name != "loss"}
    true = torch.autograd.grad(tensors["loss"], list(named.values()), retain_graph=True)
    drawing = checks.draw(tensors["loss"], names=tensors)
    rows = lines(drawing)
    picture = drawing._repr_mimebundle_()["text/html"]
    for (name, tensor), gradient in zip(named.items(), true, strict=True):
        assert rows[name].endswith(f"grad {shown(gradient)}"), rows[name]
        assert shown(tensor) in rows[name]
        assert f"grad {shown(gradient)}</text>" in picture
    assert rows["loss"].endswith("grad 1")


def test_a_shared_tensor_is_drawn_once():
    # Drawing the graph as a tree would show `b` twice, each with half of its gradient.
    tensors = shared_node()
    picture = checks.draw(tensors["loss"], names=tensors)._repr_mimebundle_()["text/html"]
    assert len(re.findall(r">b = 5\.1</text>", picture)) == 1


def test_a_function_is_recorded_with_all_its_values():
    # A live graph does not keep the operands of a sum; a recording has seen them.
    y = torch.tensor(2.0)
    drawing = checks.draw(lambda w: ((w * 3 + 1) - y) ** 2, wrt={"w": leaf(1.5)}, names={"y": y})
    assert "w * 3 = 4.5" in drawing.text
    assert "y = 2 (constant)" in drawing.text
    assert "3.5" in drawing.text


def test_what_is_not_known_is_left_out():
    # The operand of a chain of sums is nowhere saved: it must not be guessed.
    a = leaf(1.0, 2.0)
    loss = torch.nn.functional.gelu(a).cumsum(0).sum()
    row = next(line for line in checks.draw(loss).text.splitlines() if "cumsum" in line.lower())
    assert "(2,)" in row
    assert "[" not in row.split("grad")[0]


def test_a_graph_without_a_scalar_result_is_drawn_without_gradients():
    # Putting ones in place of the missing v would show gradients that nobody asked for.
    a = leaf(1.0, 2.0, 4.0)
    b = a * 3
    assert "grad" not in checks.draw(b, names={"b": b}).text
    weighted = checks.draw(b, names={"b": b}, v=torch.tensor([1.0, 0.5, 0.25])).text
    assert "grad [3, 1.5, 0.75]" in weighted


def test_a_freed_graph_still_shows_its_forward_pass():
    w = leaf(1.5)
    y_hat = w * 3
    loss = y_hat**2
    loss.backward()
    text = checks.draw(loss, names={"w": w, "y_hat": y_hat, "loss": loss}).text
    assert "y_hat" in text
    assert "4.5" in text
    assert "grad" not in text


def test_a_large_graph_is_folded_and_its_ends_are_right():
    # 200 boxes in a row are unreadable; and a fold must not lose the gradients beside it.
    w = leaf(1.2)
    h = w
    for _ in range(100):
        h = torch.sin(h) * 1.1
    (true,) = torch.autograd.grad(h, w, retain_graph=True)
    drawing = checks.draw(h, names={"w": w, "h": h})
    assert "184 steps" in drawing.text
    assert drawing.diagram is not None
    assert len(drawing.diagram.steps) <= 30
    assert lines(drawing)["w"].endswith(f"grad {shown(true)}")
    assert "<svg" in drawing._repr_mimebundle_()["text/html"]


def test_leaves_of_a_folded_part_are_folded_too():
    # 60 layers with a weight each: 60 leaves would be as unreadable as 60 steps.
    h = torch.ones(3)
    weights = [torch.full((3,), 0.9 + k / 100, requires_grad=True) for k in range(60)]
    for weight in weights:
        h = torch.tanh(h * weight)
    drawing = checks.draw(h.sum())
    assert "leaves" in drawing.text
    assert drawing.diagram is not None
    assert len(drawing.diagram.wires) < 60


def test_drawing_disturbs_nothing():
    # A drawing that called backward() would fill `.grad` and free the graph.
    tensors = skip_connection()
    fired = []
    tensors["b"].register_hook(fired.append)
    tensors["b"].retain_grad()
    checks.draw(tensors["loss"])
    checks.step(tensors["loss"])
    assert fired == []
    assert tensors["a"].grad is None
    assert tensors["b"].grad is None
    tensors["loss"].backward()  # the graph is still there


@pytest.mark.parametrize("junk", [..., None, 3.0, "loss", torch.ones(3), [1.0], lambda: 3])
def test_junk_gets_a_sentence(junk):
    for verb in (checks.draw, checks.step):
        shown_text = str(verb(junk))
        assert shown_text.endswith(".")
        assert "Traceback" not in shown_text


def sentence(shown_object) -> str:
    """What stands in the place of a drawing or a walk: one sentence or two, also in HTML."""
    text = str(shown_object)
    assert text.endswith(".") and "Traceback" not in text and "\n" not in text
    assert text.split("`")[0] in shown_object._repr_mimebundle_()["text/html"]
    return text


@pytest.mark.parametrize("junk", [3, ..., "w", {1}, [leaf(1.5)], leaf(1.0, 2.0)], ids=str)
def test_names_that_are_no_dict_get_a_sentence(junk):
    # Mistake caught: `draw(loss, wrt=w)` is a traceback about the truth value of a tensor.
    loss = leaf(1.5) ** 2
    for verb in (checks.draw, checks.step):
        assert 'a dict such as {"w": w}' in sentence(verb(loss, wrt=junk))
        assert 'a dict such as {"w": w}' in sentence(verb(loss, names=junk))
    assert "loss" in str(checks.draw(loss, names=MappingProxyType({"loss": loss})))


class Bad(torch.autograd.Function):
    """Its backward does what it is told."""

    @staticmethod
    def forward(ctx, x, does):
        ctx.does = does
        return x * 2

    @staticmethod
    def backward(ctx, upstream):
        return ctx.does(upstream), None


def raising(error):
    def does(_):
        raise error

    return does


@pytest.mark.parametrize(
    "does, says",
    [
        (raising(NameError("no such name")), "NameError"),
        (raising(AssertionError()), "AssertionError"),
        (raising(TypeError("t")), "TypeError"),
        (raising(StopIteration()), "StopIteration"),
        (lambda _: 3, "an `int`"),
        (lambda _: ..., "an `ellipsis`"),
    ],
)
def test_a_backward_that_fails_leaves_the_forward_pass(does, says):
    # Mistake caught: whatever is no RuntimeError goes through; or the reason is said to be another.
    loss = Bad.apply(leaf(1.5), does) * 3
    assert "grad" not in str(checks.draw(loss))
    assert "The graph of loss" in str(checks.draw(loss))
    assert says in sentence(checks.step(loss))


def test_a_backward_that_exits_gets_a_sentence():
    # Mistake caught: the kernel ends.
    loss = Bad.apply(leaf(1.5), raising(SystemExit(3)))
    assert "SystemExit" in sentence(checks.draw(loss))
    assert "SystemExit" in sentence(checks.step(loss))


def test_a_very_large_graph_gets_a_sentence():
    # Mistake caught: a traceback; or all nodes are looked at, and the kernel dies with the graph.
    h = leaf(1.5)
    for _ in range(50_000):
        h = h + 1
    assert "too large" in sentence(checks.draw(h))
    assert "too large" in sentence(checks.step(h))


def test_why_there_is_no_backward_pass_is_said():
    # Mistake caught: "the graph was freed", whatever the trouble is.
    w = leaf(1.0, 2.0)
    loss = (w * w).sum()
    with torch.no_grad():
        w.mul_(2)
    assert "changed in place" in sentence(checks.step(loss))
    assert "`v` is missing" in sentence(checks.step(w * 2))
    loss = (w * w).sum()
    loss.backward()
    assert "freed" in sentence(checks.step(loss))
    loss = checkpoint(lambda x: (x * 2).sum(), w, use_reentrant=True)
    assert "cannot be checked step by step" in sentence(checks.step(loss))


class RefusesFunctions(TorchFunctionMode):
    def __torch_function__(self, func, types, args=(), kwargs=None):
        raise ValueError("not in this mode")


class RefusesOperations(TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        raise ValueError("not in this mode")


@pytest.mark.parametrize("mode", [RefusesFunctions, RefusesOperations])
def test_a_mode_that_raises_is_no_traceback(mode):
    # Mistake caught: what the notebook has switched on goes through.
    loss = leaf(1.5) ** 2
    with mode():
        found = checks.draw(loss), checks.step(loss)
    assert all("Traceback" not in str(one) for one in found)


@pytest.mark.filterwarnings("ignore:.*nested tensors.*:UserWarning")
def test_odd_tensors_are_drawn_or_get_a_sentence():
    # Mistake caught: numbers are asked of tensors that have none, or not in a row.
    table = torch.nn.Embedding(10, 4, sparse=True)
    assert "grad (10, 4) [0, 0, …]" in str(checks.draw(table(torch.tensor([1, 3])).sum()))
    meta = torch.ones(2, device="meta", requires_grad=True)
    assert "grad (2,)" in str(checks.draw((meta * 2).sum()))
    assert "Step 2 of 2" in str(checks.step((meta * 2).sum()))
    nested = torch.nested.nested_tensor([torch.ones(2), torch.ones(3)], requires_grad=True)
    lying = torch.ones(3).as_subclass(LyingTensor)
    for odd in (nested * 2, lying):
        for verb in (checks.draw, checks.step):
            assert "Traceback" not in str(verb(odd))


def test_a_thread_that_begins_with_the_call_has_no_cell(capfd):
    # Mistake caught: the frame of the cell is looked for where there is none.
    loss = leaf(1.5) ** 2
    for verb in (checks.draw, checks.step):
        _thread.start_new_thread(verb, (loss,))
    time.sleep(0.5)
    assert capfd.readouterr().err == ""


def test_without_the_drawing_library_the_text_stands_in_its_place():
    # On a platform without a wheel of pygraphviz nothing else may break.
    script = (
        "import sys; sys.modules['pygraphviz'] = None\n"
        "import torch, checks\n"
        "w = torch.tensor(1.5, requires_grad=True)\n"
        "loss = (w * 3 - 2) ** 2\n"
        "print(checks.draw(loss)._repr_mimebundle_()['text/html'])\n"
        "print(checks.step(loss)._repr_mimebundle_()['text/html'])\n"
        "print(checks.gradient('1', 7.5, of=loss, wrt=w)._repr_mimebundle_()[0]['text/html'])\n"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("<pre>") >= 3
    assert "<svg" not in result.stdout


def test_nothing_is_written_to_the_error_stream():
    # Graphviz's libraries warn of missing fonts there, and a notebook shows it.
    script = (
        "import torch, checks\n"
        "w = torch.tensor(1.5, requires_grad=True)\n"
        "checks.draw(w * 3)._repr_mimebundle_()\n"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert result.stderr == ""


def test_the_same_graph_gives_the_same_bytes():
    # nbval compares pictures: ids, dict order or addresses in them would fail at random.
    pictures = {
        checks.draw(skip_connection()["loss"])._repr_mimebundle_()["text/html"] for _ in range(3)
    }
    assert len(pictures) == 1


# -- the walk --------------------------------------------------------------------------------------


def test_each_step_says_what_arrives_and_what_is_handed_on():
    w, x, y = leaf(1.5), torch.tensor(3.0), torch.tensor(2.0)
    y_hat = w * x
    s = y_hat - y
    loss = s**2
    text = str(checks.step(loss, names={"y": y}))
    assert "Step 1 of 3: loss = s ** 2" in text
    assert "Hands on to `s`: 1 × 5 = 5 (local gradient: 2 · s)." in text
    assert "Step 2 of 3: s = y_hat - y" in text
    assert "Hands on to `w`: 5 × 3 = 15 (local gradient: x)." in text


def test_where_paths_meet_the_parts_are_added_up():
    # Showing the last contribution alone is the very mistake that the walk should cure.
    a = leaf(2.0)
    b = a * 3
    loss = b**2 + b
    text = str(checks.step(loss))
    assert "Arrives (upstream gradient): 13. 2 paths meet here: 1 + 12." in text
    assert "13 × 3 = 39" in text


def test_a_step_shows_no_gradient_that_is_not_computed_yet():
    a = leaf(2.0)
    b = a * 3
    loss = b**2 + b
    walk = checks.step(loss)
    assert "grad 13" not in walk.panels[0].graph.text
    assert "grad 13" in walk.panels[1].graph.text
    assert "grad 39" in walk.panels[2].graph.text


def test_two_walks_on_a_page_do_not_share_their_buttons():
    # Radio buttons of one name are one group: a step in one walk would close the other.
    loss = leaf(2.0) * 3
    pages = [checks.step(loss)._repr_mimebundle_()["text/html"] for _ in range(2)]
    names = [set(re.findall(r'name="([^"]+)"', page)) for page in pages]
    assert not names[0] & names[1]


def sines(number: int) -> Tensor:
    h = leaf(1.2)
    for _ in range(number):
        h = torch.sin(h)
    return h


@pytest.mark.parametrize("number", [60, 500])
def test_a_long_walk_is_cut_short_and_says_so(number):
    # Mistake caught: half a minute and megabytes for two hundred steps, an error for five hundred.
    walk = checks.step(sines(number))
    numbers = [panel.number for panel in walk.panels]
    assert numbers == [*range(1, 9), *range(number - 3, number + 1)]
    assert f"12 of its {number} steps ({number - 12} in the middle left out)" in walk.title
    for panel in walk.panels:  # the step that it speaks of is in its picture
        (current,) = (step for step in panel.graph.steps if step.marked)
        assert current.key == f"n{number + 1 - panel.number}"
    assert walk.panels[-1].graph.text.count("grad") > walk.panels[0].graph.text.count("grad")
    page = walk._repr_mimebundle_()["text/html"]
    assert page.count("<svg") == 12 and len(page) < 1_000_000


def test_a_picture_that_cannot_be_drawn_leaves_the_text(monkeypatch):
    # Mistake caught: Graphviz refuses a text of 16384 characters, and the cell shows a traceback.
    loss = leaf(1.5) * 3
    assert "<svg" in checks.draw(loss, names={"n" * 9000: loss})._repr_mimebundle_()["text/html"]
    for shown_object in (checks.draw(loss, names={"n" * 40_000: loss}), checks.draw(loss)):
        assert shown_object._repr_mimebundle_()["text/html"]
    monkeypatch.setattr("checks.drawing.dot", raising(ValueError("no")))
    for shown_object in (checks.draw(loss), checks.step(loss)):
        assert "<pre>" in shown_object._repr_mimebundle_()["text/html"]


# -- the picture beside a wrong answer -------------------------------------------------------------


def picture_of(verdict: checks.Verdict) -> str:
    return verdict._repr_mimebundle_()[0]["text/html"] + str(verdict)


def test_a_wrong_answer_shows_the_step_and_gives_nothing_away():
    w, x, y = leaf(1.2345), torch.tensor(3.1234), torch.tensor(2.0101)
    y_hat = w * x
    s = y_hat - y
    loss = s**2
    (true,) = torch.autograd.grad(loss, w, retain_graph=True)
    page = picture_of(checks.gradient("5.4", true / 2, of=loss, wrt=w))
    assert "look here" in page
    assert f"{true.item():.4g}" not in page
    # The gradients between the marked step and w are the learner's to find.
    (at_s,) = torch.autograd.grad(loss, s, retain_graph=True)
    assert f"{at_s.item():.4g}" not in page


def test_a_gradient_that_equals_the_one_asked_for_is_hidden():
    # The subtraction has the local gradient 1: what arrives there *is* the answer.
    w, y = leaf(1.2345), torch.tensor(7.0101)
    y_hat = w * 3.5
    s = y_hat - y
    loss = s**2
    (true,) = torch.autograd.grad(loss, y_hat, retain_graph=True)
    verdict = checks.gradient("5.4", -true, of=loss, wrt=y_hat)
    assert verdict.picture is not None
    assert f"{abs(true.item()):.4g}" not in picture_of(verdict)


def test_an_open_entry_is_not_told_by_the_picture_of_another():
    w, x, y = leaf(1.2345), torch.tensor(3.1234), torch.tensor(2.0101)
    y_hat = w * x
    s = y_hat - y
    loss = s**2
    gradients = torch.autograd.grad(loss, [s, w], retain_graph=True)
    given = {"s": ..., "w": (gradients[0] * w).detach()}
    verdict = checks.gradient("5.4", given, of=loss, wrt={"s": s, "w": w})
    assert "look here" in picture_of(verdict)
    assert f"{gradients[0].item():.4g}" not in picture_of(verdict)


@pytest.mark.parametrize("graph", GRAPHS)
def test_no_wire_runs_through_the_words_that_point_at_a_step(graph):
    # Below the middle of a product, "look here" lay on the wire of the factor that is asked for.
    tensors = graph()
    wrt = {name: tensor for name, tensor in tensors.items() if name != "loss"}
    question = truth.ask(tensors["loss"], wrt)
    for node in question.nodes:
        if not is_leaf(node):
            page = wrong_step(question, Names(), (), [node], []).draw()
            found = re.search(r'<text x="([\d.]+)" y="([\d.]+)"[^>]*>. look here<', page)
            left, foot = float(found[1]), float(found[2])
            for bends in re.findall(r'<path d="M([^"]+)"', page):
                x, y = np.array([float(n) for n in re.findall(r"[-\d.]+", bends)]).reshape(-1, 2).T
                along = np.linspace(0, len(x) - 1, 200)
                x, y = (np.interp(along, range(len(x)), side) for side in (x, y))
                assert not ((left < x) & (x < left + 70) & (foot - 8 < y) & (y < foot)).any()
