"""A sample of `make mutate`, and that its tables belong to the course as it is."""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from mutations import plan, run
from mutations.copies import Copy, copies
from mutations.errata import ERRATA, Erratum
from mutations.guards import GUARDS
from mutations.variants import functions, variants

# What a learner would meet at once. Each is put into `checks`, and its tests must notice.
SPOILT = {  # the module, what stands there, what is put in its place, and who must notice
    "ten times too loose": ("comparison.py", "digits / 2", "digits * 5", "comparison"),
    "scaled by the largest": ("comparison.py", "_SHARE = 1e-6", "_SHARE = 0.1", "comparison"),
    "any shape will do": ("answers.py", "if came == expected:", "if True:", "answers"),
    "a stub is an answer": ("answers.py", "raise UnansweredError\n", "pass\n", "answers"),
    "one right entry is enough": ("judging.py", ", noise).all())", ", noise).any())", "gradient"),
    "a wrong answer is right when nothing explains it": (
        "judging.py",
        "Outcome.WRONG, _differs(numbers",
        "Outcome.CORRECT, _differs(numbers",
        "gradient::test_a_wrong_answer_is_wrong_also_where_no_explanation_can_be_had",
    ),
}
# Of the others so many, in modules whose tests take a second or two.
SAMPLE = 8
QUICK = ("comparison.py", "predictions.py", "answers.py", "backward.py", "following.py",
         "verdict.py", "classroom/cell.py", "classroom/taint.py")  # fmt: skip


@pytest.fixture(scope="module")
def copy() -> Iterator[Copy]:
    if sys.platform != "linux":
        pytest.skip("a process that has imported PyTorch is forked safely on Linux only")
    with copies(1) as (one,):
        yield one


def quick() -> list[plan.Mutation]:
    return plan.sample(plan.broken_functions(QUICK), SAMPLE)


@pytest.mark.parametrize("mutation", quick(), ids=lambda one: one.name)
def test_a_broken_function_is_noticed(copy: Copy, mutation: plan.Mutation) -> None:
    # Mistake caught: tests that pass whatever a check says.
    found = copy.tests(mutation.tests, mutation.files(), run.LONGEST)
    assert run.noticed(found["code"], found["output"])


@pytest.mark.parametrize("name", SPOILT)
def test_what_a_learner_would_meet_is_noticed(copy: Copy, name: str) -> None:
    # The same, for what must never happen.
    module, sound, spoilt, test = SPOILT[name]
    path = f"checks/{module}"
    text = (copy.folder / path).read_text(encoding="utf-8")
    assert sound in text, f"{module} has changed: say here anew how to spoil it"
    address = plan.address(test)
    found = copy.tests((address,), {path: text.replace(sound, spoilt)})
    assert f"FAILED {address}" in found["output"]


@pytest.mark.pinned
@pytest.mark.parametrize("number", ["20", "36"])
def test_an_erratum_is_noticed(copy: Copy, number: str) -> None:
    # One that fails when the lesson is run, and one that only shows something else.
    (erratum,) = (one for one in ERRATA if one.number == number)
    by, _ = run.by_the_notebook(erratum, copy)
    assert by == "nbval"


def test_nothing_is_noticed_where_nothing_is_broken(copy: Copy) -> None:
    # A run that calls everything caught would pass all the tests above.
    text = (copy.folder / "checks/comparison.py").read_text(encoding="utf-8")
    found = copy.tests(("tests/test_comparison.py",), {"checks/comparison.py": text + "# more\n"})
    assert (found["code"], run.noticed(found["code"], found["output"])) == (0, "")


def test_the_copy_is_what_is_tested(copy: Copy) -> None:
    # The course is installed where it stands: a copy would be ignored, and nothing ever noticed.
    said = copy.python(["-c", "import checks; print(checks.__file__)"]).stdout.strip()
    assert said == str(copy.folder / "checks/__init__.py")


def test_what_is_put_in_is_taken_out_again(copy: Copy) -> None:
    # The next mutation would be noticed for the one before.
    for name in ("checks", "notebooks"):
        for path in (plan.ROOT / name).rglob("*.[pim][yp]*"):
            twin = copy.folder / path.relative_to(plan.ROOT)
            if "__pycache__" not in path.parts and twin.exists():
                assert twin.read_bytes() == path.read_bytes()


# Functions of which every variant is listed as equivalent.
NOTHING_BUT_EQUIVALENT = {
    ("answers.py", "_KindError.__init__"),
    ("backward.py", "fitted"),
    ("examine.py", "Stop.__init__"),
    ("malrules/general.py", "row 'detached-moves'"),
    ("malrules/general.py", "row 'one-step-too-far'"),
    ("reasons.py", "_question"),
    ("recording.py", "_Recorder.__init__"),
    ("replay.py", "Replay.__init__"),
    ("returned.py", "BlankError.__init__"),
    ("returned.py", "UnusableResultError.__init__"),
    ("smallest.py", "_no_constants"),
    ("verdict.py", "CheckFailed.__init__"),
}


# -- the tables ------------------------------------------------------------------------------------


def test_every_module_and_every_erratum_is_in_the_tables() -> None:
    # A new module that nobody breaks; a mistake that no longer can be put in.
    mutations = plan.everything()
    assert len(mutations) > 800
    assert len({one.name for one in mutations}) == len(mutations)


def test_every_function_is_broken() -> None:
    # A function of a kind that the variants pass over.
    whole = {path: variants(plan.PACKAGE / path, plan.PACKAGE) for path in GUARDS}
    none = {(path, name) for path, found in whole.items() for name in found if not found[name]}
    assert none == set()
    broken = {(one.change.module, one.change.function) for one in plan.broken_functions()}
    spared = {(path, name) for path, found in whole.items() for name in found} - broken
    assert spared == NOTHING_BUT_EQUIVALENT


def test_a_variant_changes_its_function_and_nothing_else() -> None:
    # Wrong places in a file with letters of two bytes; a change that leaves the code as it was.
    path = plan.PACKAGE / "comparison.py"
    text = path.read_text(encoding="utf-8")
    for found in variants(path, plan.PACKAGE).values():
        for variant in found:
            mutated = variant.apply(text)
            assert mutated != text
            assert mutated.replace(variant.after, "", 1).count("\n") <= text.count("\n")
            compile(mutated, path.name, "exec")


def test_an_erratum_that_no_longer_applies_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    # It would count as survived, or not at all, and nobody would know why.
    gone = Erratum("0", "gone", ERRATA[0].lesson, "what stands nowhere", "")
    monkeypatch.setattr(plan, "ERRATA", [gone])
    with pytest.raises(plan.PlanError, match=r"no longer apply.*errata\.py.*: No\. 0: gone\."):
        plan.everything()


def test_an_equivalent_that_no_longer_applies_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    # Reasons for code that is gone.
    monkeypatch.setattr(plan, "EQUIVALENT", {"a.py:f: x -> y": "no reason"})
    with pytest.raises(plan.PlanError, match=r"equivalent\.py.*Take out: a\.py:f: x -> y\."):
        plan.everything()


def test_results_are_kept_as_they_come(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # An interrupted run begins anew; or goes on with results of another state of the course.
    monkeypatch.setattr(run, "fingerprint", lambda: "now")
    caught, survived = (plan.Mutation(erratum) for erratum in ERRATA[:2])
    path = tmp_path / "mutations.jsonl"
    first = run.Results(path)
    first.store(run.Result(caught.name, run.CAUGHT, "a test", 1.0, "now"))
    first.store(run.Result(survived.name, run.SURVIVED, "", 1.0, "now"))
    again = run.Results(path)
    assert again.has(caught) and again.has(survived)
    only = run.Results(path, keep_caught=True)
    assert only.has(caught) and not only.has(survived)
    monkeypatch.setattr(run, "fingerprint", lambda: "later")
    assert not run.Results(path).has(caught)


def test_who_noticed_is_read_from_what_pytest_says() -> None:
    output = "=== short test summary info ===\nFAILED tests/test_a.py::test_x[1-a b] - assert 1\n"
    assert run.noticed(1, output) == "tests/test_a.py::test_x[1-a b]"
    assert run.noticed(1, "ERROR tests/test_a.py\n") == "tests/test_a.py"
    assert run.noticed(0, "") == ""
    assert "longer than" in run.noticed(None, "")


def test_every_lambda_of_a_table_is_a_function() -> None:
    # The rows of the mal-rules would never be broken.
    text = (plan.PACKAGE / "malrules/arithmetic.py").read_text(encoding="utf-8")
    names = [name for name, _ in functions(ast.parse(text)) if name.startswith("row ")]
    assert "row 'mean-count'" in names
    assert len(names) == len(set(names)) > 15
    assert all(re.fullmatch(r"row '[\w-]+'", name) for name in names)
