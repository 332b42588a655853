"""The command `checks`. What a subcommand needs is imported when it is called: PyTorch is slow."""

import argparse
import os
import sys
from pathlib import Path, PurePosixPath


def main() -> int:
    """Run `checks` with the arguments of the command line, and return its exit code."""
    arguments, extra = parser().parse_known_args()
    if extra and arguments.command != "lab":
        parser().error(f"unknown argument: {' '.join(extra)}")
    if arguments.command == "lab":
        return lab(arguments, extra)
    if arguments.command == "collect":
        return collect(arguments)
    if arguments.command == "grade":
        return grade(arguments)
    if arguments.command == "release":
        return release(arguments)
    if arguments.command == "report":
        return report(arguments)
    if arguments.command == "export":
        return export(arguments)
    if arguments.command == "doctor":
        return doctor()
    return build(arguments)


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="checks", description="The course's own command.")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    lab = commands.add_parser(
        "lab",
        help="copy the lessons to my-notebooks and open JupyterLab there",
        description="Copy the lessons that are not there yet to my-notebooks, without outputs, and "
        "open JupyterLab there. Your own copies are never overwritten. Any other argument is "
        "passed on to jupyter lab.",
    )
    lab.add_argument("--no-browser", action="store_true", help="only say the address")
    lab.add_argument("--port", type=int, help="the port to serve on")
    lab.add_argument("--copy-only", action="store_true", help="copy the lessons, open nothing")

    build = commands.add_parser("build", help="build the notebooks from notebooks/source")
    build.add_argument(
        "sources", nargs="*", type=Path, metavar="SOURCE", help="only these (all without it)"
    )
    build.add_argument(
        "--check", action="store_true", help="only say which notebooks are not what they should be"
    )
    release = commands.add_parser(
        "release",
        help="make the notebooks that students get",
        description="Make from each source the notebook that you hand out: exercises blank, no "
        "outputs, figures inside, and the points written above each exercise. The one file is "
        "enough.",
    )
    release.add_argument(
        "sources", nargs="+", type=Path, metavar="SOURCE", help="notebooks/source/05*.md, say"
    )
    release.add_argument("--to", type=Path, required=True, help="the folder for the notebooks")
    release.add_argument(
        "--variants",
        type=Path,
        metavar="ROSTER",
        help="other numbers for each student of this CSV file (column `student`), where the source "
        "has cells with the tag `varies`; each student gets a folder of their own",
    )
    collect = commands.add_parser(
        "collect",
        help="copy the students' notebooks from their homes on a shared machine",
        description="On a machine with a home for each student, such as a JupyterHub: copy "
        "HOMES/STUDENT/NOTEBOOK to the folder for `checks grade`, for every student. It is for "
        "root, who may read all homes: no link is followed out of a student's folder. What is "
        "written belongs to the owner of the folder it is written to. Notebooks that were "
        "collected before are replaced by newer ones, and none is taken away. The exit code is 1 "
        "when a notebook is there and was not collected; which one is said.",
    )
    collect.add_argument("homes", type=Path, metavar="HOMES", help="the folder of homes: /home")
    collect.add_argument(
        "notebooks",
        nargs="+",
        type=PurePosixPath,
        metavar="NOTEBOOK",
        help="where it lies in a home: course/05_backpropagation.ipynb, say",
    )
    collect.add_argument("--to", type=Path, required=True, help="the folder for the submissions")
    grade = commands.add_parser(
        "grade",
        help="mark what students have handed in",
        description="Mark a folder of notebooks (student/assignment/notebook.ipynb, or flat), or a "
        "zip of one, with the checks of the teacher's sources. Each submission runs in a fenced "
        "process of its own; one bad file never stops the others. A run that was interrupted goes "
        "on where it stopped. The exit code is 0 when all is marked, whatever the marks.",
    )
    grade.add_argument("submitted", type=Path, help="the folder or zip of submissions")
    grade.add_argument(
        "--source", type=Path, required=True, help="the teacher's source, or the folder of sources"
    )
    grade.add_argument("--to", type=Path, required=True, help="the folder for the results")
    grade.add_argument("--jobs", type=int, default=2, help="marked at the same time (2)")
    grade.add_argument(
        "--scheduler",
        metavar="ADDRESS",
        help="mark on the workers of this Dask scheduler (tcp://10.0.0.1:8786, say), and not here",
    )
    grade.add_argument(
        "--variants",
        type=Path,
        metavar="ROSTER",
        help="the CSV file with which the lesson was released, if with other numbers for each",
    )
    grade.add_argument(
        "--timeout", type=float, default=20, help="seconds that one cell may take (20)"
    )
    grade.add_argument(
        "--memory", type=int, default=2048, help="megabytes that a submission may use (2048)"
    )
    grade.add_argument(
        "--follow-through",
        type=float,
        default=1.0,
        metavar="SHARE",
        help="what a gradient is worth that is wrong but follows from the student's own earlier "
        "step: 0 to 1 of its points (1)",
    )
    grade.add_argument(
        "--unfenced",
        action="store_true",
        help="mark although this machine cannot put up all fences (see `checks doctor`)",
    )
    report = commands.add_parser(
        "report",
        help="tables of marks, feedback for students, and what the class got wrong",
        description="Write into the folder of results: grades.csv and exercises.csv; "
        "class.html for you, with the marks and the mistakes that the class made; and "
        "feedback/ASSIGNMENT/STUDENT.html to give back. The pages can be read offline.",
    )
    report.add_argument("results", type=Path, help="the folder that `checks grade` has written to")
    export = commands.add_parser(
        "export",
        help="hand the marks on to Gradescope, GitHub Classroom, nbgrader or a table",
        description="Write the marks in the format of another tool. gradescope: a results.json for "
        "each student; junit: one XML file, and the exit code 1 unless every exercise is correct, "
        "as GitHub Classroom and other automatic runs want it; nbgrader: its gradebook "
        "(gradebook.db; nbgrader must be installed); csv: the table that `nbgrader export` writes.",
    )
    export.add_argument("results", type=Path, help="the folder that `checks grade` has written to")
    export.add_argument(
        "--as",
        dest="form",
        required=True,
        choices=("gradescope", "junit", "nbgrader", "csv"),
        help="the format",
    )
    export.add_argument(
        "--to",
        type=Path,
        required=True,
        help="the file to write; for gradescope a folder, or a .json file for a single result",
    )
    commands.add_parser(
        "doctor",
        help="say how well this machine can fence in what students wrote",
        description="Say which fences around a submission this machine can put up, and what to do "
        "about those that are missing. The exit code is 0 when there are all.",
    )
    return top


def release(arguments: argparse.Namespace) -> int:
    """Make the notebooks to hand out."""
    from checks.classroom import release
    from checks.classroom.lesson import LessonError

    try:
        students = release.roster(arguments.variants) if arguments.variants else []
        done = release.release(arguments.sources, arguments.to, students)
    except (LessonError, release.RosterError, OSError) as problem:
        print(problem, file=sys.stderr)
        return 1
    for one in done:
        exercises = "1 exercise" if one.exercises == 1 else f"{one.exercises} exercises"
        print(f"{one.path}: {exercises}, {one.points:g} points")
    return 0


def report(arguments: argparse.Namespace) -> int:
    """Write tables, feedback, and the page about the class."""
    from checks.classroom import report

    try:
        problems = report.report(arguments.results)
    except (report.ReportError, OSError) as problem:
        print(problem, file=sys.stderr)
        return 1
    for sentence in problems:
        print(sentence, file=sys.stderr)
    print(f"Written: {arguments.results / 'class.html'}, and all else beside it.")
    return 1 if problems else 0


def export(arguments: argparse.Namespace) -> int:
    """Write the marks for another tool. 2 when that was not possible."""
    from checks.classroom.exports import ExportError, export

    try:
        exported = export(arguments.results, arguments.form, arguments.to)
    except (ExportError, OSError) as problem:
        print(problem, file=sys.stderr)
        return 2
    for sentence in exported.problems:
        print(sentence, file=sys.stderr)
    print(exported.says)
    failed = arguments.form == "junit" and not exported.all_correct
    return 1 if exported.problems or failed else 0


def doctor() -> int:
    """Say which fences this machine can put up."""
    from checks.classroom import doctor

    complete, lines = doctor.examine()
    print("\n".join(lines))
    return 0 if complete else 1


def collect(arguments: argparse.Namespace) -> int:
    """Copy the students' notebooks out of their homes."""
    from checks.classroom import collecting

    try:
        done = collecting.collect(arguments.homes, arguments.notebooks, arguments.to)
    except (collecting.CollectingError, OSError) as problem:
        print(problem, file=sys.stderr)
        return 1
    for sentence in done.refused:
        print(sentence, file=sys.stderr)
    for notebook, students in done.missing.items():
        if students:
            print(f"There is no {notebook} of: {', '.join(students)}.")
    if not done.written:
        print("Nothing was collected.", file=sys.stderr)
        return 1
    number = f"{len(done.written)} notebook{'s' * (len(done.written) != 1)}"
    print(f"Collected in {arguments.to}: {number}. Next: `checks grade {arguments.to} …`.")
    return 1 if done.refused else 0


def grade(arguments: argparse.Namespace) -> int:
    """Mark a folder of submissions."""
    if not hasattr(os, "fork"):
        print("Marking needs Linux or macOS; on Windows it works inside WSL.", file=sys.stderr)
        return 2
    from checks.classroom.command import grade

    return grade(arguments)


def lab(arguments: argparse.Namespace, extra: list[str]) -> int:
    """Copy the lessons and open JupyterLab."""
    from checks import launch

    try:
        course = launch.find_course(Path.cwd())
        launch.tell(launch.copy_lessons(course))
    except launch.LaunchError as problem:
        print(problem, file=sys.stderr)
        return 1
    if not arguments.copy_only:
        launch.open_lab(course, browser=not arguments.no_browser, port=arguments.port, extra=extra)
    return 0


def build(arguments: argparse.Namespace) -> int:
    """Build the notebooks, or say which are not what their sources build."""
    from checks import launch
    from checks.classroom import build

    try:
        course = launch.find_course(Path.cwd())
    except launch.LaunchError as problem:
        print(problem, file=sys.stderr)
        return 1
    sources = arguments.sources or sorted((course / "notebooks/source").glob("*.md"))
    if not sources:
        print(f"There is no lesson in {course / 'notebooks/source'}.", file=sys.stderr)
        return 1
    problems = build.run(sources, check=arguments.check)
    for sentence in problems:
        print(sentence, file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
