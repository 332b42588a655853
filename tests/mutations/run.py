"""Put mutations into copies, one after the other, and store what the tests say."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from queue import Queue

import nbformat

from mutations.copies import ROOT, BrokenError, Copy, copies
from mutations.errata import Erratum
from mutations.plan import Mutation

CAUGHT, SURVIVED = "caught", "SURVIVED"
LONGEST = 120  # seconds for one file of tests; who hangs longer is noticed


@dataclass(frozen=True)
class Result:
    """What came of a mutation, and who has noticed it."""

    name: str
    outcome: str
    by: str
    seconds: float
    course: str  # what the files of the course were: see `fingerprint`


class Results:
    """The results that are stored: one line of JSON each."""

    def __init__(self, path: Path, *, keep_caught: bool = False) -> None:
        self.course = fingerprint()
        self._path, self._lock = path, threading.Lock()
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        stored = [Result(**json.loads(line)) for line in lines]
        kept = [
            one
            for one in stored
            if one.course == self.course or (keep_caught and one.outcome == CAUGHT)
        ]
        if keep_caught:
            kept = [one for one in kept if one.outcome == CAUGHT]
        self._known = {one.name: one for one in kept}
        path.parent.mkdir(exist_ok=True)
        path.write_text("".join(map(_line, self._known.values())), encoding="utf-8")

    def has(self, mutation: Mutation) -> bool:
        """Whether the result of a mutation is known."""
        return mutation.name in self._known

    def of(self, mutation: Mutation) -> Result:
        """The result of a mutation."""
        return self._known[mutation.name]

    def store(self, result: Result) -> None:
        """Keep a result, also on the disk."""
        with self._lock, self._path.open("a", encoding="utf-8") as file:
            self._known[result.name] = result
            file.write(_line(result))


def _line(result: Result) -> str:
    return json.dumps(asdict(result), ensure_ascii=False) + "\n"


def fingerprint() -> str:
    """Tells whether anything has changed that decides about a result."""
    content = hashlib.sha256()
    for folder in ("checks", "tests", "notebooks"):
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in {".py", ".md", ".ipynb"} and "node_modules" not in path.parts:
                content.update(str(path.relative_to(ROOT)).encode() + path.read_bytes())
    return content.hexdigest()[:12]


def run(mutations: Sequence[Mutation], results: Results, jobs: int) -> None:
    """Try all mutations whose result is not known.

    Raises:
        BrokenError: a test that has noticed one fails without it, too.
    """
    waiting = [one for one in mutations if not results.has(one)]
    if not waiting:
        return
    sound = Sound()
    with copies(min(jobs, len(waiting))) as made, ThreadPoolExecutor(len(made)) as pool:
        free: Queue[Copy] = Queue()
        for copy in made:
            free.put(copy)

        def work(mutation: Mutation) -> None:
            copy = free.get()
            try:
                result = tried(mutation, copy, sound, results.course)
            finally:
                free.put(copy)
            results.store(result)
            print(f"{result.outcome:8} {result.seconds:6.1f} s  {result.name}", flush=True)

        try:
            for done in [pool.submit(work, mutation) for mutation in waiting]:
                done.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


class Sound:
    """Tests that are known to pass where nothing is broken."""

    def __init__(self) -> None:
        self._known: set[str] = set()
        self._lock = threading.Lock()

    def require(self, copy: Copy, test: str) -> None:
        """Run tests in a copy as it is, unless that was done before."""
        with self._lock:
            if test in self._known:
                return
            self._known.add(test)
        found = copy.tests((test,))
        if found["code"] != 0:
            raise BrokenError(
                f"{test} fails also where no mistake was put in. Mend that first:\n"
                f"{found['output'][-1500:]}"
            )


def tried(mutation: Mutation, copy: Copy, sound: Sound, course: str) -> Result:
    """Put one mutation into a copy, and look who notices it."""
    if isinstance(mutation.change, Erratum):
        by, seconds = put_back(mutation.change, mutation, copy, sound)
    else:
        found = copy.tests(mutation.tests, mutation.files(), LONGEST)
        by, seconds = noticed(found["code"], found["output"]), found["seconds"]
        if by:
            sound.require(copy, found["test"])
    return Result(mutation.name, CAUGHT if by else SURVIVED, by, seconds, course)


def noticed(code: int | None, output: str) -> str:
    """Which test has failed, from what pytest says; "" where none has."""
    if code == 0:
        return ""
    if code is None:
        return f"a test that takes longer than {LONGEST} s"
    failed = re.search(r"^(?:FAILED|ERROR) (\S+(?:::.*?)?)(?: - .*)?$", output, re.MULTILINE)
    return failed[1] if failed else "Python itself crashed"


def put_back(erratum: Erratum, mutation: Mutation, copy: Copy, sound: Sound) -> tuple[str, float]:
    """Put an erratum into its source, and into its notebook: both must be noticed."""
    sound.require(copy, erratum.notebook)
    built, first = by_the_source(erratum, mutation, copy)
    compared, second = by_the_notebook(erratum, copy)
    by = f"{built}; in the notebook: {compared}" if built and compared else ""
    return by, round(first + second, 1)


def by_the_source(erratum: Erratum, mutation: Mutation, copy: Copy) -> tuple[str, float]:
    """The source is edited, and the lesson built."""
    paths = [copy.folder / name for name in (erratum.source, *notebooks(erratum))]
    before = [path.read_bytes() for path in paths]
    try:
        paths[0].write_text(mutation.files()[erratum.source], encoding="utf-8")
        done = copy.python(["-m", "checks", "build", erratum.source])
        if done.returncode:
            return "the build refuses it", 0.0
        found = copy.tests(("tests/test_errata.py", erratum.notebook))
        by = noticed(found["code"], found["output"])
        return by and f"built, and then {by}", found["seconds"]
    finally:
        for path, content in zip(paths, before, strict=True):
            path.write_bytes(content)


def by_the_notebook(erratum: Erratum, copy: Copy) -> tuple[str, float]:
    """The code in the notebook is edited, and its outputs are those of before."""
    path = copy.folder / erratum.notebook
    nb = nbformat.read(path, as_version=4)
    changed = 0
    for cell in nb.cells:
        sound = erratum.sound.rstrip("\n")
        if cell.cell_type == "code" and sound in cell.source:
            cell.source = cell.source.replace(sound, erratum.wrong.rstrip("\n"))
            changed += 1
    if not changed:  # what stands in a solution only
        return "not in the learner's version", 0.0
    found = copy.tests((erratum.notebook,), {erratum.notebook: nbformat.writes(nb)})
    if noticed(found["code"], found["output"]):
        return "nbval", found["seconds"]
    before = path.read_bytes()
    try:
        nbformat.write(nb, path)
        done = copy.python(["-m", "checks", "build", "--check", erratum.source])
    finally:
        path.write_bytes(before)
    return "build --check" if done.returncode else "", found["seconds"]


def notebooks(erratum: Erratum) -> tuple[str, str]:
    return erratum.notebook, erratum.notebook.replace("notebooks/", "notebooks/solutions/")
