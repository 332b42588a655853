"""How often a wrong answer is told why: every mal-rule on every exercise and graph, and by chance.

`python tests/census.py` prints the table; `test_diagnosis` asks for less of the same.
"""

from collections import defaultdict
from dataclasses import dataclass, field

import torch
from exercises import exercises
from graphs import GRAPHS

from checks import truth
from checks.comparison import agrees
from checks.diagnosis import explain
from checks.graph import names_for
from checks.judging import Case, judge
from checks.matching import Given
from checks.search import Search
from checks.settings import settings
from checks.undisturbed import undisturbed

LOOKS = {
    "floats": lambda numbers: numbers,
    "integers": torch.round,
    "one decimal": lambda numbers: torch.round(numbers * 10) / 10,
}


@dataclass(frozen=True)
class Asked:
    """One gradient that is asked for, and all that is known around it."""

    label: str
    case: Case
    name: str

    @property
    def true(self):
        return self.case.question.gradients[self.name].double()


class Remembered(Search):
    """A search that was done once. What comes out does not depend on the learner's answer."""

    def candidates(self):
        if "found" not in vars(self):
            vars(self)["found"] = list(super().candidates())
        return iter(vars(self)["found"])


@dataclass
class Count:
    """What became of the wrong answers to one gradient."""

    wrong: int = 0
    rejected: int = 0
    named: int = 0
    missed: set = field(default_factory=set)  # not named, although the numbers tell enough
    hidden: set = field(default_factory=set)  # mistakes that these numbers do not show


def asked():
    """Every gradient of the graphs outside the lessons, and of all lessons."""
    for label, build in GRAPHS.items():
        graph = build()
        for name in graph.wrt:
            yield Asked(label, graph.case(), name)
    for exercise in exercises():
        wrt, v = exercise.asked["wrt"], exercise.asked.get("v")
        wrt = wrt if isinstance(wrt, dict) else {"it": wrt}
        question = truth.ask(exercise.asked["of"], wrt, v)
        known = [(n, t) for n, t in exercise.names.items() if isinstance(t, torch.Tensor)]
        names = names_for(question.nodes, known)
        for name in wrt:
            case = Case(question, names, tuple(tensor for _, tensor in known))
            yield Asked(exercise.label, case, name)


def search(one):
    return Remembered(one.case.question, one.name, one.case.tensors)


def every_mistake(one):
    """Give the wrong answer of every mal-rule that applies."""
    count = Count()
    with undisturbed():
        looking = search(one)
        found = [c for c in looking.candidates() if bool(torch.isfinite(c.gradient).all())]
        for candidate in found:
            answer = candidate.gradient.double()
            if answer.shape == one.true.shape and bool(agrees(answer, one.true).all()):
                count.hidden.add(candidate.mistake.name)
                continue
            count.wrong += 1
            settings(feedback="verdict")
            count.rejected += not judge("1", answer, one.case, one.name)
            settings(feedback="full")
            given = Given(answer, torch.finfo(candidate.gradient.dtype).eps / 2)
            named = {m.name for m in explain(looking, given)} & same_numbers(answer, found)
            count.named += bool(named)
            if not named and given.is_telling:
                count.missed.add(candidate.mistake.name)
    return count


def same_numbers(answer, found):
    """The names of all mistakes that give the identical numbers."""
    alike = (c for c in found if c.gradient.shape == answer.shape)
    return {
        c.mistake.name
        for c in alike
        if torch.allclose(
            c.gradient.double(), answer, rtol=1e-5, atol=1e-6 * float(answer.abs().max())
        )
    }


def by_chance(one, look, times, source):
    """How many of random wrong answers, at the gradient's own scale, are told a reason."""
    looking, explained, wrong = search(one), 0, 0
    scale = float(one.true.abs().max())
    with undisturbed():
        for number in range(times):
            spread = torch.rand if number % 2 else torch.randn
            numbers = spread(one.true.shape, generator=source, dtype=torch.float64)
            answer = LOOKS[look](scale * (2 * numbers - 1 if number % 2 else numbers))
            if not agrees(answer, one.true).all():
                wrong += 1
                explained += bool(explain(looking, Given(answer)))
    return explained, wrong


def chances(of_each):
    """Random answers to every gradient: explained and all, for tensors and for scalars."""
    source = torch.Generator().manual_seed(11)
    totals, worst = defaultdict(lambda: [0, 0]), {}
    for one in asked():
        kind = "tensor" if one.true.numel() > 1 else "scalar"
        for look in LOOKS:
            explained, wrong = by_chance(one, look, of_each, source)
            totals[kind, look][0] += explained
            totals[kind, look][1] += wrong
            share = explained / max(wrong, 1)
            if kind == "tensor" and share > worst.get(look, (0, ""))[0]:
                worst[look] = (share, f"{one.label}.{one.name}")
    return totals, worst


def main():
    total = Count()
    print(f"{'':44}{'wrong':>7}{'rejected':>10}{'named':>9}   not shown by these numbers")
    for one in asked():
        count = every_mistake(one)
        total.wrong += count.wrong
        total.rejected += count.rejected
        total.named += count.named
        row = f"{count.wrong:7}{count.rejected:10}{count.named:9}   {len(count.hidden)}"
        print(f"{one.label + ' ' + one.name:44}{row}")
    print(f"{'all':44}{total.wrong:7}{total.rejected:10}{total.named:9}")
    print(f"named: {100 * total.named / total.wrong:.1f} %\n")
    totals, worst = chances(200)
    print(f"{'random wrong answers':44}{'all':>7}{'explained':>11}")
    for (kind, look), (explained, wrong) in sorted(totals.items()):
        share = f"{100 * explained / wrong:.2f} %"
        print(f"{kind + 's, ' + look:44}{wrong:7}{explained:7}{share:>10}")
    for look, (share, label) in worst.items():
        print(f"most of one tensor, {look}: {100 * share:.1f} % ({label})")


if __name__ == "__main__":
    main()
