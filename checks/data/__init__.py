"""The data sets of the lessons. They lie beside this file: nothing is downloaded."""

import csv
import gzip
from importlib.resources import files

import torch
from torch import Tensor


def digits() -> tuple[Tensor, Tensor]:
    """Return 1797 handwritten digits, as images and as what they show.

    Where they come from, and under which licence, stands in README.md in this folder.

    Returns:
        The images, (1797, 64) in float64: a row is an image of 8 rows of 8 pixels, one after the
        other, each from 0 (white) to 16 (black). And the classes, (1797,) in int64, from 0 to 9.
    """
    packed = (files(__name__) / "digits.csv.gz").read_bytes()
    lines = gzip.decompress(packed).decode("ascii").splitlines()
    numbers = torch.tensor([[int(number) for number in row] for row in csv.reader(lines)])
    return numbers[:, :-1].to(torch.float64), numbers[:, -1].clone()
