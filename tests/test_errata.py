"""What the lessons show where the original notebooks were wrong: in their stored outputs.

nbval compares a lesson with what is stored, and a new build stores anew. So a demonstration that no
longer shows what it is there for would pass, once built. Here stand the numbers themselves.
"""

import re
from functools import cache
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parents[1]
LESSONS = {path.name[:2]: path for path in (ROOT / "notebooks").glob("[0-9]*.ipynb")}


@cache
def cells(lesson: str) -> list[tuple[str, str]]:
    """The code of each cell that is run, and all that it prints."""
    found = []
    for cell in nbformat.read(LESSONS[lesson], as_version=4).cells:
        if cell.cell_type == "code":
            texts = [output.get("text", "") for output in cell.outputs]
            found.append((cell.source, "".join(texts)))
    return found


def shown(lesson: str, code: str) -> str:
    """What the one cell with this code prints."""
    (output,) = [output for source, output in cells(lesson) if code in source]
    return output


def numbers(text: str) -> list[float]:
    return [float(number) for number in re.findall(r"-?\d+\.\d*", text)]


def test_the_values_belong_to_the_x_that_is_printed() -> None:
    # The original shows y, z, their mean and x.grad of four different x.
    output = shown("01", 'print("shape of m:"')
    y, z, m = (line for line in output.splitlines() if line.startswith(("y =", "z =", "m =")))
    assert numbers(y)[:3] == [1.6828, 2.3467, 2.6648]
    assert numbers(z)[:3] == [5.6636, 11.0140, 14.2023]
    assert numbers(m)[:1] == [10.2933]
    assert "shape of m: ()" in output


def test_the_gradient_by_hand_is_autograds() -> None:
    # The original's gradient belongs to another x than the one it prints.
    by_hand, autograd = shown("01", "dm_dy = ").splitlines()
    assert numbers(by_hand) == numbers(autograd) == [2.2437, 3.1289, 3.5531]


def test_tracked_and_not_tracked_are_the_same_numbers() -> None:
    # The original draws anew in between, so one compares different numbers.
    plain, tracked = shown("01", 'print("not tracked:"').splitlines()
    assert numbers(plain) == numbers(tracked) == [-0.3172, 0.3467, 0.6648]
    assert "requires_grad=True" in tracked
    assert "requires_grad" not in plain


def test_five_weights_for_five_outputs() -> None:
    # The original's v has three entries.
    output = shown("02", 'print("after z.backward(v):')
    assert "[1.2, 12.0, 0.012, 1.2, 12.0]" in output


def test_each_way_to_stop_shows_what_it_stops() -> None:
    # In the original x is switched off at the first way, and the other two show nothing.
    before, after = shown("03", "before = x + 2").splitlines()
    assert "AddBackward0" in before
    assert "grad_fn" not in after
    detached, through_d, through_x = shown("03", 'print("d + 2:"').splitlines()
    assert "grad" not in detached + through_d
    assert "AddBackward0" in through_x
    inside, outside, x = shown("03", 'print("outside:", outside)').splitlines()
    assert "grad" not in inside
    assert "AddBackward0" in outside
    assert "requires_grad=True" in x


def test_a_copy_is_a_copy() -> None:
    # The original says that detach() alone makes new values.
    shared = shown("03", "d = x.detach()\nd[0] = 100").splitlines()
    copied = shown("03", "c = x.detach().clone()\nc[0] = 100").splitlines()
    assert [numbers(line)[0] for line in shared] == [100, 100]
    assert [numbers(line)[0] for line in copied] == [100, 1]


def test_epochs_begin_with_fresh_weights() -> None:
    # In the original the loops go on with each other's sums.
    output = shown("04", 'print("number of epochs:"')
    assert numbers(output)[::4] == [3, 3, 6, 3, 6, 9]


def test_the_loop_that_zeroes_begins_with_nothing() -> None:
    # In the original it begins with 21.
    assert numbers(shown("04", '"after zero_():   "'))[::4] == [3, 0, 3, 0]


def test_a_step_moves_the_weights() -> None:
    # The original takes a step without a backward pass, and its loops change no weight.
    assert numbers(shown("04", "# 4. step"))[::4] == [0.97, 0.94]
    walked = shown("04", "last = descend(steps=1000")
    assert "from 4.0 to 4.0" in walked.splitlines()[0]


def test_the_walk_through_shows_all_its_gradients() -> None:
    # Of three gradients the original lists two. The residual is -1, and its square 1.
    assert numbers(shown("05", 'print("dloss/dS     ="')) == [-2, -2, -2]
    assert numbers(shown("05", 'print("loss =", loss.item())')) == [1, -2]


def test_the_loop_goes_on_to_the_end() -> None:
    # The original stops after the first step.
    steps = dict(
        re.findall(r"after step +(\d+): w = ([\d.]+)", shown("05", "for step in range(1, 401)"))
    )
    assert steps["1"] == "1.0200"
    assert steps["400"] == "1.9997"
