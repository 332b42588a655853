"""The page for contributors: its worked example runs, and its table is the catalogue."""

import contextlib
import io
import re

import pytest
import torch
from malrules_page import PAGE, page
from test_malrules import close
from wrong.case import CASES

import checks
from checks import breaking
from checks.undisturbed import undisturbed

TEXT = PAGE.read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(python|text)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


def shown(said):
    """The lines of a verdict, without its picture."""
    return str(said).split("\n\n")[0].strip()


@pytest.fixture
def ran():
    """Run the page's code in one namespace; what it prints must stand below it."""
    names, count = {"__name__": "page"}, len(CASES)
    printed = ""
    for language, text in BLOCKS:
        if language == "python":
            with contextlib.redirect_stdout(io.StringIO()) as out:
                exec(compile(text, PAGE.name, "exec"), names)
            printed = out.getvalue()
        elif printed:
            assert shown(printed) == text.strip()
            printed = ""
    assert not printed
    yield names
    del CASES[count:]


def test_the_worked_example_runs(ran, monkeypatch):
    # Mistake caught: an example that once worked. The row that it adds is not there yet, and with
    # it the case holds and the sentence is the one that is promised.
    assert not checks.gradient("7.1", ran["wrong"], of=ran["loss"], wrt=ran["x"]).mistakes
    monkeypatch.setattr(breaking, "NODE_RULES", (*breaking.NODE_RULES, ran["row"]))
    breaking.rules_for.cache_clear()
    try:
        verdict = eval('checks.gradient("7.1", wrong, of=loss, wrt=x)', ran)
        assert shown(verdict) == BLOCKS[-1][1].strip()
        name, _, build = CASES[-1]
        graph, wrt, numbers = build()
        assert graph.check(torch.as_tensor(numbers), wrt).mistakes == (name,)
        with undisturbed():
            found = [c for c in graph.search(wrt).candidates() if c.mistake.name == name]
        assert any(close(candidate.gradient, numbers) for candidate in found)
    finally:
        breaking.rules_for.cache_clear()


def test_the_table_is_the_catalogue():
    # Mistake caught: a row was added or reworded, and the page not renewed.
    assert page(TEXT) == TEXT, "run `python tests/malrules_page.py`"
