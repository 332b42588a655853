"""File names for students, who may be called anything."""

import hashlib
import re


def safe_name(student: str) -> str:
    """A file name for a student: unlike names stay unlike, and none leads anywhere else.

    It begins with nothing that a spreadsheet takes for a formula, or a command for an option.
    """
    plain = re.sub(r"[^\w.@-]", "_", student).lstrip(".@-")[:40] or "_"
    same = plain == student and plain == plain.lower()
    return (
        plain
        if same
        else f"{plain}-{hashlib.sha256(student.encode('utf-8', 'replace')).hexdigest()[:8]}"
    )
