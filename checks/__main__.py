"""The command `checks`. What a subcommand needs is imported when it is called: PyTorch is slow."""

import argparse
import sys
from pathlib import Path


def main() -> int:
    """Run `checks` with the arguments of the command line, and return its exit code."""
    arguments, extra = parser().parse_known_args()
    if extra and arguments.command != "lab":
        parser().error(f"unknown argument: {' '.join(extra)}")
    if arguments.command == "lab":
        return lab(arguments, extra)
    if arguments.command == "grade":
        return grade(arguments)
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
    return top


def grade(arguments: argparse.Namespace) -> int:
    """Mark a folder of submissions."""
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
