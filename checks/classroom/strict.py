"""How an output that is stored is compared with a new one, and all that is not compared.

The four tables are the whole list of exemptions: what is not in them must come out the same. Each
entry has its reason, and a test fails for an entry that no longer applies.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Sequence

import numpy as np
from nbformat import NotebookNode
from PIL import Image

# Cells with the tag `nbval-ignore-output`: a lesson, and the cell's id.
CELLS = {
    ("02_vector_jacobian_product", "measure-it-2"): "it plots times, and these differ",
}
# Fields of an output, and how outputs may stand to each other.
FIELDS = {
    "traceback": "between the lines of the lesson it shows IPython's and PyTorch's own, with their "
    "numbers; the name and the text of the error are compared",
    "execution_count": "runs are counted by themselves: each cell must be run in its turn",
}
# What stands for a text that is masked, in what is stored and in what is new.
MASKS = {
    "<cell>": "the file that IPython gives out as a cell's has the number of the process in it",
    "0x000000000000": "the address of an object differs from process to process",
    "0" * 32: "the number of a widget is drawn at random",
    "site-packages/": "where packages are installed differs from machine to machine",
    "python/": "where Python is installed differs from machine to machine",
    "": "where the course lies differs from machine to machine",
}
# What may differ in a picture: so much of 255, in the red, green, blue or opacity of a pixel.
LEVELS = 16
WHY_LEVELS = "other processors round float32 otherwise; a line moved by a tenth of a pixel is more"


def differences(stored: Sequence[NotebookNode], new: Sequence[NotebookNode]) -> Iterator[str]:
    """Say what differs in what is shown; for what is printed, nbval says it.

    Args:
        stored: the outputs of a cell, as the notebook has them.
        new: those of the same cell when it was run again; both masked as the build masks them.
    """
    old, now = ([output for output in outputs if _shown(output)] for outputs in (stored, new))
    kinds = [[output.output_type for output in outputs] for outputs in (old, now)]
    if kinds[0] != kinds[1]:
        yield f"Stored are {_words(kinds[0])}, and now there are {_words(kinds[1])}"
        return
    for before, after in zip(old, now, strict=True):
        for field in sorted({*before, *after} - {"data", *FIELDS}):
            if before.get(field) != after.get(field):
                yield f"Stored with the {field} {before.get(field)}, now it is {after.get(field)}"
        data = before.get("data", {}), after.get("data", {})
        for mime in sorted({*data[0], *data[1]}):
            if mime not in data[1]:
                yield f"Stored as {mime} as well, which there is no more"
            elif mime not in data[0]:
                yield f"Shown as {mime} as well, which is not stored"
            elif mime == "image/png":
                yield from _picture(data[0][mime], data[1][mime])
            elif data[0][mime] != data[1][mime]:
                yield f"Another {mime}"


def _shown(output: NotebookNode) -> bool:
    return bool(output.output_type != "stream")


def _words(kinds: Sequence[str]) -> str:
    return ", ".join(kinds) or "none"


def _picture(stored: str, new: str) -> Iterator[str]:
    """Say how the second of two PNGs, in base64, is another picture than the first.

    Their files are not compared: how small they are packed depends on the processor, too.
    """
    if stored.strip() == new.strip():
        return
    before, after = (_pixels(picture) for picture in (stored, new))
    if before.shape != after.shape:
        sizes = [f"{width} x {height}" for height, width, _ in (before.shape, after.shape)]
        yield f"The picture has {sizes[1]} pixels, and not {sizes[0]}"
        return
    apart = np.abs(before - after).max(axis=2)
    if (apart > LEVELS).any():
        yield (
            f"Another picture: {(apart > LEVELS).sum()} of {apart.size} pixels differ, "
            f"by up to {apart.max()} of 255"
        )


def _pixels(picture: str) -> np.ndarray:
    """A PNG as an array: height, width, and four numbers from 0 to 255."""
    with Image.open(io.BytesIO(base64.b64decode(picture))) as image:
        return np.asarray(image.convert("RGBA"), dtype=np.int16)
