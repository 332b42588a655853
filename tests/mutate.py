"""`make mutate`: does each mistake that is put into a copy of the course make a test fail?

Two kinds of mistakes are put in: the code errata of the original notebooks (`mutations.errata`),
and a broken variant of every function of `checks` that decides a verdict (`mutations.variants`).
At least 98 % must be caught. Those that cannot be are listed with a reason in
`mutations.equivalent`.

Every result is stored at once in artefacts/mutations.jsonl: a run that was interrupted goes on.
"""

from __future__ import annotations

import argparse
import fnmatch
import sys
from pathlib import Path

from mutations.copies import ROOT, BrokenError
from mutations.plan import Mutation, PlanError, everything, sample
from mutations.run import Results, run
from mutations.table import ENOUGH, rate, table


def main() -> int:
    asked = arguments()
    try:
        mutations = [one for one in everything() if wanted(one, asked.only)]
        mutations = sample(mutations, asked.sample) if asked.sample else mutations
        if asked.list:
            print(*(one.name for one in mutations), sep="\n")
            return 0
        results = Results(ROOT / "artefacts/mutations.jsonl", keep_caught=asked.keep_caught)
        run(mutations, results, asked.jobs)
    except (PlanError, BrokenError) as error:
        print(error, file=sys.stderr)
        return 2
    found = [results.of(one) for one in mutations]
    text = table(mutations, found)
    print(text)
    if not asked.only and not asked.sample:
        (ROOT / "artefacts/mutations.md").write_text(text + "\n", encoding="utf-8")
    return 0 if rate(found) >= ENOUGH else 1


def wanted(mutation: Mutation, patterns: list[str]) -> bool:
    return not patterns or any(fnmatch.fnmatch(mutation.name, pattern) for pattern in patterns)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make mutate", description=__doc__.split("\n")[0])
    parser.add_argument("--jobs", type=int, default=2, help="copies that work side by side (2)")
    parser.add_argument("--sample", type=int, default=0, metavar="N", help="only so many of all")
    parser.add_argument("--list", action="store_true", help="only say what would be put in")
    parser.add_argument(
        "--only", nargs="+", default=[], metavar="PATTERN", help='"answers.py:*", "No. 34*"'
    )
    parser.add_argument(
        "--keep-caught",
        action="store_true",
        help="try again only what has survived or is new: after tests were added, say",
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    sys.exit(main())
