"""Which tests have to notice when a module is broken; and which modules decide no verdict.

A file of tests is named by what follows `test_`. They are run in this order, up to the first test
that fails: what knows the module best, and is fast, comes first.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Guard:
    """The tests of a module; and how many variants of each of its functions are tried."""

    tests: tuple[str, ...]
    each: int = 1


def _guard(tests: str, each: int = 1) -> Guard:
    return Guard(tuple(tests.split()), each)


_MALRULES = _guard("malrules follow_through diagnosis")
_SEARCH = "malrules follow_through gradient bounded settings diagnosis"
_NODES = "values malrules backward drawing follow_through gradient"

GUARDS: dict[str, Guard] = {
    # what came, and whether it is right
    "answers.py": _guard("answers plain predictions", 2),
    "nesting.py": _guard("answers predictions"),
    "comparison.py": _guard("comparison", 2),
    "judging.py": _guard("gradient follow_through settings truth bounded", 2),
    "verbs.py": _guard("gradient settings truth follow_through", 2),
    "predictions.py": _guard("predictions", 2),
    "following.py": _guard("follow_through settings"),
    "secrets.py": _guard("secrets given_away"),
    "settings.py": _guard("settings follow_through"),
    "verdict.py": _guard("verdict follow_through gradient drawing"),
    "deliver.py": _guard("verdict progress gradient"),
    "undisturbed.py": _guard("truth predictions gradient"),
    # the truth, and the state of the notebook
    "truth.py": _guard("truth backward follow_through malrules gradient", 2),
    "backward.py": _guard("backward truth follow_through malrules gradient", 2),
    "engine.py": _guard("truth backward"),
    "states.py": _guard("truth backward gradient", 2),
    "stale.py": _guard("gradient truth"),
    "values.py": _guard(_NODES),
    "recording.py": _guard("backward truth drawing gradient"),
    "constants.py": _guard(_NODES),
    "graph.py": _guard(_NODES),
    # which mistake it was
    "diagnosis.py": _guard(_SEARCH, 2),
    "matching.py": _guard(_SEARCH, 2),
    "search.py": _guard(_SEARCH),
    "breaking.py": _guard(_SEARCH),
    "replay.py": _guard(_SEARCH),
    "site.py": _guard(_SEARCH),
    "spans.py": _guard(_SEARCH),
    "malrules/rule.py": _MALRULES,
    "malrules/arithmetic.py": _MALRULES,
    "malrules/functions.py": _MALRULES,
    "malrules/general.py": _MALRULES,
    "malrules/losses.py": _MALRULES,
    "malrules/matrices.py": _MALRULES,
    # functions written by the learner
    "rule.py": _guard("rule", 2),
    "examine.py": _guard("rule caged", 2),
    "returned.py": _guard("rule caged", 2),
    "inputs.py": _guard("rule"),
    "smallest.py": _guard("rule"),
    "trial.py": _guard("rule"),
    "findings.py": _guard("rule"),
    "reasons.py": _guard("rule"),
    "caged.py": _guard("caged rule"),
    # lessons
    "classroom/lesson.py": _guard("lesson build release"),
    "classroom/cell.py": _guard("lesson build"),
    "classroom/taint.py": _guard("taint build"),
    "classroom/build.py": _guard("build"),
    "classroom/stable.py": _guard("build"),
    "classroom/variants.py": _guard("release grading"),
    # marking
    "classroom/pairing.py": _guard("pairing grading"),
    "classroom/plain.py": _guard("plain grading"),
    "classroom/submissions.py": _guard("pairing grading release report"),
    "classroom/fence.py": _guard("fence grading doctor"),
    "classroom/kernel.py": _guard("fence grading"),
    "classroom/intact.py": _guard("grading"),
    "classroom/cage.py": _guard("grading"),
    "classroom/keeper.py": _guard("grading"),
    "classroom/judge.py": _guard("grading"),
    "classroom/marking.py": _guard("grading report"),
    "classroom/grading.py": _guard("grading report"),
    "classroom/running.py": _guard("grading"),
    "classroom/servers.py": _guard("grading"),
    "classroom/zygote.py": _guard("grading"),
    "classroom/results.py": _guard("report grading"),
    "classroom/overview.py": _guard("report"),
}

NO_VERDICT: dict[str, str] = {
    "__init__.py": "names what a learner may type",
    "__main__.py": "reads the command line",
    "card.py": "draws",
    "diagram.py": "draws",
    "drawing.py": "draws",
    "illustration.py": "draws; what it must not show is decided in `secrets`",
    "launch.py": "opens JupyterLab",
    "local.py": "words: the local gradients in a drawing",
    "marks.py": "keeps what was solved",
    "progress.py": "shows what was solved",
    "stepper.py": "draws",
    "why.py": "words: why a right answer is right",
    "wording.py": "words",
    "data/__init__.py": "data",
    "malrules/__init__.py": "puts the tables together",
    "classroom/__init__.py": "nothing in it",
    "classroom/command.py": "reads the command line",
    "classroom/doctor.py": "words: what `fence` has found",
    "classroom/names.py": "names of files",
    "classroom/release.py": "writes what is handed out",
    "classroom/report.py": "writes what is given back",
}
