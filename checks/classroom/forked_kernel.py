"""What a kernel does that was forked from a warm process: become as one that was started."""

from __future__ import annotations

import atexit
import os
import runpy
import signal
import sys
from pathlib import Path

import numpy
import torch
from ipykernel.kernelapp import IPKernelApp


def main(*arguments: str) -> None:
    """Run a kernel with the arguments of `python -m ipykernel_launcher`."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    numpy.random.seed()  # other numbers in each kernel; `random` sees to it by itself
    torch.seed()
    if not sys.flags.safe_path:
        sys.path[0] = str(Path.cwd())  # where Python begins; the launcher takes it out again
    sys.argv = ["-m", *arguments]
    IPKernelApp.instance(parent_handle=os.getppid())  # it ends when its parent has ended
    os.environ["JPY_PARENT_PID"] = str(os.getppid())
    try:
        runpy.run_module("ipykernel_launcher", run_name="__main__", alter_sys=True)
    finally:
        atexit._run_exitfuncs()
