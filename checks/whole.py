"""Files that are written whole or not at all."""

from __future__ import annotations

import os
import threading
from pathlib import Path


def write(path: Path, text: str) -> None:
    """Replace a file, in UTF-8. Whoever reads it sees the old one or the new one, no half.

    Several processes may write the same file: the last one wins. Halves of characters, which a
    learner's text may hold, cannot be written; question marks stand for them.

    Raises:
        OSError: it cannot be written; it is as it was.
    """
    half = path.with_name(f".{os.getpid()}-{threading.get_ident()}.half")
    try:
        half.write_text(text, encoding="utf-8", errors="replace", newline="\n")
        half.replace(path)
    finally:
        half.unlink(missing_ok=True)
