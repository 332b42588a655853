"""What submissions do to their marker, by mistake or on purpose: code for one answer cell each.

Each is a row: its name, the exercise in whose cell it stands, the code, and the exercises in which
points are lost by it; all the others are answered right.
"""

# ruff: noqa: E501 - what stands here is the code of others

from __future__ import annotations

from typing import NamedTuple


class Row(NamedTuple):
    name: str
    code: dict[str, str]
    lost: set[str]


def _rows() -> list[Row]:
    """Code in the cell of exercise 1.3 ("size"), which does not answer it: one point is lost."""
    value = {
        "infinite loop": "while True:\n    pass",
        "prints without end": "while True:\n    print('x' * 1_000_000)",
        "prints a gigabyte": "for _ in range(1000):\n    print('x' * 1_000_000)",
        "ends its process": "import os\nos._exit(0)",
        "kills itself": "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)",
        "kills itself from a child": "import os\nif not os.fork():\n    os.kill(os.getppid(), 9)",
        "segmentation fault": "import ctypes\nctypes.string_at(0)",
        "aborts": "import os\nos.abort()",
        "stops itself": "import os\nos.kill(os.getpid(), 19)\nimport time\ntime.sleep(60)",
        "kills everybody": "import os\nos.kill(-1, 9)",
        "kills its group": "import os\nos.killpg(0, 9)",
        "eats memory": "size = [bytearray(50_000_000) for _ in range(1000)]",
        "eats memory in children": (
            "import os\nfor _ in range(20):\n    if not os.fork():\n"
            "        hoard = [bytearray(10**7) for _ in range(10**4)]"
        ),
        "answers 10^8 entries": "size = torch.zeros(10**8)",
        "answers a list of 10^7": "size = [0] * 10**7",
        "answers a long text": "size = '2' * 10**8",
        "answers an endless nest": "size = []\nsize.append(size)",
        "answers a large number": "size = 10**10000",
        "answers nan": "size = float('nan')",
        "answers a function": "def size(): return 2",
        "answers a module": "size = torch",
        "exit()": "exit()",
        "quits": "raise SystemExit",
        "interrupts itself": "raise KeyboardInterrupt",
        "is no Python": "size = = 2",
        "nested brackets": "size = " + "(" * 5000 + "2" + ")" * 5000,
        "a long chain of signs": "size = " + "-" * 100_000 + "2",
        "contains a zero byte": "size = 2\0",
        "half a character": "x_text = '\ud800'\nraise ValueError(x_text)",
        "deep recursion": "import sys\nsys.setrecursionlimit(10**9)\ndef f(): return f()\nf()",
        "a fork bomb": "import os\nwhile True:\n    os.fork()",
        "a thread bomb": (
            "import threading, time\nwhile True:\n"
            "    threading.Thread(target=time.sleep, args=(99,)).start()"
        ),
        "closes everything": "import os\nos.closerange(0, 1000)",
        "covers the pipe": (
            "import os\nfor fd in range(3, 30):\n    try: os.dup2(0, fd)\n    except OSError: pass"
        ),
        "forges the end": 'import os\nos.write(11, b\'{"done": true}\\n{"over": true}\\n\')',
        "forges messages": (
            'import os\nfor line in (\'{"ended": "x"}\', \'[\', \'{"over": true, "failed": true}\', '
            '\'{"begin": 10000000}\', \'{"label": 7, "answer": {}}\', \'{"call": "1.2"}\', '
            '\'{"note": "x", "cell": -5}\', \'{"result": [1]}\', \'[\' * 100000, '
            '\'{"label": "1.3", "answer": "\' + \'[\' * 50000 + \'"}\'):\n'
            "    os.write(11, line.encode() + b'\\n')\nos._exit(1)"
        ),
        "counts cells for ever": (
            "import os, time\nn = 10\nwhile True:\n    n -= 1\n"
            "    os.write(11, b'{\"begin\": %d}\\n' % n)\n    time.sleep(0.1)"
        ),
        "floods the pipe": "import os\nwhile True:\n    os.write(11, b'x' * 65536)",
        "floods the pipe with nothing": "import os\nwhile True:\n    os.write(11, b'\\n' * 65536)",
        "floods the pipe with notes": (
            'import os\nwhile True:\n    os.write(11, b\'{"note": "", "cell": 1}\\n\' * 999)'
        ),
        "reads the requests": "import os\nos.read(10, 100)",
        "leaves threads behind": (
            "import threading\ndef spin():\n    while True: pass\n"
            "threading.Thread(target=spin, daemon=True).start()"
        ),
        "ends later": "import os, threading\nthreading.Timer(0.05, os._exit, (1,)).start()",
        "hangs in __del__": (
            "class Late:\n    def __del__(self):\n        while True: pass\nlate = Late()\ndel late"
        ),
        "hangs at exit": "import atexit, time\natexit.register(time.sleep, 999)",
        "hangs on signals": (
            "import signal, time\nfor s in (2, 15):\n    signal.signal(s, lambda *_: time.sleep(99))"
        ),
        "an alarm": "import signal\nsignal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)",
        "changes getpid": "import os\nos.getpid = lambda: 1234",
        "changes json": "import json\njson.dumps = json.loads = None",
        "changes os.write": "import os\nos.write = lambda fd, data: len(data)",
        "changes builtins": (
            "import builtins\nfor name in ('len', 'isinstance', 'type', 'print', '__import__'):\n"
            "    setattr(builtins, name, lambda *a, **k: True)"
        ),
        "changes torch": (
            "torch.allclose = torch.equal = torch.isclose = lambda *a, **k: True\n"
            "torch.Tensor.__eq__ = torch.Tensor.__sub__ = lambda *a: True\n"
            "torch.Tensor.detach = torch.tensor = None"
        ),
        "changes checks": (
            "import checks.classroom.plain as p, checks.classroom.cage as c, checks.verdict as v\n"
            "for m in (p, c, v, checks):\n    for n in list(vars(m)):\n"
            "        if callable(getattr(m, n)) and n[:2] != '__': setattr(m, n, lambda *a, **k: True)"
        ),
        "hides names from checks": (
            "import checks.classroom.plain as p\np.len = p.type = p.list = lambda *a: 1 / 0"
        ),
        "takes modules away": "import sys\nfor n in list(sys.modules):\n    del sys.modules[n]",
        "throws the switches": (
            "torch.set_grad_enabled(False)\ntorch.set_default_dtype(torch.float16)\n"
            "torch.set_default_device('meta')\nimport sys, gc, warnings\nsys.setrecursionlimit(60)\n"
            "sys.settrace(lambda *a: None)\ngc.disable()\nwarnings.simplefilter('error')"
        ),
        "enters a mode": (
            "from torch.overrides import TorchFunctionMode\nclass M(TorchFunctionMode):\n"
            "    def __torch_function__(self, *a, **k): return True\nM().__enter__()"
        ),
        "an answer that lies": (
            "class Liar(int):\n    __eq__ = lambda *a: True\n    __hash__ = None\n"
            "    __class__ = property(lambda self: int)\nsize = Liar(7)"
        ),
        "an answer that hangs": (
            "class Slow:\n    def __getattribute__(self, name):\n        while True: pass\nsize = Slow()"
        ),
        "speaks HTML": "size = '<script>alert(1)</script>'",
    }
    functions = {
        "never returns": "while True: pass",
        "sleeps": "import time; time.sleep(99)",
        "ends the process": "import os; os._exit(0)",
        "raises": "raise ValueError('\ud800')",
        "exits": "exit()",
        "is blank": "return ...",
        "returns itself": "return product_backward",
        "returns too much": "return torch.zeros(10**8)",
        "forges results": 'import os; os.write(11, b\'{"result": "[1]"}\\n\' * 9)',
        "changes its inputs": "a[0].zero_(); a[1].zero_(); a[2].zero_(); return a[1], a[2]",
        "eats memory": "return [bytearray(10**8) for _ in range(100)]",
    }
    whole = "def product_backward(*a):\n    "
    return [
        *(Row(name, {"1.3": code}, {"1.3"}) for name, code in value.items()),
        *(Row(f"a function that {n}", {"1.2": whole + c}, {"1.2"}) for n, c in functions.items()),
        Row(
            "a subclass that says yes",
            {
                "1.1": "class Yes(torch.Tensor):\n    @classmethod\n"
                "    def __torch_function__(cls, *a, **k): return True\n"
                "dw = torch.zeros(2).as_subclass(Yes)"
            },
            {"1.1"},
        ),
        Row(
            "a function that writes notes",
            {
                "1.2": "def product_backward(u, a, b):\n    import os\n"
                '    os.write(11, b\'{"note": "x", "cell": 3}\\n\' * 9 + b\'{"label": "1.3", "answer": ""}\\n\')\n'
                "    return u * b, u * a"
            },
            set(),
        ),
        Row(
            "a function that writes a long note",
            {
                "1.2": "def product_backward(u, a, b):\n    import os\n"
                "    os.write(11, b'{\"note\": \"' + b'n' * 30000 + b'\", \"cell\": 3}\\n')\n"
                "    return u * b, u * a"
            },
            set(),
        ),
        Row("nan", {"1.1": "dw = torch.full((2,), torch.nan)"}, {"1.1"}),
        Row("a function for a tensor", {"1.1": "def dw(): pass"}, {"1.1"}),
        Row("what autograd filled in", {"1.1": "dw = w.grad"}, {"1.1"}),
        Row("a view of it", {"1.1": "dw = w.grad[:]"}, {"1.1"}),
        Row("a value for a function", {"1.2": "product_backward = 3"}, {"1.2"}),
        Row("deletes names", {"1.3": "size = 2\ndel torch, checks, x, w"}, set()),
        Row("no cell of it is blank", {"1.3": ""}, {"1.3"}),
        Row("deletes its answer", {"1.3": "del size"}, {"1.3"}),
        Row("magics", {"1.3": "%matplotlib inline\n!rm -rf /\nfiles = !ls\nsize = 2"}, set()),
        Row("a cell magic", {"1.3": "%%bash\nrm -rf /"}, {"1.3"}),
        Row("a clock above", {"1.3": "%%time\nsize = 2"}, set()),
        Row("a clock before", {"1.3": "%time size = 2"}, set()),
        Row(
            "an output that is kept", {"1.3": "%%capture out\n%matplotlib inline\nsize = 2"}, set()
        ),
        Row("shows what it has", {"1.3": "display(x)\nsize = 2"}, set()),
        Row("waits", {"1.3": "import asyncio\nawait asyncio.sleep(0)\nsize = 2"}, set()),
        # The first time it ends in the cell of 1.4; without that, all is over before it comes.
        Row(
            "ends while a later cell waits",
            {
                "1.3": "import os, threading\nthreading.Timer(0.4, os._exit, (1,)).start()",
                "1.4": "import time\ntime.sleep(0.8)\ndz_du = 2 * 1.3 * 0.7\ndz_dv = 1.3**2",
            },
            {"1.3"},
        ),
        Row("half of a dict", {"1.4": "dz_du = 2 * 1.3 * 0.7\ndz_dv = w.grad"}, {"half of 1.4"}),
    ]


ROWS = _rows()

# What must not work: where it does, the right answer follows, and a point that was not deserved.
# {names} stand for what the test puts there.
DEEDS = {
    "reads the source": "open({source!r}).read()",
    "lists the sources": "os.listdir(os.path.dirname({source!r}))",
    "reads another submission": "open({other!r}).read()",
    "reads the results": "os.listdir({results!r})",
    "reads the tests": "open({tests!r}).read()",
    "reads the environment of others": "open('/proc/{pid}/environ').read()",
    "reads the environment of the teacher": "environment().index(b'TEACHERS_' + b'TOKEN')",
    "reads the memory of others": "open('/proc/{pid}/mem', 'rb').read(1)",
    "reads the passwords": "open('/etc/shadow').read()",
    "writes outside": "open({outside!r}, 'w').write('x')",
    "writes into the package": "open(checks.__file__, 'a').write('')",
    "writes into shared memory": "open('/dev/shm/left-by-a-submission', 'w').write('x')",
    "links to the outside": "os.link({source!r}, 'here')",
    "follows a link": "(os.symlink({source!r}, 'there'), open('there').read())",
    "deletes a submission": "os.unlink({other!r})",
    "empties a submission": "os.truncate({other!r}, 0)",
    "renames the results": "os.rename({results!r}, {results!r} + '-gone')",
    "opens a submission to all": "os.chmod({other!r}, 0o777)",
    "gives a submission away": "os.chown({other!r}, os.stat({other!r}).st_uid, -1)",
    "changes when it was handed in": "os.utime({other!r}, (0, 0))",
    "writes a mark beside it": "os.setxattr({other!r}, 'user.x', b'1')",
    "starts a program that reads": "subprocess.run(['cat', {source!r}], check=True)",
    "speaks TCP": "socket.create_connection(('127.0.0.1', {port}), 1)",
    "speaks UDP": "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', 9))",
    "speaks to a local socket": "socket.socket(socket.AF_UNIX).connect({socket!r})",
    "ends another process": "os.kill({pid}, 0)",
    "becomes somebody else": "os.setresuid(0, 0, 0)",
    "mounts": "libc('mount', b'none', b'/', b'tmpfs', 0, None)",
    "traces another process": "libc('ptrace', 16, {pid}, None, None)",
    "writes a file of 1 GB": "open('f', 'wb').truncate(1 << 30)",
    "fills the disk": "[open(str(n), 'wb').write(bytes(10**7)) for n in range(300)]",
    "takes memory that is nobody's": "os.memfd_create('x')",
    "takes memory to share": (
        "ctypes.CDLL(None).shmget(0, 4096, 0o1600) < 0 and libc('shmget', 0, 4096, 0o1600)"
    ),
    "raises its limits": "resource.setrlimit(resource.RLIMIT_AS, (-1, -1))",
}
_DEED = """
import ctypes, os, resource, signal, socket, subprocess, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
def environment():
    # What the process began with, on its stack, and what the frames around it hold.
    at = ctypes.c_void_p.in_dll(ctypes.CDLL(None), 'program_invocation_name').value
    found, (read, write) = b'', os.pipe()
    while len(found) < 10**5:
        n = ctypes.CDLL(None).write(write, ctypes.c_void_p(at + len(found)), 64)
        if n <= 0: break
        found += os.read(read, n)
    frame = sys._getframe()
    while frame:
        found += str(frame.f_locals).encode('utf-8', 'replace')
        frame = frame.f_back
    return found
def libc(name, *arguments):
    if getattr(ctypes.CDLL(None, use_errno=True), name)(*arguments):
        raise OSError(ctypes.get_errno(), name)
try:
    {deed}
    size = 2
except (OSError, ValueError, subprocess.CalledProcessError):
    size = 99
"""


def deed(code: str, **names: object) -> str:
    """The code of an answer that does something forbidden."""
    return _DEED.replace("{deed}", code.format(**names))
