"""Which tests have to notice when a module is broken; and which modules decide no verdict.

A file of tests is named by what follows `test_`, and single tests of it by `::` and their names;
what is joined by a plus is run together. They are run in this order, up to the first test
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


# Of the marking first what takes seconds: a few submissions, and not a hundred and twenty.
_FEW = (
    "grading::test_autograd_is_flagged_and_not_failed"
    "+grading::test_a_wrong_answer_does_not_get_the_true_value"
    "+grading::test_students_may_be_called_anything"
    "+grading::test_without_fences_it_says_so"
    "+grading::test_with_other_settings_all_is_marked_anew"
    "+grading::test_what_has_changed_is_marked_anew"
)
_MARKING = f"{_FEW} grading"
_CLOCK = "running::test_what_cannot_be_looked_up_is_charged_whole"
_MALRULES = _guard("search malrules follow_through diagnosis")
_SEARCH = "search malrules follow_through gradient bounded settings diagnosis"
_TOLD = (  # what is said, on a few graphs; the rest of this file counts over all of them
    "diagnosis::test_no_number_alone_is_told_more_than_what_it_is_consistent_with"
    "+diagnosis::test_where_nothing_fits_the_way_is_told_and_nothing_is_guessed"
    "+diagnosis::test_what_cannot_be_told_apart_is_said"
)
_RULE = (  # what takes seconds; the rest of this file tries some eighty functions
    "rule::test_inputs_are_what_is_described"
    "+rule::test_what_is_asked_must_make_sense"
    "+rule::test_several_tensors_one_call_and_a_class_to_fill_in"
    "+rule::test_what_is_wrong_is_told_in_a_sentence"
    "+rule::test_each_gradient_is_judged_for_itself"
    "+rule::test_of_several_gradients_one_may_be_rounded"
    "+rule::test_numbers_of_the_notebook_are_named"
    "+rule::test_the_smallest_input_is_shown"
)
_NODES = "values drawing malrules backward follow_through gradient"

GUARDS: dict[str, Guard] = {
    # what came, and whether it is right
    "answers.py": _guard("answers plain predictions gradient", 2),
    "nesting.py": _guard("answers predictions"),
    "comparison.py": _guard("comparison", 2),
    "judging.py": _guard("gradient follow_through settings truth bounded", 2),
    "verbs.py": _guard("gradient settings truth follow_through", 2),
    "predictions.py": _guard("predictions", 2),
    "following.py": _guard("follow_through settings"),
    "secrets.py": _guard("secrets given_away"),
    "settings.py": _guard("settings follow_through"),
    "verdict.py": _guard("verdict follow_through gradient drawing"),
    "deliver.py": _guard("verdict settings progress gradient"),
    "undisturbed.py": _guard("truth predictions gradient"),
    # the truth, and the state of the notebook
    "truth.py": _guard("truth backward follow_through malrules gradient", 2),
    "backward.py": _guard("backward truth follow_through malrules gradient", 2),
    "engine.py": _guard("truth backward"),
    "states.py": _guard("truth backward gradient", 2),
    "stale.py": _guard("gradient truth"),
    "values.py": _guard(_NODES),
    "recording.py": _guard("drawing backward truth gradient malrules"),
    "constants.py": _guard("graph drawing malrules backward given_away gradient"),
    "graph.py": _guard("graph drawing malrules backward gradient"),
    # which mistake it was
    "diagnosis.py": _guard(f"{_TOLD} {_SEARCH}", 2),
    "matching.py": _guard(f"matching {_SEARCH}", 2),
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
    "rule.py": _guard(f"{_RULE} rule"),
    "examine.py": _guard(f"{_RULE} caged rule"),
    "returned.py": _guard(f"{_RULE} caged rule"),
    "inputs.py": _guard(f"inputs {_RULE} rule"),
    "smallest.py": _guard(f"smallest {_RULE} rule"),
    "trial.py": _guard(f"{_RULE} rule"),
    "findings.py": _guard(f"{_RULE} caged rule"),
    "reasons.py": _guard(f"{_RULE} rule"),
    "caged.py": _guard("caged rule"),
    # lessons
    "classroom/lesson.py": _guard("lesson build release"),
    "classroom/cell.py": _guard("lesson build"),
    "classroom/taint.py": _guard("taint build"),
    "classroom/build.py": _guard("build"),
    "classroom/stable.py": _guard("build"),
    "classroom/variants.py": _guard("release"),
    # marking
    "classroom/pairing.py": _guard(f"pairing {_MARKING}"),
    "classroom/plain.py": _guard(f"plain {_MARKING}"),
    "classroom/submissions.py": _guard("pairing release report grading"),
    "classroom/fence.py": _guard(f"fence doctor {_MARKING}"),
    "classroom/kernel.py": _guard(f"fence {_MARKING}"),
    "classroom/intact.py": _guard(f"cage {_MARKING}"),
    "classroom/cage.py": _guard(f"cage {_MARKING}"),
    "classroom/keeper.py": _guard(f"{_CLOCK} keeper running {_MARKING}"),
    "classroom/judge.py": _guard(f"judge {_MARKING}"),
    "classroom/marking.py": _guard(f"judge {_FEW} report grading"),
    "classroom/grading.py": _guard(f"grading_alone {_FEW} report marking_variants station grading"),
    "classroom/running.py": _guard(f"running {_MARKING}"),
    "classroom/servers.py": _guard(f"warm {_MARKING}"),
    "classroom/zygote.py": _guard(f"zygote {_MARKING}"),
    "classroom/station.py": _guard(f"station_alone {_MARKING} station"),
    "classroom/warm.py": _guard(f"warm {_MARKING}"),
    "classroom/undrawn.py": _guard("undrawn"),
    "classroom/collecting.py": _guard("collecting"),
    "classroom/results.py": _guard("report"),
    "classroom/exports/grades.py": _guard("exports"),
    "classroom/exports/gradescope.py": _guard("exports"),
    "classroom/exports/junit.py": _guard("exports"),
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
    "whole.py": "writes files",
    "why.py": "words: why a right answer is right",
    "wording.py": "words",
    "data/__init__.py": "data",
    "malrules/__init__.py": "puts the tables together",
    "classroom/__init__.py": "nothing in it",
    "classroom/command.py": "reads the command line",
    "classroom/cluster.py": "hands the same work to other machines",
    "classroom/exports/__init__.py": "nothing in it",
    "classroom/exports/gradebook.py": "writes what was decided, by nbgrader's own interface",
    "classroom/exports/words.py": "words",
    "classroom/forked_kernel.py": "how the cells of a lesson are run, not what becomes of them",
    "classroom/provisioner.py": "how the cells of a lesson are run, not what becomes of them",
    "classroom/jupyterhub_config.py": "settings of another program",
    "classroom/strict.py": "which stored outputs are exempt; `tests/test_ci_bites.py` bites there",
    "classroom/doctor.py": "words: what `fence` has found",
    "classroom/names.py": "names of files",
    "classroom/release.py": "writes what is handed out",
    "classroom/report.py": "writes what is given back",
}
