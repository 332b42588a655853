"""Outputs that are the same from run to run and from machine to machine.

Masked are addresses, the numbers of widgets, the paths of this machine, and the order in which
stdout and stderr happened to arrive. Everything else that a cell shows is the lesson's own to keep
stable, or to tag as one that differs.
"""

import re
import sysconfig
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

import nbformat
from nbformat import NotebookNode

import checks
from checks.classroom.lesson import METADATA

Rule = tuple[re.Pattern[str], str]

# As long as an address, so that a rule that masks addresses once more masks these as well.
ADDRESS = "0x000000000000"
CELL = "<cell>"
WIDGET = "0" * 32

_VIEW = "application/vnd.jupyter.widget-view+json"

# Not in the middle of a word; the colours of a traceback end in "m".
_START = r"(?:(?<!\w)|(?<=\dm))"


def tidy(nb: NotebookNode, folder: Path) -> None:
    """Make an executed notebook stable, in place. `folder` is where it ran."""
    nb.metadata = nbformat.from_dict(METADATA)  # type: ignore[no-untyped-call]
    rules = masks(folder)
    for cell in nb.cells:
        if cell.cell_type == "code":
            cell.outputs = merge_streams(cell.outputs)
            for output in cell.outputs:
                mask_output(output, rules)


def merge_streams(outputs: Iterable[NotebookNode]) -> list[NotebookNode]:
    """Join neighbouring stream outputs by name, stdout first: their order is an accident."""
    merged: list[NotebookNode] = []
    streams: dict[str, NotebookNode] = {}
    for output in outputs:
        if output.output_type != "stream":
            streams = {}
            merged.append(output)
        elif output.name in streams:
            streams[output.name].text += output.text
        elif output.name == "stdout" and streams:
            merged.insert(-1, output)
            streams["stdout"] = output
        else:
            merged.append(output)
            streams[output.name] = output
    return merged


def mask_output(output: NotebookNode, rules: Sequence[Rule]) -> None:
    """Mask all text of one output, in place. Images and other data are left as they are."""
    for field in ("text", "evalue"):
        if field in output:
            output[field] = mask(output[field], rules)
    if "traceback" in output:
        output["traceback"] = [mask(line, rules) for line in output["traceback"]]
    for mime, value in output.get("data", {}).items():
        if mime.startswith("text/") or mime == "image/svg+xml":
            output["data"][mime] = mask(value, rules)
        elif mime == _VIEW:
            value["model_id"] = WIDGET


def mask(text: str, rules: Iterable[Rule]) -> str:
    """Return the text with every rule applied in turn."""
    for pattern, replacement in rules:
        text = pattern.sub(replacement, text)
    return text


@cache  # it is asked for each output of a notebook
def masks(folder: Path) -> tuple[Rule, ...]:
    """Return what is replaced in outputs, and by what, for a notebook that ran in `folder`."""
    python = sysconfig.get_paths()
    known = {
        Path(python["purelib"]): "site-packages/",
        Path(python["platlib"]): "site-packages/",
        Path(python["stdlib"]): "python/",
        Path(checks.__file__).parent.parent: "",
        folder: "",
    }
    names = {p: name for path, name in known.items() for p in (path.absolute(), path.resolve())}
    rules = [
        # The file that IPython gives out as a cell's: it has the number of the process in it.
        (re.compile(r"""[^\s"'<>\x1b]*ipykernel_\d+[/\\]\d+\.py"""), CELL),
        (re.compile(_START + r"0x[0-9a-fA-F]{6,}\b"), ADDRESS),
    ]
    home = Path.home()
    # A longer path goes first: it may stand inside a shorter one.
    for path in sorted(names, key=lambda p: len(str(p)), reverse=True):
        forms = [str(path)]
        if path.is_relative_to(home):  # tracebacks write the home folder as `~`
            forms.append(str(Path("~") / path.relative_to(home)))
        either = "|".join(map(re.escape, forms))
        rules.append((re.compile(_START + rf"(?:{either})[/\\]"), names[path]))
    return tuple(rules)


def keep_unstable(new: NotebookNode, path: Path) -> None:
    """Where an output may differ from run to run, keep the stored one while its code is the same.

    Only cells with the tag `nbval-ignore-output` are looked at. Without this, a rebuild without a
    change would change the notebook: a measured time, the number of a widget.
    """
    try:
        old = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
    except Exception:  # no notebook yet, or not one that can be read
        return
    before: list[str] = []
    stored: dict[str, tuple[list[str], list[NotebookNode]]] = {}
    for cell in old.cells:
        if cell.cell_type == "code":
            before.append(cell.source)
            stored[cell.get("id", "")] = (list(before), cell.outputs)
    before = []
    for cell in new.cells:
        if cell.cell_type != "code":
            continue
        before.append(cell.source)
        known = stored.get(cell.id)
        if "nbval-ignore-output" in cell.metadata.get("tags", ()) and known and known[0] == before:
            cell.outputs = known[1]
