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


TABLES: list[Callable[[], list[Row]]] = [imports, a_correct_gradient]


def main() -> None:
    """Print the table."""
    print(f"Python {sys.version.split()[0]}, torch {torch.__version__}\n")
    print(f"{'':44}{'ms':>9}{'ratio':>9}")
    for table in TABLES:
        for name, seconds, base in table():
            ratio = "" if base is None else f"{seconds / base:.1f}"
            print(f"{name:44}{seconds * 1000:9.3f}{ratio:>9}")


if __name__ == "__main__":
    main()
