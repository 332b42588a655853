"""`checks doctor`: the fences around a submission that this machine can put up, or not."""

import os
import platform
import sys
from importlib.util import find_spec

_NAMESPACES = (
    "Unprivileged user namespaces are switched off here. On Ubuntu: "
    "`sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0`; on Debian: "
    "`sudo sysctl kernel.unprivileged_userns_clone=1`. In a container, they have to be allowed "
    "from outside (Docker: `--security-opt seccomp=unconfined`)."
)
_NO_PACKAGE = "The package `landlock` is missing: `pip install 'autograd-by-hand[classroom]'`."
_NO_LANDLOCK = (
    "It takes Linux 5.13 or newer with Landlock switched on: `cat /sys/kernel/security/lsm` should "
    "name `landlock`. In a container, the system around it decides."
)
_NO_LIMITS = "The system does not let a process limit itself. In a container, ask who runs it."


def examine() -> tuple[bool, list[str]]:
    """Return whether all fences stand, and what to tell the teacher."""
    lines = [f"{platform.system()} {platform.release()}, Python {platform.python_version()}"]
    if not hasattr(os, "fork"):
        return False, [*lines, "Marking needs Linux or macOS; on Windows it works inside WSL."]
    from checks.classroom import fence

    isolation = fence.available()
    lines += ["Fences around each submission:", *(f"  {line}" for line in isolation.sentences())]
    if isolation.full:
        return True, [*lines, "This machine can mark what strangers have written."]
    return False, [
        *lines,
        "What to do:",
        *(f"  - {sentence}" for sentence in _advice(isolation)),
        "Until then, `checks grade` marks only with --unfenced: if you trust every submission.",
    ]


def _advice(isolation: object) -> list[str]:
    """Say what to do about each fence that is missing."""
    missing = [name for name, stands in vars(isolation).items() if not stands]
    if sys.platform != "linux":
        return ["Only Linux has all of these fences: mark there, or in a virtual machine."]
    advice = {
        "limits": _NO_LIMITS,
        "files": _NO_LANDLOCK if find_spec("landlock") else _NO_PACKAGE,
        "network": _NAMESPACES,
        "processes": _NAMESPACES,
    }
    return list(dict.fromkeys(advice[name] for name in missing))
