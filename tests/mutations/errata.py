"""The wrong lines of code of the original notebooks, put back into the lessons that mend them.

Lesson 99 counts all mistakes of the originals; here stand those that are code, or a result that
was typed behind code. Each is put back in the two ways in which that happens:

- into the source, and the lesson is built anew. Either the build refuses it, because a cell fails
  or a check is not content; or the tests do, which know what the lesson must show (`test_errata`),
  and that two runs must show the same (nbval);
- into the notebook itself, whose stored outputs stay as they are: nbval sees another output; or,
  where an answer is blank and nothing can differ, `checks build --check` sees another source.
"""

from __future__ import annotations

from dataclasses import dataclass

ONE, TWO, THREE, FOUR, FIVE = (
    "01_autograd",
    "02_vector_jacobian_product",
    "03_stopping_tracking",
    "04_accumulating_and_zeroing",
    "05_backpropagation",
)


@dataclass(frozen=True)
class Erratum:
    """A mistake: its number in lesson 99, and what it makes of a piece of a lesson's code."""

    number: str
    says: str
    lesson: str
    sound: str
    wrong: str

    @property
    def name(self) -> str:
        """For the table, and for the file of results."""
        return f"No. {self.number}: {self.says}"

    @property
    def source(self) -> str:
        """The lesson's source."""
        return f"notebooks/source/{self.lesson}.md"

    @property
    def notebook(self) -> str:
        """The notebook that the learner gets."""
        return f"notebooks/{self.lesson}.ipynb"


ERRATA = [
    Erratum("1", "torch is used before it is imported", ONE,
            "import torch\n\nimport checks\n", "import checks\n"),
    Erratum("2", "`Print(x)`", ONE,
            'print("tracked:    ", x)', 'Print("tracked:    ", x)'),
    Erratum("2b", "`Print(y)`", ONE,
            "print(y)\nprint(\"y was made by:\"", "Print(y)\nprint(\"y was made by:\""),
    Erratum("3", "`z.mean` is not called", ONE,
            'm = z.mean()\nprint("y =", y)', 'm = z.mean\nprint("y =", y)'),
    Erratum("4", "the mean takes the name of what it is the mean of", ONE,
            'm = z.mean()\nprint("y =", y)', 'z = m = z.mean()\nprint("y =", y)'),
    Erratum("5", "the first number of y with a minus", ONE,
            "y1_by_hand = [1.6828, 2.3467, 2.6648]", "y1_by_hand = [-1.6828, 2.3467, 2.6648]"),
    Erratum("6", "a gradient that belongs to another x", ONE,
            "dm_dy = dm_dz * 4 * torch.tensor([1.6828, 2.3467, 2.6648])",
            "dm_dy = torch.tensor([0.0160, 3.3650, 4.5153])"),
    Erratum("7", "random numbers without a seed", ONE,
            "numbers = [-0.3172, 0.3467, 0.6648]\n", "numbers = torch.randn(3).tolist()\n"),
    Erratum("8", "the two tensors that are compared are drawn twice", ONE,
            "x = torch.tensor(numbers)\nprint(\"not tracked:\"",
            "x = torch.randn(3)\nprint(\"not tracked:\""),
    Erratum("20", "backward() on five numbers, without v", TWO,
            'z.backward(v)\nprint("after z.backward(v):',
            'z.backward()\nprint("after z.backward(v):'),
    Erratum("21", "`dtpye`", TWO,
            "v = torch.tensor([0.1, 1.0, 0.001, 0.1, 1.0])\nz.backward(v)",
            "v = torch.tensor([0.1, 1.0, 0.001, 0.1, 1.0], dtpye=torch.float32)\nz.backward(v)"),
    Erratum("22", "a v of three entries for five outputs", TWO,
            "v = torch.tensor([0.1, 1.0, 0.001, 0.1, 1.0])\nz.backward(v)",
            "v = torch.tensor([0.1, 1.0, 0.001])\nz.backward(v)"),
    Erratum("16", "J v in the place of Jᵀv", TWO,
            "draw_matrix(panel, J.T @ v, first_row", "draw_matrix(panel, J @ v, first_row"),
    Erratum("24", "backward() a second time through one graph", ONE,
            "m.backward(retain_graph=True)\n", "m.backward()\n"),
    Erratum("25", "detach() is shown on an x that was switched off before", THREE,
            "x = torch.ones(5, requires_grad=True)\nd = x.detach()\n\nprint(\"d:    \"",
            "x.requires_grad_(False)\nd = x.detach()\n\nprint(\"d:    \""),
    Erratum("25b", "no_grad() is shown on an x that was switched off before", THREE,
            "x = torch.ones(5, requires_grad=True)\n\nwith torch.no_grad():\n    inside",
            "x.requires_grad_(False)\n\nwith torch.no_grad():\n    inside"),
    Erratum("25c", "no contrast: the line outside of no_grad() is left out", THREE,
            'outside = x + 2\n\nprint("inside: ", inside)\nprint("outside:", outside)\n',
            'print("inside: ", inside)\n'),
    Erratum("27", "detach() alone, for a copy", THREE,
            'c = x.detach().clone()\nc[0] = 100\n\nprint("c:", c)',
            'c = x.detach()\nc[0] = 100\n\nprint("c:", c)'),
    Erratum("28", "a tensor that is no leaf is switched off", THREE,
            "x.requires_grad_(False)\nafter = x + 2\n",
            "before.requires_grad_(False)\nafter = x + 2\n"),
    Erratum("29", "a `with` and nothing below it", THREE,
            "with torch.no_grad():\n    inside = x + 2\n", "with torch.no_grad():\n"),
    Erratum("34", "`requires_grad=true`, in the loops", FOUR,
            "weights = torch.ones(4, requires_grad=True)  # fresh weights, with",
            "weights = torch.ones(4, requires_grad=true)  # fresh weights, with"),
    Erratum("34b", "`requires_grad=true`, before the optimizer", FOUR,
            "weights = torch.ones(4, requires_grad=True)\noptimizer = torch.optim.SGD([weights], "
            "lr=0.01)\n\nfor step",
            "weights = torch.ones(4, requires_grad=true)\noptimizer = torch.optim.SGD([weights], "
            "lr=0.01)\n\nfor step"),
    Erratum("35", "one, two and three epochs with the same weights", FOUR,
            "for epochs in (1, 2, 3):\n    weights = torch.ones(4, requires_grad=True)  # fresh "
            "weights, with no gradient yet\n",
            "weights = torch.ones(4, requires_grad=True)\nfor epochs in (1, 2, 3):\n"),
    Erratum("36", "the loop that zeroes goes on with the weights of the loops before", FOUR,
            "weights = torch.ones(4, requires_grad=True)  # fresh weights again\n\n", ""),
    Erratum("38", "loops that train nothing: no weight is changed", FOUR,
            "        with torch.no_grad():\n            w -= lr * w.grad\n        if zeroing:",
            "        if zeroing:"),
    Erratum("39", "`toch`", FOUR,
            "optimizer = torch.optim.SGD([weights], lr=0.01)\n\nfor step",
            "optimizer = toch.optim.SGD([weights], lr=0.01)\n\nfor step"),
    Erratum("40", "a tensor in the place of a list of tensors", FOUR,
            "optimizer = torch.optim.SGD([weights], lr=0.01)\n\nfor step",
            "optimizer = torch.optim.SGD(weights, lr=0.01)\n\nfor step"),
    Erratum("41", "a step with no backward pass before it", FOUR,
            "    output.backward()  # 3. backward pass: fill in .grad\n", ""),
    Erratum("42", "zero_() after zero_grad()", FOUR,
            'optimizer.zero_grad()\nprint("zero_grad():                  ", weights.grad)',
            'optimizer.zero_grad()\nweights.grad.zero_()\n'
            'print("zero_grad():                  ", weights.grad)'),
    Erratum("58", "1² in the place of (-1)²: the residual with the other sign", FIVE,
            "S = y_hat - y\nloss = S**2\n\ndS, dy_hat, dw",
            "S = y - y_hat\nloss = S**2\n\ndS, dy_hat, dw"),
    Erratum("59", "numbers in an exercise that hide mistakes: w = x = 1", FIVE,
            "x4, y4 = torch.tensor(4.0), torch.tensor(17.0)\nw4 = torch.tensor(3.0,",
            "x4, y4 = torch.tensor(1.0), torch.tensor(2.0)\nw4 = torch.tensor(1.0,"),
    Erratum("60", "of three gradients two are listed", FIVE,
            'print("dloss/dS     =", dS.item())\n', ""),
    Erratum("69", "two assignments in one line", FIVE,
            "x = torch.tensor(1.0)\ny = torch.tensor(2.0)\nw = torch.tensor(1.0, "
            "requires_grad=True)\n\ny_hat",
            "x = torch.tensor(1.0) y = torch.tensor(2.0)\nw = torch.tensor(1.0, "
            "requires_grad=True)\n\ny_hat"),
    Erratum("70", "one step, and the loop is left out", FIVE,
            "for step in range(1, 401):", "for step in range(1, 2):"),
    Erratum("70b", "the gradient is not zeroed in the loop", FIVE,
            "    w.grad.zero_()  # zero, for the next step\n", ""),
]  # fmt: skip
