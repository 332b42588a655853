"""Marking hostile and unlucky submissions: each costs itself what it costs, and nobody else."""

from __future__ import annotations

import json
import os
import socket
import sys
import uuid
from collections.abc import Iterator
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from classroom import NAME, POINTS, hand_in, lesson_in, scores, stored, submission
from fenced import ISOLATION, commands, marking_threads, needs_fences, until_none_is_left
from hostile import DEEDS, ROWS, Row, deed

from checks.classroom import fence
from checks.classroom.grading import Graded, grade
from checks.classroom.names import safe_name
from checks.classroom.pairing import NONE_FOUND
from checks.classroom.running import Settings

pytestmark = needs_fences

# Enough for a function that is called 358 times, also where several at once share two cores.
LIMITS = fence.Limits(seconds=3.0, memory=1024)
ROSTER = {f"{n:02}": row for n, row in enumerate(ROWS)}
FORBIDDEN = {f"d{n:02}": name for n, name in enumerate(DEEDS)}
LINGERS = {
    "l1": "import os, time\nif not os.fork():\n    time.sleep(600)",
    "l2": "import os, time\nif not os.fork():\n    os.setsid()\n    if not os.fork():\n"
    "        os.setsid()\n        time.sleep(600)\n    os._exit(0)",
    "l3": "import subprocess\nsubprocess.Popen(['sleep', '600'], start_new_session=True)",
    "l4": "import os\nos.makedirs('/'.join(['a'] * 300))\nos.chmod('a', 0)",
}
ODD = "import random\nsize = 2\nraise ValueError(object(), random.random(), open('nowhere'))"
FILES = ("list", "empty", "text", "huge", "link", "loop", "folder", "pipe", "deep", "v3", "cells")


# What takes until its time is over is marked last: a test run that stops at the first failure has
# then stopped. And first a few of each kind.
SLOW = (
    "a function that never returns",
    "eats memory in children",
    "prints without end",
    "infinite loop",
    "deep recursion",
    "an answer that hangs",
    "hangs in __del__",
    "a fork bomb",
    "counts cells for ever",
    "a function that sleeps",
    "leaves threads behind",
    "a function that eats memory",
    "stops itself",
)
GROUPS = ("few", "most", "slow")


def group(student: str) -> str:
    """Those with whom a student is marked."""
    if student in ROSTER:
        slow = ROSTER[student].name in SLOW
        return "slow" if slow else "most" if int(student) % 4 else "few"
    return "most" if student in FORBIDDEN or student in LINGERS else "few"


def members(name: str) -> list[str]:
    """The students of a group."""
    return [who for who in (*ROSTER, *FORBIDDEN, *LINGERS, "odd") if group(who) == name]


@dataclass
class Class:
    """A run that has marked some of them once."""

    folder: Path
    graded: Graded
    told: list[str]
    left: list[str]
    before: bytes

    @property
    def results(self) -> Path:
        return self.folder / "results"


def mark(folder: Path, to: str = "results", **changes: Any) -> tuple[Graded, list[str]]:
    told: list[str] = []
    settings = Settings(LIMITS, changes.pop("isolation", ISOLATION))
    source = folder / "source" / f"{NAME}.md"
    graded = grade(
        folder / "submitted", [source], folder / to, settings, tell=told.append, **changes
    )
    return graded, told


@pytest.fixture(scope="module")
def threads() -> Iterator[Executor]:
    with marking_threads() as pool:
        yield pool


class Classes:
    """All submissions of this file, in groups, each marked when something of it is looked at."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: dict[str, Class] = {}

    def __getitem__(self, name: str) -> Class:
        if name not in self._known:
            self._known[name] = marked(name, self._folder / name)
        return self._known[name]

    def of(self, student: str) -> Class:
        return self[group(student)]


@pytest.fixture(scope="module")
def classes(tmp_path_factory: pytest.TempPathFactory) -> Classes:
    return Classes(tmp_path_factory.mktemp("class"))


def marked(name: str, folder: Path) -> Class:
    """The submissions of a group, marked in one run with three jobs."""
    submitted = folder / "submitted"
    source = lesson_in(folder / "source")
    good = hand_in(submitted, "good", submission())
    (folder / "results").mkdir()
    (folder / "tmp").mkdir()
    codes: dict[str, dict[str, str]] = {who: row.code for who, row in ROSTER.items()}
    codes |= {who: {"1.3": f"size = 2\n{code}"} for who, code in LINGERS.items()}
    codes |= {"odd": {"1.3": ODD}}
    with socket.socket(socket.AF_UNIX) as local, socket.create_server(("127.0.0.1", 0)) as tcp:
        local.bind(str(folder / "s"))
        local.listen()
        names = {
            **{"source": str(source), "other": str(good), "results": str(folder / "results")},
            **{"outside": str(folder / "outside"), "tests": __file__, "pid": os.getpid()},
            **{"socket": str(folder / "s"), "port": tcp.getsockname()[1]},
        }
        codes |= {who: {"1.3": deed(DEEDS[name], **names)} for who, name in FORBIDDEN.items()}
        for student in members(name):
            hand_in(submitted, student, submission(codes[student]))
        if name == "few":
            odd_files(submitted, good)
        before = good.read_bytes()
        identity = uuid.uuid4().hex
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("CHECKS_TEST", identity)
            patch.setenv("TEACHERS_TOKEN", "secret")
            patch.setenv("TMPDIR", str(folder / "tmp"))
            graded, told = mark(folder, jobs=3)  # each begins with a zygote and judges of its own
        return Class(folder, graded, told, until_none_is_left(identity), before)


def odd_files(submitted: Path, good: Path) -> None:
    """What is no notebook, in the place of one."""
    paths = {name: hand_in(submitted, f"file-{name}", "[]") for name in FILES}
    paths["empty"].write_bytes(b"")
    paths["text"].write_text("I could not do it, sorry!\n")
    os.truncate(paths["huge"], 500 << 20)
    paths["deep"].write_text("[" * 100_000)
    paths["v3"].write_text('{"nbformat": 3, "worksheets": []}')
    paths["cells"].write_text('{"cells": {"a": 1}}')
    for name in ("link", "loop", "folder", "pipe"):
        paths[name].unlink()
    paths["link"].symlink_to(good)
    paths["loop"].symlink_to("/dev/zero")
    paths["folder"].mkdir()
    os.mkfifo(paths["pipe"])


def expected(row: Row) -> dict[str, float]:
    return {
        label: 0 if label in row.lost else points / 2 if f"half of {label}" in row.lost else points
        for label, points in POINTS.items()
    }


IN_TURN = sorted(ROSTER, key=lambda student: GROUPS.index(group(student)))


@pytest.mark.parametrize("student", IN_TURN, ids=[ROSTER[one].name for one in IN_TURN])
def test_it_costs_its_own_exercise_and_no_other(classes: Classes, student: str) -> None:
    # The mistakes: credit for a check that the learner has rebound; a lost later exercise.
    assert scores(classes.of(student).results, student) == expected(ROSTER[student])


@pytest.mark.parametrize("student", FORBIDDEN, ids=list(FORBIDDEN.values()))
def test_what_is_forbidden_does_not_work(classes: Classes, student: str) -> None:
    # Each deed is rewarded with the right answer where it works.
    assert scores(classes.of(student).results, student) == {**POINTS, "1.3": 0}


@pytest.mark.parametrize("student", LINGERS)
def test_what_lingers_costs_nothing(classes: Classes, student: str) -> None:
    assert scores(classes.of(student).results, student) == POINTS


@pytest.mark.parametrize("name", FILES)
def test_what_is_no_notebook_is_reported(classes: Classes, name: str) -> None:
    # The mistake: one file that cannot be read ends the run, or is passed over in silence.
    result = stored(classes["few"].results, f"file-{name}")
    assert result["notes"] and all(e["score"] == 0 for e in result["exercises"])
    assert [e["outcome"] for e in result["exercises"]] == ["invalid"] * len(POINTS)


@pytest.mark.parametrize("name", GROUPS)
def test_nothing_outside_was_touched(classes: Classes, name: str) -> None:
    one = classes[name]
    assert one.graded.failed == 0
    assert scores(one.results, "good") == POINTS
    good = one.folder / "submitted/good" / NAME / f"{NAME}.ipynb"
    assert good.read_bytes() == one.before
    assert not (one.folder / "outside").exists()
    assert not Path("/dev/shm/left-by-a-submission").exists()


@pytest.mark.parametrize("name", GROUPS)
def test_nothing_is_left_behind(classes: Classes, name: str) -> None:
    # Daemons, forked twins, judges; scratch folders with deep or closed folders in them.
    assert classes[name].left == []
    assert list((classes[name].folder / "tmp").iterdir()) == []
    assert [p.name for p in classes[name].results.rglob(".*")] == []


@pytest.mark.parametrize("name", GROUPS)
def test_all_are_marked_and_say_how(classes: Classes, name: str) -> None:
    expected = len(members(name)) + len(FILES) * (name == "few") + len(["good"])
    results = list((classes[name].results / NAME).glob("*.json"))
    assert classes[name].graded.number == expected == len(results)
    for path in results:
        assert json.loads(path.read_text(encoding="utf-8"))["isolation"] == "full"


def test_all_are_in_a_group() -> None:
    # The mistake: a row whose name has changed is marked among those that take no time.
    assert {row.name for row in ROWS} > {*SLOW}
    number = len(ROSTER) + len(FORBIDDEN) + len(LINGERS) + len(["odd"])
    assert sum(len(members(name)) for name in GROUPS) == number


def test_marking_again_marks_nothing(classes: Classes) -> None:
    # A second run takes no time: all is there, and stays as it is.
    log = (classes["few"].results / "log.csv").read_bytes()
    mark(classes["few"].folder)
    assert (classes["few"].results / "log.csv").read_bytes() == log


def test_with_other_settings_all_is_marked_anew(tmp_path: Path, threads: Executor) -> None:
    # The mistake: half of a class is marked with one limit, and half with another; or each run
    # marks all.
    lesson_in(tmp_path / "source")
    hand_in(tmp_path / "submitted", "ada", submission())
    path = tmp_path / "results" / NAME / "ada.json"
    seen = []
    for follow_through in (0.5, 0.5, 0.25, 0.25):
        settings = Settings(LIMITS, ISOLATION, follow_through)
        source = [tmp_path / "source" / f"{NAME}.md"]
        grade(tmp_path / "submitted", source, tmp_path / "results", settings, executor=threads)
        run = json.loads((tmp_path / "results/run.json").read_text(encoding="utf-8"))
        assert run["isolation"] == "full" and run["version"]
        assert run["settings"]["follow_through"] == follow_through
        assert run["settings"]["limits"]["seconds"] == LIMITS.seconds
        seen.append(path.stat().st_mtime_ns)
    assert seen[0] == seen[1] < seen[2] == seen[3]


def test_what_has_changed_is_marked_anew(tmp_path: Path, threads: Executor) -> None:
    # The mistake: who hands in again keeps the old marks; a corrected source changes nothing.
    source = lesson_in(tmp_path / "source")
    hand_in(tmp_path / "submitted", "ada", submission({"1.3": "size = 3"}))
    hand_in(tmp_path / "submitted", "bob", submission())
    mark(tmp_path, executor=threads)
    assert scores(tmp_path / "results", "ada") == {**POINTS, "1.3": 0}
    bob = tmp_path / "results" / NAME / "bob.json"
    before = bob.stat().st_mtime_ns
    hand_in(tmp_path / "submitted", "ada", submission())
    mark(tmp_path, executor=threads)
    assert scores(tmp_path / "results", "ada") == POINTS
    assert bob.stat().st_mtime_ns == before
    text = source.read_text(encoding="utf-8")
    source.write_text(text.replace(":points: 2", ":points: 7", 1), encoding="utf-8")
    mark(tmp_path, executor=threads)
    assert scores(tmp_path / "results", "bob") == {**POINTS, "1.1": 7}


STEADY = (
    "nan",
    "closes everything",
    "ends its process",
    "raises",
    "half of a dict",
    "changes torch",
)


def test_marking_twice_gives_the_same_bytes(
    classes: Classes, tmp_path: Path, threads: Executor
) -> None:
    # The mistakes: an address, a folder's name, a set's order or a time among the results.
    lesson_in(tmp_path / "source")
    same = [student for student, row in ROSTER.items() if row.name.endswith(STEADY)]
    assert len(same) >= len(STEADY)
    for student in reversed(same):
        hand_in(tmp_path / "submitted", student, submission(ROSTER[student].code))
    hand_in(tmp_path / "submitted", "odd", submission({"1.3": ODD}))
    mark(tmp_path, executor=threads)
    for student in [*same, "odd"]:
        again = (tmp_path / "results" / NAME / f"{student}.json").read_bytes()
        assert again == (classes.of(student).results / NAME / f"{student}.json").read_bytes()


def test_autograd_is_flagged_and_not_failed(tmp_path: Path, threads: Executor) -> None:
    lesson_in(tmp_path / "source")
    code = "(dw,) = torch.autograd.grad(loss, w)"
    hand_in(tmp_path / "submitted", "ada", submission({"1.1": code}))
    mark(tmp_path, executor=threads)
    first, second, *_ = stored(tmp_path / "results", "ada")["exercises"]
    assert first["score"] == 2 and "autograd" in " ".join(first["flags"])
    assert second["flags"] == []


def test_the_notebook_of_another_lesson_is_told(tmp_path: Path, threads: Executor) -> None:
    # The mistake: a class is marked by the wrong source, and it takes a look at each to see it.
    lesson_in(tmp_path / "source")
    path = hand_in(tmp_path / "submitted", "ada", {"cells": [{"cell_type": "code", "source": "1"}]})
    _, told = mark(tmp_path, executor=threads)
    assert told == [f"{path}: {NONE_FOUND}"]


MISTAKES = {
    "no factor": {"1.1": "dw = error.detach() * x", "1.4": "dz_du = 1.3 * 0.7\ndz_dv = 1.3"},
    "sign": {"1.1": "dw = -2 * error.detach() * x", "1.4": "dz_du = -2 * 1.3 * 0.7\ndz_dv = -1.69"},
    "one entry": {"1.1": "dw = torch.tensor([10.442, 9.0])", "1.4": "dz_du = 1.81\ndz_dv = 1.7"},
    "shape": {"1.1": "dw = 1.0", "1.4": "dz_du = [1.8]\ndz_dv = [[1.6]]"},
    "far off": {"1.1": "dw = x * 1e6", "1.4": "dz_du = 'x'\ndz_dv = float('inf')"},
}
TRUE = ("10.442", "10.44", "4.086", "4.0860", "1.82", "1.69")


def test_a_wrong_answer_does_not_get_the_true_value(tmp_path: Path, threads: Executor) -> None:
    # What a student reads must leave something to be found.
    lesson_in(tmp_path / "source")
    for student, answers in MISTAKES.items():
        hand_in(tmp_path / "submitted", student, submission(answers))
    mark(tmp_path, executor=threads)
    for student in MISTAKES:
        wrong = [
            e
            for e in stored(tmp_path / "results", student)["exercises"]
            if e["score"] < e["points"]
        ]
        assert [e["label"] for e in wrong] == ["1.1", "1.4"]
        read = " ".join(e["text"] + e["html"] for e in wrong)
        typed = " ".join(MISTAKES[student].values())
        assert [value for value in TRUE if value in read and value not in typed] == []


NAMES = ["..", "a b", "Ada", "ada", "ÅSA", "CON", "=1+1", "-rf", "'; drop", "\udcff", "李" * 60]


def test_students_may_be_called_anything(tmp_path: Path, threads: Executor) -> None:
    # Two names must not become one file, and none leads out of the folder.
    lesson_in(tmp_path / "source")
    students = [name for name in NAMES if name != ".."]
    for student in students:
        hand_in(tmp_path / "submitted", student, submission())
    graded, _ = mark(tmp_path, executor=threads)
    files = {path.name.casefold() for path in (tmp_path / "results" / NAME).iterdir()}
    assert graded == Graded(len(students), 0) and len(files) == len(students)
    assert {safe_name(name).casefold() for name in NAMES}.isdisjoint({"", ".", "..", "con.json"})
    assert not any(safe_name(name).startswith(("=", "+", "-", "@", ".")) for name in NAMES)


ORPHAN = """
import os
if not os.fork():
    os.setsid()
    if not os.fork():
        os.execvp("sleep", ["sleep", "{0}"])
    os._exit(0)
"""


def test_without_fences_it_says_so(tmp_path: Path, threads: Executor) -> None:
    # The level of isolation is stored with each result, so that nobody takes it for full.
    lesson_in(tmp_path / "source")
    hand_in(tmp_path / "submitted", "ada", submission({"1.3": "import os\nos._exit(1)"}))
    # What outlives its parents is found also where no fence of the kernel's ends it.
    mine = f"599.{os.getpid()}"
    orphan = submission({"1.3": f"size = 2\n{ORPHAN.format(mine)}"})
    hand_in(tmp_path / "submitted", "bob", orphan)
    mark(tmp_path, executor=threads, isolation=fence.Isolation(True, False, False, False))
    assert scores(tmp_path / "results", "bob") == POINTS
    assert [line for line in commands() if f"sleep {mine}" in line] == []
    result = stored(tmp_path / "results", "ada")
    assert result["isolation"] == ["files", "network", "processes"]
    assert scores(tmp_path / "results", "ada") == {**POINTS, "1.3": 0}


def test_the_command_refuses_to_mark_without_fences(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from checks.__main__ import main

    lesson_in(tmp_path / "source")
    (tmp_path / "submitted").mkdir()
    none = fence.Isolation(limits=True, files=False, network=False, processes=False)
    monkeypatch.setattr(fence, "available", lambda: none)
    line = ["checks", "grade", str(tmp_path / "submitted"), "--source", str(tmp_path / "source")]
    monkeypatch.setattr(sys, "argv", [*line, "--to", str(tmp_path / "results")])
    assert main() == 2 and "--unfenced" in capsys.readouterr().err
    monkeypatch.setattr(sys, "argv", [*sys.argv, "--unfenced"])
    assert main() == 2 and "There is no notebook in" in capsys.readouterr().err
    hand_in(tmp_path / "submitted", "ada", submission())
    assert main() == 0 and "WITHOUT FULL FENCES" in capsys.readouterr().err


@pytest.mark.parametrize("part", ["submitted", "source", "results"])
def test_what_submissions_could_read_is_refused(
    part: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # The mistake: solutions in a folder of Python's, which every fence lets pass.
    from checks.__main__ import main

    lesson_in(tmp_path / "source")
    hand_in(tmp_path / "submitted", "ada", submission())
    (tmp_path / "link").symlink_to("/usr")
    paths = {name: tmp_path / name for name in ("submitted", "source", "results")}
    paths[part] = tmp_path / "link" / "share"
    line = f"{paths['submitted']} --source {paths['source']} --to {paths['results']}"
    monkeypatch.setattr(sys, "argv", ["checks", "grade", *line.split()])
    assert main() == 2
    assert "which each submission can read. Move it." in capsys.readouterr().err


@pytest.mark.parametrize("limit", ["--timeout=0", "--timeout=nan", "--memory=-5", "--timeout=inf"])
def test_a_limit_that_is_none_is_refused(
    limit: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # The mistake: every submission is ended at once, and gets no points.
    from checks.__main__ import main

    lesson_in(tmp_path / "source")
    hand_in(tmp_path / "submitted", "ada", submission())
    line = f"{tmp_path}/submitted --source {tmp_path}/source --to {tmp_path}/results {limit}"
    monkeypatch.setattr(sys, "argv", ["checks", "grade", *line.split()])
    assert main() == 2 and limit.split("=")[0] in capsys.readouterr().err
    assert not (tmp_path / "results").exists()
