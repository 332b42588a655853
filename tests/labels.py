"""Names for the cases of a parametrized test."""

import re


def label(value: object) -> str:
    """The value as text without addresses: all workers of a test run must agree on a name."""
    return re.sub(r" at 0x[0-9a-f]+", "", str(value))
