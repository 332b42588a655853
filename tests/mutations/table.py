"""The results as a table in Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from mutations.equivalent import EQUIVALENT
from mutations.plan import Mutation
from mutations.run import CAUGHT, Result

ENOUGH = 0.98


def rate(found: Sequence[Result]) -> float:
    """The share that was caught."""
    return sum(one.outcome == CAUGHT for one in found) / len(found) if found else 0.0


def table(mutations: Sequence[Mutation], found: Sequence[Result]) -> str:
    """All errata, the modules with their counts, and what has survived."""
    groups: dict[str, list[Result]] = {}
    for mutation, result in zip(mutations, found, strict=True):
        groups.setdefault(mutation.group, []).append(result)
    lines = []
    errata = groups.pop("code errata", [])
    if errata:
        lines += ["| code erratum, by its number in lesson 99 | | caught by |", "|---|---|---|"]
        lines += [f"| {one.name} | {one.outcome} | {_short(one.by)} |" for one in errata]
        lines.append("")
    if groups:
        lines += ["| functions of | broken | caught | survived |", "|---|---:|---:|---:|"]
        for group, results in groups.items():
            caught = sum(one.outcome == CAUGHT for one in results)
            lines.append(f"| `{group}` | {len(results)} | {caught} | {len(results) - caught} |")
        lines.append("")
    survivors = [one.name for one in found if one.outcome != CAUGHT]
    lines += [f"Survived: {name}" for name in survivors]
    lines.append(
        f"{len(found) - len(survivors)} of {len(found)} mutations were caught: "
        f"{100 * rate(found):.1f} %. At least {100 * ENOUGH:.0f} % must be. "
        f"{len(EQUIVALENT)} more are listed as equivalent, each with its reason."
    )
    return "\n".join(lines)


def _short(by: str) -> str:
    return by.replace("tests/", "").replace("notebooks/", "").replace("|", "/")
