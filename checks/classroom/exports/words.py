"""What a student reads of an exercise, where only plain text can be shown.

The same as in their page of feedback: what the check says, which does not hold the true values, and
the notes. Flags are for the teacher alone.
"""

import re

from checks.classroom.results import Exercise, Result

# No XML document may hold these characters, not even escaped; halves of characters are among them.
_ILLEGAL = re.compile(r"[^\t\n\r\x20-\uD7FF\uE000-\uFFFD\U00010000-\U0010FFFF]")


def clean(text: str) -> str:
    """Return the text without the characters that some readers of a format choke on."""
    return _ILLEGAL.sub("\N{REPLACEMENT CHARACTER}", text)


def of_exercise(exercise: Exercise) -> str:
    """What the check says, and the notes."""
    return clean("\n".join([exercise.text, *_notes(exercise.notes)]))


def of_result(result: Result) -> str:
    """The sum, and the notes on the whole submission."""
    total = f"{result.score:g} of {result.points:g} points"
    return clean("\n".join([total, *_notes(result.notes)]))


def _notes(notes: tuple[str, ...]) -> list[str]:
    return [f"Note: {note}" for note in notes]
