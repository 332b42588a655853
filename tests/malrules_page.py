"""The table of all mal-rules in `checks/MALRULES.md`. `python tests/malrules_page.py` renews it."""

from pathlib import Path

from checks.graph import called
from checks.malrules import BROADCAST_RULES, MEETING_RULES, NODE_RULES, RESULT_RULES

PAGE = Path(__file__).parent.parent / "checks" / "MALRULES.md"
MARK = "<!-- made by python tests/malrules_page.py -->\n"
_SPANS = {"Composition": "one function inside another", "Pow": "power"}
_HOW_LIKELY = {1: "very common", 2: "common", 3: "now and then", 4: "rare", 5: "last of all"}


def table():
    """One row for each mal-rule, in the order of the catalogue."""
    yield "| name | your numbers are what comes out when … | where | lesson | how likely |"
    yield "|---|---|---|---|---|"
    tables = [
        (NODE_RULES, "any step"),
        (BROADCAST_RULES, "where an operand is broadcast"),
        (MEETING_RULES, "where paths meet"),
        (RESULT_RULES, "at the end"),
    ]
    for rules, place in tables:
        for rule in rules:
            words = list(dict.fromkeys(map(_word, rule.kinds)))
            says = rule.says.format(operation=words[0] if len(words) == 1 else "step")
            where = ", ".join(words) or place
            likely = _HOW_LIKELY[rule.rank]
            yield f"| `{rule.name}` | {says} | {where} | {rule.lesson} | {likely} |"


def _word(kind):
    return _SPANS.get(kind) or called(kind)


def page(text):
    """The page with a new table."""
    return text[: text.index(MARK) + len(MARK)] + "\n" + "\n".join(table()) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8", newline="\n")
