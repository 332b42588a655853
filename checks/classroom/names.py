"""File names for students, who may be called anything."""

import hashlib
import re


def safe_name(student: str) -> str:
    """A file name for a student: unlike names stay unlike, and none leads anywhere else."""
    plain = re.sub(r"[^\w.@-]", "_", student).lstrip(".")[:80] or "_"
    same = plain == student and plain == plain.lower()
    return plain if same else f"{plain}-{hashlib.sha256(student.encode()).hexdigest()[:8]}"
