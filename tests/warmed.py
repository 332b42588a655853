"""What a warm process forks in the tests: it answers, or does not."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path


def main(how: str = "echo", value: str = "") -> None:
    if how == "echo":
        for line in sys.stdin.buffer:
            if b'"end"' in line:
                os._exit(1)
            if b'"silent"' not in line:
                sys.stdout.buffer.write(line * (2 if b'"twice"' in line else 1))
                sys.stdout.buffer.flush()
    elif how == "about":
        leads = os.getsid(0) == os.getpid()
        about = {"cwd": str(Path.cwd()), "env": dict(os.environ), "leads": leads}
        print(json.dumps(about))  # what is not written yet when it ends must not be lost
    elif how == "exit":
        sys.exit(int(value))
    elif how == "raise":
        raise ValueError(value)
    elif how == "killed":
        os.kill(os.getpid(), signal.SIGTERM)
    elif how == "stay":
        print("{}", flush=True)
        time.sleep(600)
