"""All the mutations of a run, made from what the course is now."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256

from mutations.copies import ROOT
from mutations.equivalent import EQUIVALENT
from mutations.errata import ERRATA, Erratum
from mutations.guards import GUARDS, NO_VERDICT
from mutations.variants import Variant, chosen, variants

PACKAGE = ROOT / "checks"


class PlanError(Exception):
    """The tables do not belong to the course as it is; the text says what to do."""


@dataclass(frozen=True)
class Mutation:
    """One mistake, and the tests that are to notice it."""

    change: Erratum | Variant
    tests: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Unique, for the table and the results."""
        return self.change.name

    @property
    def group(self) -> str:
        """Where it stands in the table."""
        return "code errata" if isinstance(self.change, Erratum) else self.change.module

    def files(self) -> dict[str, str]:
        """What the files of a copy are when it is put in."""
        change = self.change
        if isinstance(change, Erratum):
            text = (ROOT / change.source).read_text(encoding="utf-8")
            return {change.source: text.replace(change.sound, change.wrong)}
        text = (PACKAGE / change.module).read_text(encoding="utf-8")
        return {f"checks/{change.module}": change.apply(text)}


def everything() -> list[Mutation]:
    """Every mutation.

    Raises:
        PlanError: a table names something that is not there, or leaves something out.
    """
    modules = {path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py")}
    complain(
        "tests/mutations/guards.py must say of each module which tests guard it, or why it decides "
        "no verdict. It says nothing of",
        modules - {*GUARDS, *NO_VERDICT},
    )
    complain(
        "tests/mutations/guards.py speaks of modules that are not there",
        {*GUARDS, *NO_VERDICT} - modules,
    )
    equivalents_are_there()
    return [*errata(), *broken_functions()]


def errata() -> list[Mutation]:
    """The mistakes of the original notebooks."""
    lost = {
        one.name
        for one in ERRATA
        if (ROOT / one.source).read_text(encoding="utf-8").count(one.sound) != 1
    }
    complain(
        "These errata no longer apply: what they spoil does not stand in its lesson (just once). "
        "Say in tests/mutations/errata.py anew how to put them in",
        lost,
    )
    return [Mutation(one) for one in ERRATA]


def broken_functions(modules: Iterable[str] = GUARDS) -> list[Mutation]:
    """One or two variants of every function of some modules."""
    made: list[Mutation] = []
    for module in modules:
        guard = GUARDS[module]
        tests = tuple(" ".join(map(address, names.split("+"))) for names in guard.tests)
        for found in variants(PACKAGE / module, PACKAGE).values():
            useful = [variant for variant in found if variant.name not in EQUIVALENT]
            made += [Mutation(variant, tests) for variant in chosen(useful, guard.each)]
    return list({mutation.name: mutation for mutation in made}.values())


def equivalents_are_there() -> None:
    """Complain of reasons for variants that cannot be made any more."""
    named = {name.split(":")[0] for name in EQUIVALENT} & {*GUARDS}
    made = (variants(PACKAGE / module, PACKAGE).values() for module in named)
    known = {variant.name for every in made for found in every for variant in found}
    complain(
        "tests/mutations/equivalent.py lists what no longer applies. Take out",
        set(EQUIVALENT) - known,
    )


def address(name: str) -> str:
    """Where pytest finds "grading", or "grading::test_x"."""
    file, colons, test = name.partition("::")
    path = ROOT / f"tests/test_{file}.py"
    there = path.is_file() and f"def {test}" in path.read_text(encoding="utf-8")
    complain("guards.py names tests that are not there", set() if there else {name})
    return f"tests/{path.name}{colons}{test}"


def sample(mutations: Sequence[Mutation], count: int) -> list[Mutation]:
    """Some of them, always the same ones while they are there."""
    return sorted(mutations, key=lambda one: sha256(one.name.encode()).digest())[:count]


def complain(sentence: str, about: set[str]) -> None:
    if about:
        raise PlanError(f"{sentence}: {', '.join(sorted(about))}.")
