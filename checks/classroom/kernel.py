"""What Linux offers to fence in a process, and Python's library does not: by way of `ctypes`.

All of it holds for the calling process and what it starts from then on, and raises OSError where
the machine does not give it.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
from pathlib import Path

NEW_MOUNTS, NEW_IPC, NEW_USER = 0x00020000, 0x08000000, 0x10000000
NEW_PROCESSES, NEW_NETWORK = 0x20000000, 0x40000000

_PARENT_DEATH_SIGNAL, _SECCOMP, _CHILD_SUBREAPER, _NO_NEW_PRIVILEGES = 1, 22, 36, 38
_RECURSIVE, _PRIVATE = 0x4000, 0x40000
_MOUNT_SETATTR, _FROM_HERE, _AND_BELOW, _READ_ONLY = 442, -100, 0x8000, 1

# socket (also those of files, which Landlock lets pass), io_uring_setup (makes sockets as well),
# keys that outlive a process, the calls that change who a process is, and memory that counts to no
# process: shmget, memfd_create, memfd_secret, mq_open.
_DENIED = {
    "x86_64": (
        0xC000003E,
        (41, 425, 248, 249, 250, 105, 106, 113, 114, 117, 119, 122, 123, 29, 319, 447, 240),
    ),
    "aarch64": (
        0xC00000B7,
        (198, 425, 217, 218, 219, 143, 144, 145, 146, 147, 149, 151, 152, 194, 279, 447, 180),
    ),
}
_LOAD, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050001  # the second: "operation not permitted"
_OTHER_ABI = 0x40000000  # numbers from here on are a second set of names for the same calls


def unshare(flags: int) -> None:
    """Leave the namespaces in `flags`, by way of a user namespace, which needs no rights."""
    user, group = os.geteuid(), os.getegid()
    libc = _libc()
    if libc.unshare(NEW_USER | flags):
        _checked(libc.unshare(flags), "unshare")
        return
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
    Path("/proc/self/gid_map").write_text(f"{group} {group} 1")


def mount_memory(folder: Path, megabytes: int) -> None:
    """Put a file system of a limited size, in memory, on a folder; it is gone with the namespace.

    Nothing of it is seen outside the mount namespace, which must be a new one.
    """
    libc = _libc()
    _checked(libc.mount(b"none", b"/", None, _RECURSIVE | _PRIVATE, None), "mount")
    options = f"size={megabytes}m,nr_inodes=20000,mode=700".encode()
    _checked(libc.mount(b"none", os.fsencode(folder), b"tmpfs", 0, options), "mount")


def read_only(but: Path) -> None:
    """Have nothing changed any more in this mount namespace but what is mounted on one folder.

    Landlock lets pass who changes a file's mode, owner, times or attributes; this does not.
    """
    for folder, how, attributes in (
        (b"/", _AND_BELOW, (_READ_ONLY, 0, 0, 0)),
        (os.fsencode(but), 0, (0, _READ_ONLY, 0, 0)),
    ):
        packed = struct.pack("QQQQ", *attributes)
        result = _libc().syscall(
            ctypes.c_long(_MOUNT_SETATTR),
            ctypes.c_long(_FROM_HERE),
            ctypes.c_char_p(folder),
            ctypes.c_long(how),
            ctypes.c_char_p(packed),
            ctypes.c_long(len(packed)),
        )
        _checked(result, "mount_setattr")


def no_new_privileges() -> None:
    """Nothing that is started can get more rights than this process has."""
    _prctl(_NO_NEW_PRIVILEGES, 1)


def die_with_parent(signal: int) -> None:
    """Have this process ended when its parent ends."""
    _prctl(_PARENT_DEATH_SIGNAL, signal)


def adopt_orphans() -> None:
    """Become the parent of what a descendant leaves behind."""
    _prctl(_CHILD_SUBREAPER, 1)


def refuse_calls() -> None:
    """Refuse the system calls in `_DENIED`, for good. `no_new_privileges` comes first.

    Raises:
        OSError: it cannot be done, or this kind of machine is not known here.
    """
    if platform.machine() not in _DENIED:
        raise OSError("no filter of system calls for this kind of machine")
    architecture, numbers = _DENIED[platform.machine()]
    refuse = (_RETURN, 0, 0, _REFUSE)
    steps = [(_LOAD, 0, 0, 4), (_EQUAL, 1, 0, architecture), refuse]
    steps += [(_LOAD, 0, 0, 0), (_AT_LEAST, 0, 1, _OTHER_ABI), refuse]
    for number in numbers:
        steps += [(_EQUAL, 0, 1, number), refuse]
    steps.append((_RETURN, 0, 0, _ALLOW))
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
    program = struct.pack("HxxxxxxP", len(steps), ctypes.addressof(code))
    _prctl(_SECCOMP, 2, ctypes.create_string_buffer(program))


def _prctl(option: int, *arguments: object) -> None:
    padded = [*arguments, *[0] * (4 - len(arguments))]
    _checked(_libc().prctl(option, *padded), "prctl")


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _checked(result: int, call: str) -> None:
    if result:
        raise OSError(ctypes.get_errno(), call)
