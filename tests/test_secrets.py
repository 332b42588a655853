"""Which numbers may be shown beside a wrong answer, and which tell the right one."""

import pytest
import torch

from checks.secrets import harmless, tells

E, PI = 2.71828, 3.14159


@pytest.mark.parametrize(
    "shown, secret, telling",
    [
        ([E], [E], True),
        ([-E], [E], True),
        ([1.0, E, 7.0], [PI, E], True),  # one of many
        ([1.0, E], [PI], False),
        ([2.0], [2.0, 5.0], False),  # round numbers are everywhere
        ([7.501], [7.501, 5.0], False),  # four digits are round, too
        ([3.0, -1.0, 2.0], [1.0, 2.0, 3.0], True),  # but all of them, in any order, are not
        ([3.0, 1.0, 4.0], [1.0, 2.0, 3.0], False),
        ([1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 3.0], False),
        ([], [E], False),
    ],
)
def test_what_tells_a_gradient(shown, secret, telling):
    # Mistake caught: a picture in which the answer can be read; or one without any number.
    assert tells(torch.tensor(shown), [torch.tensor(secret)]) is telling


def test_what_is_harmless_stays():
    # Mistake caught: everything is left out, and the picture shows nothing.
    values = {"round": torch.tensor(2.0), "other": torch.tensor([PI]), "secret": torch.tensor(E)}
    assert set(harmless(values, iter([torch.tensor(E)]))) == {"round", "other"}
    assert harmless(values, []) == values
