"""Wrong answers to every mal-rule, each by a formula of its own (see `case`)."""

from wrong import arithmetic, functions, general, losses, matrices, normalisation
from wrong.case import CASES

__all__ = ["CASES", "arithmetic", "functions", "general", "losses", "matrices", "normalisation"]
