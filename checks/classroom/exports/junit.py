"""JUnit XML: a test suite for each submission, a test case for each exercise.

As the xunit plugin of Jenkins describes it, which is what most readers understand. An exercise that
is not correct is a failure, whatever the reason: an unanswered one must not pass as skipped.
"""

import xml.etree.ElementTree as ET
from collections.abc import Sequence
from pathlib import Path

from checks.classroom.exports import words
from checks.classroom.report import write as write_file
from checks.classroom.results import Exercise, Result
from checks.verdict import Outcome


def write(results: Sequence[Result], to: Path) -> str:
    """Write all results into one file."""
    every = [exercise for result in results for exercise in result.exercises]
    root = ET.Element("testsuites", {"name": "checks", **_counts(every)})
    for result in results:
        name = words.clean(f"{result.assignment}.{result.student}")
        suite = ET.SubElement(root, "testsuite", {"name": name, **_counts(result.exercises)})
        for exercise in result.exercises:
            _add(suite, exercise)
        ET.SubElement(suite, "system-out").text = words.of_result(result)
    ET.indent(root, " ")
    write_file(to, '<?xml version="1.0" encoding="utf-8"?>\n' + ET.tostring(root, "unicode") + "\n")
    return f"Written: {to}."


def _counts(exercises: Sequence[Exercise]) -> dict[str, str]:
    failures = sum(exercise.outcome is not Outcome.CORRECT for exercise in exercises)
    return {"tests": str(len(exercises)), "failures": str(failures), "errors": "0"}


def _add(suite: ET.Element, exercise: Exercise) -> None:
    name = words.clean(f"Exercise {exercise.label}")
    case = ET.SubElement(suite, "testcase", name=name, classname=suite.attrib["name"])
    said = words.of_exercise(exercise)
    if exercise.outcome is Outcome.CORRECT:
        ET.SubElement(case, "system-out").text = said
        return
    message = f"{exercise.outcome}: {exercise.score:g} of {exercise.points:g} points"
    failure = ET.SubElement(case, "failure", type=str(exercise.outcome), message=message)
    failure.text = said
