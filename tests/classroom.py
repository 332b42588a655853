"""A small lesson with four exercises, and submissions of it made from answers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from checks.classroom.lesson import Version, notebook, parse

NAME = "01_small"
SOURCE = """---
kernelspec:
  display_name: Python 3
  language: python
  name: python3
---

# Small

```{code-cell} ipython3
import torch

import checks

w = torch.tensor([1.7, -0.6], requires_grad=True)
x = torch.tensor([2.3, 0.9])
loss = ((w * x).sum() - 1.1) ** 2
error = (w * x).sum() - 1.1
loss.backward(retain_graph=True)
print("loss", loss.item(), flush=True)
```

## A gradient

```{code-cell} ipython3
:tags: [answer]

dw = ...
### BEGIN SOLUTION
dw = 2 * error.detach() * x
### END SOLUTION
```

```{code-cell} ipython3
:tags: [check]
:points: 2

checks.gradient("1.1", dw, of=loss, wrt=w)
```

## A function

```{code-cell} ipython3
:tags: [answer]

def product_backward(upstream, a, b):
    answer = ...
    ### BEGIN SOLUTION
    answer = upstream * b, upstream * a
    ### END SOLUTION
    return answer
```

```{code-cell} ipython3
:tags: [check]

checks.rule("1.2", product_backward, of=torch.mul, shapes={"a": ("N",), "b": ("N",)})
```

## A value

```{code-cell} ipython3
:tags: [answer]

size = ...
### BEGIN SOLUTION
size = 2
### END SOLUTION
```

```{code-cell} ipython3
:tags: [check]

checks.value("1.3", size, x.numel())
```

## Two gradients

```{code-cell} ipython3
u = torch.tensor(1.3, requires_grad=True)
v = torch.tensor(0.7, requires_grad=True)
z = u * u * v
```

```{code-cell} ipython3
:tags: [answer]

dz_du = ...
dz_dv = ...
### BEGIN SOLUTION
dz_du = 2 * u.item() * v.item()
dz_dv = u.item() ** 2
### END SOLUTION
```

```{code-cell} ipython3
:tags: [check]
:points: 2

checks.gradient("1.4", {"u": dz_du, "v": dz_dv}, of=z, wrt={"u": u, "v": v})
```
"""

RIGHT = {
    "1.1": "dw = 2 * ((1.7 * 2.3 - 0.6 * 0.9) - 1.1) * torch.tensor([2.3, 0.9])",
    "1.2": "def product_backward(upstream, a, b):\n    return upstream * b, upstream * a",
    "1.3": "size = 2",
    "1.4": "dz_du = 2 * 1.3 * 0.7\ndz_dv = 1.3**2",
}
POINTS = {"1.1": 2, "1.2": 1, "1.3": 1, "1.4": 2}


def lesson_in(folder: Path) -> Path:
    """Write the lesson's source into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{NAME}.md"
    path.write_text(SOURCE, encoding="utf-8")
    return path


def submission(answers: Mapping[str, str] | None = None) -> dict[str, Any]:
    """A notebook with these answers, and right ones for the other exercises."""
    built = json.loads(json.dumps(notebook(parse(SOURCE, NAME), Version.LEARNER)))
    answers = {**RIGHT, **(answers or {})}
    for cell in built["cells"]:
        if cell["id"].startswith("answer-"):
            cell["source"] = answers[cell["id"].removeprefix("answer-").replace("-", ".")]
    return dict(built)


def hand_in(folder: Path, student: str, built: object) -> Path:
    """Put a notebook into the folder of a student."""
    path = folder / student / NAME / f"{NAME}.ipynb"
    path.parent.mkdir(parents=True, exist_ok=True)
    text = built if isinstance(built, str) else json.dumps(built)
    path.write_text(text, encoding="utf-8")
    return path


def scores(results: Path, student: str) -> dict[str, float]:
    """The scores of a student, by exercise."""
    return {e["label"]: e["score"] for e in stored(results, student)["exercises"]}


def stored(results: Path, student: str) -> dict[str, Any]:
    """What was stored of a student, found by the name and not by the file's."""
    for path in (results / NAME).glob("*.json"):
        data = json.loads(path.read_text(encoding="utf-8"))
        if data["student"] == student:
            return dict(data)
    raise AssertionError(f"nothing was stored of {student}")
