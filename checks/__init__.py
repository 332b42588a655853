"""Checks for gradients computed by hand: what a learner may type, and nothing else.

Each check compares an answer with what PyTorch computes at that moment, and returns a `Verdict`. It
never raises for what a learner typed, and it leaves the notebook as it was: no `.grad` is written,
no graph is freed, no hook fires.
"""

from checks.drawing import draw
from checks.inputs import classes, numbers
from checks.predictions import CAUSES, error, value
from checks.progress import progress
from checks.rule import rule
from checks.settings import settings
from checks.stepper import step
from checks.verbs import gradient, jacobian, vjp
from checks.verdict import CheckFailed, Outcome, Verdict

__all__ = [
    "CAUSES",
    "CheckFailed",
    "Outcome",
    "Verdict",
    "classes",
    "draw",
    "error",
    "gradient",
    "jacobian",
    "numbers",
    "progress",
    "rule",
    "settings",
    "step",
    "value",
    "vjp",
]
