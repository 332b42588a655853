"""JupyterHub on one machine, with the course in each student's own folder. README.md says how.

The hub runs as root, and starts each student's server as that student.
"""

import sys

# What `checks release` has written. Everybody must be able to read it.
RELEASED = "/srv/course"

# The folder for it in each student's home.
FOLDER = "course"

# What is not there yet is copied, and nothing is overwritten. The student's own process does it:
# root must not write where a student may have laid a link. Nobody else can read what is made here.
START = """
umask 077
mkdir -p "$2" && chmod 700 "$2" && cp -R -n "$1/." "$2"
shift 2
exec "$@"
"""

c = get_config()  # type: ignore[name-defined]  # noqa: F821  (JupyterHub gives it)

# For this machine alone. Before others can reach it: a web server with HTTPS before it, or
# `c.JupyterHub.ssl_cert` and `ssl_key`.
c.JupyterHub.bind_url = "http://127.0.0.1:8000"

# The accounts of this machine that are in one of these groups, with their passwords.
c.JupyterHub.authenticator_class = "pam"
c.PAMAuthenticator.allowed_groups = {"students"}

c.JupyterHub.spawner_class = "localprocess"
c.Spawner.cmd = ["sh", "-c", START, "start", RELEASED, FOLDER]
c.Spawner.cmd += [sys.executable, "-m", "jupyterhub.singleuser"]
c.Spawner.notebook_dir = f"~/{FOLDER}"

# Others on the machine could otherwise listen to what a notebook and its kernel say to each other.
c.Spawner.args = ["--KernelManager.transport_encryption=required"]

# The lessons are small: one thread for each student leaves the other cores to the others.
c.Spawner.environment = {"OMP_NUM_THREADS": "1"}
