"""A cluster in place of this machine: the same work, handed to the workers of a Dask scheduler.

A worker that is lost is no loss: what it was marking is marked by another. A result is stored by
the one who asked for it, and so once.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import CancelledError, Executor
from contextlib import contextmanager
from dataclasses import asdict
from importlib import metadata
from typing import Any, NamedTuple

from checks.classroom import station
from checks.classroom.fence import Isolation

_PATIENCE = 30  # seconds for a worker to come
_CONNECTING = 10  # seconds for the scheduler to answer, also after it was lost
_SAME = ("autograd-by-hand", "torch")  # what has to be of one version everywhere


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
        found = _asked(client)
        given = {worker: isolation for worker, (_, isolation) in found.items()}
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


def _about() -> tuple[dict[str, str], Isolation]:
    """What a worker says of itself: versions, and the fences that it can put up."""
    return {name: metadata.version(name) for name in _SAME}, station.fences()


def _asked(client: Any) -> Mapping[str, tuple[dict[str, str], Isolation]]:
    """What each worker says of itself.

    Raises:
        ClusterError: one is not like this machine.
    """
    workers = [*client.scheduler_info(n_workers=-1)["workers"]]
    asked = {one: client.submit(_about, workers=[one], pure=False) for one in workers}
    found = {}
    here = {name: metadata.version(name) for name in _SAME}
    for worker, future in asked.items():
        try:
            found[worker] = versions, _ = future.result()
        except Exception as error:
            raise ClusterError(
                f"The scheduler or the worker at {worker} cannot run `checks` of this version: "
                f"install the same there. It says: {str(error).splitlines()[0]}"
            ) from error
        if versions != here:
            raise ClusterError(
                f"The worker at {worker} would mark with other versions: it has {_told(versions)}, "
                f"and this machine has {_told(here)}."
            )
    return found


def _told(versions: Mapping[str, str]) -> str:
    return " and ".join(f"{name} {version}" for name, version in versions.items())


def _least(given: list[Isolation]) -> Isolation:
    """What all of them give."""
    names = asdict(given[0])
    return Isolation(**{name: all(asdict(one)[name] for one in given) for name in names})
