"""The catalogue of mal-rules: the ways in which people get a rule of the backward pass wrong.

A *mal-rule* is a consistent wrong rule (the word is from the tutoring literature since Brown and
Burton's BUGGY, 1978). Each is one row in a table, with the wrong formula beside it:

- `NODE_RULES`: what one step hands on is wrong;
- `BROADCAST_RULES`: the gradient of an operand that was used many times is summed wrongly;
- `MEETING_RULES`: where several paths meet, some are forgotten;
- `RESULT_RULES`: the right gradient is finished wrongly.

`search` puts the rows into a backward pass, one at a time, and `diagnosis` keeps those that give
the learner's numbers. How to add a row: checks/MALRULES.md.
"""

from checks.malrules.arithmetic import ARITHMETIC_RULES
from checks.malrules.functions import FUNCTION_RULES
from checks.malrules.general import (
    BROADCAST_RULES,
    GENERAL_RULES,
    MEETING_RULES,
    RESULT_RULES,
    Broadcast,
    Counted,
    Meeting,
    Result,
)
from checks.malrules.losses import LOSS_RULES
from checks.malrules.matrices import MATRIX_RULES
from checks.malrules.rule import MalRule, NodeRule

NODE_RULES: tuple[NodeRule, ...] = (
    *FUNCTION_RULES,
    *ARITHMETIC_RULES,
    *MATRIX_RULES,
    *LOSS_RULES,
    *GENERAL_RULES,
)

__all__ = [
    "BROADCAST_RULES",
    "MEETING_RULES",
    "NODE_RULES",
    "RESULT_RULES",
    "Broadcast",
    "Counted",
    "MalRule",
    "Meeting",
    "NodeRule",
    "Result",
]
