"""Variants that no test can notice, or need not: each with its reason.

A reason is one of: nothing that anyone sees differs; only the time differs, or how far a search
goes; a second line of defence, behind one that is tested.
"""

EQUIVALENT: dict[str, str] = {}
