"""The report on another PyTorch tells what changed, where, and nothing else."""

import json
import shutil
from pathlib import Path

import pytest
import upgrade
from nbformat.v4 import new_output

from checks.classroom import build

LESSON = """
# 1 · Small

```{code-cell} ipython3
import torch

w = torch.tensor(3.0, requires_grad=True)
y = w * 2
y
```

```{code-cell} ipython3
:tags: [raises-exception]

torch.ones(2) @ torch.ones(3)
```

```{code-cell} ipython3
print("the same")
```
"""


@pytest.fixture(scope="module")
def course(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = tmp_path_factory.mktemp("course") / "source/01_small.md"
    source.parent.mkdir()
    source.write_text(LESSON, encoding="utf-8")
    assert build.run([source], check=False) == []
    return source


def test_each_change_is_told_once_with_its_cell(course: Path, tmp_path: Path) -> None:
    # A change that is not told; one told for both versions; what is stored taken for what is new.
    shutil.copytree(course.parents[1], tmp_path, dirs_exist_ok=True)
    for path in tmp_path.rglob("*.ipynb"):
        text = path.read_text(encoding="utf-8")
        assert text.count("MulBackward0") and text.count("inconsistent tensor size")
        text = text.replace("MulBackward0", "MulBackward9")
        path.write_text(text.replace("inconsistent tensor size", "wrong size"), encoding="utf-8")
    told = list(upgrade.lessons([tmp_path / "source/01_small.md"]))
    ids = [cell["id"] for cell in json.loads(path.read_text())["cells"] if "outputs" in cell]
    assert len(told) == 2
    assert told[0].startswith(f"01_small (learner's notebook), cell {ids[0]}:\n")
    assert (
        "    -tensor(6., grad_fn=<MulBackward9>)\n    +tensor(6., grad_fn=<MulBackward0>)\n"
        in told[0]
    )
    assert f"cell {ids[1]}:\n    -RuntimeError: wrong size" in told[1]
    assert "    +RuntimeError: inconsistent tensor size" in told[1]


def test_where_nothing_changed_nothing_is_told(course: Path) -> None:
    assert list(upgrade.lessons([course])) == []


def test_a_page_is_told_as_it_is_read() -> None:
    before = new_output("display_data", {"text/html": "<b>✗ 1.1</b><p>Off by 2.</p>"})
    after = new_output("display_data", {"text/html": "<b>✗ 1.1</b><p>Off by 3.</p>"})
    markup = new_output("display_data", {"text/html": "<i>✗ 1.1</i><p>Off by 2.</p>"})
    assert upgrade.changes([before], [after]) == ["-Off by 2.", "+Off by 3."]
    assert upgrade.changes([before], [markup]) == ["Another text/html"]


def test_a_test_that_fails_is_named(tmp_path: Path) -> None:
    test = tmp_path / "test_it.py"
    test.write_text("def test_yes(): pass\ndef test_no(): assert 1 == 2\n")
    (line,) = upgrade.failing([str(test), f"--rootdir={tmp_path}", "-p", "no:cacheprovider"])
    assert line.startswith("FAILED") and "test_no" in line and "test_yes" not in line


def test_tests_that_cannot_be_run_are_not_taken_for_passed(tmp_path: Path) -> None:
    (line,) = upgrade.failing([str(tmp_path / "nowhere.py")])
    assert "code 4" in line
