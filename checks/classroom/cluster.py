"""A cluster in place of this machine: the same work, handed to the workers of a Dask scheduler.

A worker that is lost is no loss: what it was marking is marked by another. A result is stored by
the one who asked for it, and so once.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Executor
from contextlib import contextmanager
from dataclasses import asdict
from importlib import metadata
from typing import Any, NamedTuple

from checks.classroom import station
from checks.classroom.fence import Isolation

_PATIENCE = 30  # seconds for a worker to come
_CONNECTING = 10  # seconds for the scheduler to answer, also after it was lost
_STARTING = 300  # seconds for a worker to say what it can put up
_SAME = ("autograd-by-hand", "torch")  # what has to be of one version everywhere
_VERSION = metadata.version  # can be asked for also where nothing of the course is installed


class ClusterError(RuntimeError):
    """A cluster that cannot be used; the message says why."""


class Cluster(NamedTuple):
    """What is known of a cluster when the work begins: `weak` are workers that lack a fence."""

    executor: Executor
    threads: int
    isolation: Isolation
    weak: list[str]


@contextmanager
def cluster(address: str, tell: Callable[[str], None]) -> Iterator[Cluster]:
    """Use the workers of the scheduler at an address, such as `tcp://10.0.0.1:8786`.

    The isolation is what all its workers can give; one that comes later and gives less marks
    nothing.

    Args:
        address: where the scheduler is.
        tell: is given a sentence where there is something to wait for.

    Raises:
        ClusterError: Dask is not installed, nobody answers, there are no workers, they are not
            like this machine, or the scheduler was lost.
    """
    with _client(address) as client:
        if not client.scheduler_info()["workers"]:
            tell(f"The scheduler at {address} has no workers yet: waiting {_PATIENCE} seconds.")
        try:
            client.wait_for_workers(1, timeout=_PATIENCE)
        except TimeoutError as error:
            raise ClusterError(
                f"The scheduler at {address} has no workers. Start one on each machine: "
                f"`dask worker {address}`."
            ) from error
        _prove_same(client)
        given = _fences(client)
        weak = [worker for worker, isolation in given.items() if not isolation.full]
        threads = sum(client.nthreads().values())
        executor = client.get_executor(pure=False)
        try:
            yield Cluster(executor, threads, _least([*given.values()]), weak)
        except (CancelledError, OSError, RuntimeError) as error:
            if client.status == "running":
                raise
            raise ClusterError(
                f"The scheduler at {address} was lost. What is marked is kept: the same command "
                "goes on."
            ) from error


@contextmanager
def _client(address: str) -> Iterator[Any]:
    """A connection to the scheduler. That nobody is there is found out at once."""
    try:
        from distributed import Client
        from distributed.comm.addressing import parse_address, parse_host_port
    except ImportError as error:
        raise ClusterError(
            "Marking on a cluster needs Dask: pip install 'autograd-by-hand[cluster]', here, "
            "beside the scheduler and on each worker."
        ) from error
    logging.getLogger("distributed").setLevel(logging.CRITICAL)  # what matters is said here
    try:
        scheme, place = parse_address(address)
        if scheme in ("tcp", "tls"):
            socket.create_connection(parse_host_port(place), _CONNECTING).close()
        client = Client(address, timeout=_CONNECTING)
    except (OSError, ValueError) as error:
        raise ClusterError(f"There is no Dask scheduler at {address} ({error}).") from error
    with client:
        yield client


def _prove_same(client: Any) -> None:
    """Prove that all have the versions of this machine; else they would not understand the work.

    Raises:
        ClusterError: one has others, or none.
    """
    for name in _SAME:
        here = metadata.version(name)
        workers = client.run(_VERSION, name, on_error="return")
        found = {f"worker at {worker}": version for worker, version in workers.items()}
        found["scheduler"] = _of_scheduler(client, name)
        for who, version in found.items():
            if isinstance(version, Exception):
                raise ClusterError(
                    f"The {who} has no {name}: install the course there, in the version of here."
                )
            if version != here:
                raise ClusterError(
                    f"The {who} has {name} {version}, and this machine {here}: their marks might "
                    "not be the same."
                )


def _of_scheduler(client: Any, name: str) -> Any:
    try:
        return client.run_on_scheduler(_VERSION, name)
    except metadata.PackageNotFoundError as error:
        return error


def _fences(client: Any) -> dict[str, Isolation]:
    """What each worker can put up, found out where it marks: that takes some seconds.

    Raises:
        ClusterError: one does not answer.
    """
    workers = [*client.scheduler_info(n_workers=-1)["workers"]]
    asked = {one: client.submit(station.fences, workers=[one], pure=False) for one in workers}
    try:
        return {one: future.result(timeout=_STARTING) for one, future in asked.items()}
    except Exception as error:
        why = (str(error) or type(error).__name__).splitlines()[0]
        raise ClusterError(f"A worker cannot mark ({why}).") from error


def _least(given: list[Isolation]) -> Isolation:
    """What all of them give."""
    names = asdict(given[0])
    return Isolation(**{name: all(asdict(one)[name] for one in given) for name in names})
