"""The course on a JupyterHub, as README.md says: handed out, answered, collected and marked."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import requests
from classroom import NAME, POINTS, lesson_in, scores, submission
from packages import node_modules

CONFIG = Path(__file__).resolve().parents[1] / "checks/classroom/jupyterhub_config.py"
TEACHER = {"Authorization": "token the-teachers"}
YESTERDAY = "what bob wrote yesterday"

pytestmark = pytest.mark.skipif(
    not os.environ.get("CHECKS_ALL_EXTRAS")
    and (find_spec("jupyterhub") is None or shutil.which("node") is None),
    reason="JupyterHub or Node.js is not installed: pip install '.[hub]'",
)

# What differs from the recipe: students who are no accounts of this machine, and the ports.
TRIAL = """
load_subconfig({recipe!r})
c.JupyterHub.bind_url = "http://127.0.0.1:{port}"
c.JupyterHub.hub_port = {hub}
c.ConfigurableHTTPProxy.api_url = "http://127.0.0.1:{proxy}"
c.ConfigurableHTTPProxy.command = [{command!r}]
c.JupyterHub.authenticator_class = "dummy"
c.Authenticator.allow_all = True
c.JupyterHub.spawner_class = "simple"
c.SimpleLocalProcessSpawner.home_dir_template = {homes!r} + "/{{username}}"
c.Spawner.args += {root!r}
c.Spawner.http_timeout = 120
c.JupyterHub.services = [{{"name": "teacher", "api_token": "the-teachers"}}]
c.JupyterHub.load_roles = [{{"name": "admin", "services": ["teacher"]}}]
"""


class Student:
    """A student who is logged in, and has a server."""

    def __init__(self, hub: str, name: str) -> None:
        self.home = f"{hub}/user/{name}"
        users = f"{hub}/hub/api/users/{name}"
        requests.post(users, headers=TEACHER, timeout=30).raise_for_status()
        token = requests.post(f"{users}/tokens", headers=TEACHER, json={}, timeout=30)
        token.raise_for_status()
        self.headers = {"Authorization": f"token {token.json()['token']}"}
        requests.post(f"{users}/server", headers=TEACHER, timeout=60).raise_for_status()
        for _ in range(480):
            server = requests.get(users, headers=TEACHER, timeout=30).json()["servers"].get("", {})
            if server.get("ready"):
                return
            time.sleep(0.25)
        pytest.fail(f"the server of {name} does not start: {server}")

    def ask(self, method: str, what: str, **given: Any) -> requests.Response:
        """Ask the student's own server."""
        address = f"{self.home}/api/{what}"
        return requests.request(method, address, headers=self.headers, timeout=60, **given)

    def open(self) -> Any:
        """What the lesson holds."""
        answer = self.ask("GET", f"contents/{NAME}.ipynb")
        answer.raise_for_status()
        return answer.json()["content"]

    def save(self, notebook: object) -> None:
        """Save the lesson, as the button does."""
        model = {"type": "notebook", "format": "json", "content": notebook}
        self.ask("PUT", f"contents/{NAME}.ipynb", json=model).raise_for_status()


def checks(*arguments: object) -> str:
    """Run the command as a teacher does; what it says."""
    done = subprocess.run(
        [sys.executable, "-m", "checks", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def free_ports(number: int) -> list[int]:
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def with_answer(notebook: Any, text: str) -> Any:
    """The notebook with an answer in its first answer cell."""
    cells = [cell for cell in notebook["cells"] if cell["id"].startswith("answer-")]
    cells[0]["source"] = text
    return notebook


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the released lesson, and the homes: bob has begun yesterday."""
    machine = tmp_path_factory.mktemp("machine")
    lesson_in(machine / "source")
    checks("release", machine / f"source/{NAME}.md", "--to", machine / "released")
    begun = json.loads((machine / f"released/{NAME}.ipynb").read_text(encoding="utf-8"))
    (machine / "home/bob/course").mkdir(parents=True)
    mine = machine / f"home/bob/course/{NAME}.ipynb"
    mine.write_text(json.dumps(with_answer(begun, YESTERDAY)), encoding="utf-8")
    return machine


@pytest.fixture(scope="module")
def hub(machine: Path) -> Iterator[str]:
    """The address of a hub with the configuration of the recipe."""
    packages = node_modules()
    assert packages is not None, (
        "Node.js is not installed, and where nothing is skipped it has to be"
    )
    state = machine / "jupyterhub"
    state.mkdir()
    recipe = CONFIG.read_text(encoding="utf-8").replace("/srv/course", str(machine / "released"))
    (state / "recipe.py").write_text(recipe, encoding="utf-8")
    port, own, proxy = free_ports(3)
    trial = TRIAL.format(
        recipe=str(state / "recipe.py"),
        port=port,
        hub=own,
        proxy=proxy,
        command=str(packages / ".bin/configurable-http-proxy"),
        homes=str(machine / "home"),
        root=["--allow-root"] if os.geteuid() == 0 else [],
    )
    (state / "trial.py").write_text(trial, encoding="utf-8")
    inherited = {name: text for name, text in os.environ.items() if "JUPYTER" not in name}
    with (state / "log").open("w") as log:
        running = subprocess.Popen(
            [sys.executable, "-m", "jupyterhub", "--config", "trial.py"],
            cwd=state,
            env=inherited,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(960):
            try:
                if requests.get(f"{address}/hub/health", timeout=30).ok:
                    break
            except requests.RequestException:
                pass
            assert running.poll() is None, (state / "log").read_text()
            time.sleep(0.25)
        else:
            pytest.fail((state / "log").read_text())
        yield address
    finally:
        running.terminate()  # it ends the proxy and the students' servers, too
        running.wait(timeout=60)
        print((state / "log").read_text())  # pytest shows it where a test has failed


@pytest.fixture(scope="module")
def students(hub: str) -> tuple[Student, Student]:
    """Alice and bob, whose servers start at the same time."""
    with ThreadPoolExecutor(2) as both:
        alice, bob = both.map(lambda name: Student(hub, name), ("alice", "bob"))
    return alice, bob


def test_the_course_stands_in_each_ones_folder(
    machine: Path, students: tuple[Student, Student]
) -> None:
    # No lesson at the first start; work of yesterday overwritten; a folder that others can read.
    alice, bob = students
    released = json.loads((machine / f"released/{NAME}.ipynb").read_text(encoding="utf-8"))
    assert [cell["source"] for cell in alice.open()["cells"]] == [
        "".join(cell["source"]) for cell in released["cells"]
    ]
    assert YESTERDAY in [cell["source"] for cell in bob.open()["cells"]]
    for name in ("alice", "bob"):
        assert (machine / "home" / name / "course").stat().st_mode & 0o077 == 0


def test_nobody_else_opens_it(students: tuple[Student, Student]) -> None:
    # The hub lets everybody into every server.
    alice, bob = students
    bob.headers, own = alice.headers, bob.headers
    assert bob.ask("GET", f"contents/{NAME}.ipynb").status_code == 403
    bob.headers = own
    assert bob.ask("GET", f"contents/{NAME}.ipynb").status_code == 200


def test_nobody_else_hears_the_kernel(machine: Path, students: tuple[Student, Student]) -> None:
    # Its ports are open to everybody on the machine: all outputs could be read there.
    alice, _ = students
    kernel = alice.ask("POST", "kernels", json={"name": "python3"})
    assert kernel.status_code == 201, kernel.text
    (connection,) = (machine / "home/alice").rglob(f"kernel-{kernel.json()['id']}.json")
    assert json.loads(connection.read_text())["curve_publickey"]
    assert connection.stat().st_mode & 0o077 == 0


def test_what_is_saved_is_collected_and_marked(
    machine: Path, students: tuple[Student, Student]
) -> None:
    # From the button to the marks: names mixed up, the notebook of somebody else, an old version.
    alice, bob = students
    alice.save(submission())
    bob.save(submission({"1.1": "dw = -123.4", "1.4": "dz_du = 2 * 1.3 * 0.7\ndz_dv = ..."}))
    said = checks(
        "collect", machine / "home", f"course/{NAME}.ipynb", "--to", machine / "submitted"
    )
    assert "2 notebooks" in said
    checks(
        *("grade", machine / "submitted", "--source", machine / "source"),
        *("--to", machine / "results"),
    )
    assert scores(machine / "results", "alice") == POINTS
    assert scores(machine / "results", "bob") == {"1.1": 0, "1.2": 1, "1.3": 1, "1.4": 1}
