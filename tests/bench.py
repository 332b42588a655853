"""What things cost, for `make bench`: a small table. It asserts nothing: machines differ.

To add a row, write a function that returns rows and put it into `TABLES`. Each row is a name, the
seconds it took, and what it is measured against (or None), which makes the ratio.
"""

from __future__ import annotations

import subprocess
import sys
import timeit
from collections.abc import Callable

import torch
from bench_marking import marking_a_submission
from bench_nbgrader import beside_nbgrader

import checks

Row = tuple[str, float, float | None]

_PROCESSES = 5
_IMPORT = (
    "import time, torch; t = time.perf_counter(); import checks; print(time.perf_counter() - t)"
)


def best(action: Callable[[], object], *, rounds: int = 15) -> float:
    """Seconds for one run: the best of several rounds, each long enough for the clock."""
    timer = timeit.Timer(action)
    number, _ = timer.autorange()
    number = max(number // 10, 1)
    return min(timer.repeat(rounds, number)) / number


def imports() -> list[Row]:
    """What `import checks` costs on top of `import torch`, in processes of their own."""
    times = [
        float(
            subprocess.run([sys.executable, "-c", _IMPORT], capture_output=True, check=True).stdout
        )
        for _ in range(_PROCESSES)
    ]
    return [("import checks, after import torch", min(times), None)]


def a_correct_gradient() -> list[Row]:
    """A right answer on the graph of lesson 05, beside what PyTorch offers for the same."""
    x, y = torch.tensor(1.5), torch.tensor(2.0)
    w = torch.tensor(3.0, requires_grad=True)
    y_hat = w * x
    S = y_hat - y
    loss = S**2
    answer = 2 * (w * x - y) * x
    double = w.detach().double().requires_grad_()

    def lesson(w: torch.Tensor) -> torch.Tensor:
        return (w * x.double() - y.double()) ** 2

    assert checks.gradient("5.3", answer, of=loss, wrt=w)
    alone = best(lambda: torch.autograd.grad(loss, w, retain_graph=True))
    return [
        ("torch.autograd.grad alone", alone, None),
        ("torch.autograd.gradcheck", best(lambda: torch.autograd.gradcheck(lesson, double)), alone),
        (
            "checks.gradient, correct",
            best(lambda: checks.gradient("5.3", answer, of=loss, wrt=w)),
            alone,
        ),
    ]


def wrong_answers_and_pictures() -> list[Row]:
    """A wrong answer told why, and graphs drawn, beside autograd on the same graph."""
    w = torch.tensor(3.0, requires_grad=True)
    y_hat = w * 1.5
    S = y_hat - 2.0
    loss = S**2
    alone = best(lambda: torch.autograd.grad(loss, w, retain_graph=True))
    rows: list[Row] = [
        ("a wrong answer on lesson 05's graph", _wrong(loss, w), alone),
        ("the picture that goes with it", _shown(checks.gradient("", 1.0, of=loss, wrt=w)), alone),
        ("checks.draw on lesson 05's graph", best(lambda: _show(checks.draw(loss))), alone),
        ("checks.step on lesson 05's graph", best(lambda: _show(checks.step(loss))), alone),
    ]
    torch.manual_seed(0)
    X, target = torch.randn(32, 20), torch.randint(0, 5, (32,))
    W1, W2 = torch.randn(20, 16, requires_grad=True), torch.randn(16, 5, requires_grad=True)
    b1, b2 = torch.zeros(16, requires_grad=True), torch.zeros(5, requires_grad=True)
    network = torch.nn.functional.cross_entropy(torch.tanh(X @ W1 + b1) @ W2 + b2, target)
    alone = best(lambda: torch.autograd.grad(network, W1, retain_graph=True))
    return [
        *rows,
        ("a wrong answer on a two-layer network", _wrong(network, W1), alone),
        ("the same, and nothing explains it", _wrong(network, W1, 1.2345), alone),
        *_many_wrong_answers(),
    ]


def _many_wrong_answers() -> list[Row]:
    """Three gradients of one pass, all wrong: follow-through, and one explanation."""
    x, y = torch.tensor([1.0, 2.0, 4.0]), torch.tensor([6.0, 20.0, 30.0])
    w, b = torch.tensor(5.0, requires_grad=True), torch.tensor(4.0, requires_grad=True)
    S = w * x + b - y
    loss = (S**2).mean()
    wrt = {"S": S, "w": w, "b": b}
    right = dict(
        zip(wrt, torch.autograd.grad(loss, [*wrt.values()], retain_graph=True), strict=True)
    )
    wrong = {name: gradient / 2 for name, gradient in right.items()}
    assert checks.gradient("", wrong, of=loss, wrt=wrt).entries["w"].follows
    alone = best(lambda: torch.autograd.grad(loss, [*wrt.values()], retain_graph=True))
    told = best(lambda: checks.gradient("", wrong, of=loss, wrt=wrt), rounds=5)
    return [("three wrong gradients, with follow-through", told, alone)]


def a_rule() -> list[Row]:
    """A right backward rule of a matrix product, on all the inputs that it is tried with."""

    def backward(u: torch.Tensor, X: torch.Tensor, W: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return u @ W.T, X.T @ u

    def check() -> object:
        shapes = {"X": ("N", "D"), "W": ("D", "K")}
        return checks.rule("6.2", backward, of=lambda X, W: X @ W, shapes=shapes)

    assert check()
    return [("checks.rule, right", best(check, rounds=3), None)]


def _wrong(of: torch.Tensor, wrt: torch.Tensor, factor: float = 0.5) -> float:
    """A multiple of the right gradient. Half of it is a mistake that is found."""
    (right,) = torch.autograd.grad(of, wrt, retain_graph=True)
    assert not checks.gradient("", right * factor, of=of, wrt=wrt)
    return best(lambda: checks.gradient("", right * factor, of=of, wrt=wrt), rounds=5)


def _shown(shown: object) -> float:
    return best(lambda: _show(shown))


def _show(shown: object) -> object:
    return shown._repr_mimebundle_()  # type: ignore[attr-defined]


TABLES: list[Callable[[], list[Row]]] = [
    imports,
    a_correct_gradient,
    wrong_answers_and_pictures,
    a_rule,
    marking_a_submission,
    beside_nbgrader,
]


def main() -> None:
    """Print the table."""
    print(f"Python {sys.version.split()[0]}, torch {torch.__version__}\n")
    print(f"{'':48}{'ms':>9}{'ratio':>9}")
    for table in TABLES:
        for name, seconds, base in table():
            ratio = "" if base is None else f"{seconds / base:.1f}"
            print(f"{name:48}{seconds * 1000:9.3f}{ratio:>9}")


if __name__ == "__main__":
    main()
