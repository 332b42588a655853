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
    return top


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
