"""A cluster in place of this machine: the same work, handed to the workers of a Dask scheduler.

A worker that is lost is no loss: what it was marking is marked by another. A result is stored by
the one who asked for it, and so once.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import asdict
from typing import NamedTuple

from checks.classroom import station
from checks.classroom.fence import Isolation

_PATIENCE = 30  # seconds to find the scheduler and a worker


class ClusterError(RuntimeError):
    """A cluster that cannot be used; the message says why."""


class Cluster(NamedTuple):
    """What is known of a cluster when the work begins."""

    executor: Executor
    threads: int
    isolation: Isolation


@contextmanager
def cluster(address: str) -> Iterator[Cluster]:
    """Use the workers of the scheduler at an address, such as `tcp://10.0.0.1:8786`.

    The isolation is what all its workers can give; one that comes later and gives less marks
    nothing.

    Raises:
        ClusterError: Dask is not installed, nobody answers, or there are no workers.
    """
    try:
        from distributed import Client
    except ImportError as error:
        raise ClusterError(
            "Marking on a cluster needs Dask: pip install 'autograd-by-hand[cluster]', here and "
            "on each worker."
        ) from error
    try:
        client = Client(address, timeout=_PATIENCE)
    except (OSError, ValueError) as error:
        raise ClusterError(f"There is no Dask scheduler at {address} ({error}).") from error
    with client:
        try:
            client.wait_for_workers(1, timeout=_PATIENCE)
        except TimeoutError as error:
            raise ClusterError(f"The scheduler at {address} has no workers.") from error
        try:
            given = client.run(station.fences).values()
        except Exception as error:
            raise ClusterError(f"A worker has no `checks` of the same version: {error}") from error
        threads = sum(client.nthreads().values())
        yield Cluster(client.get_executor(pure=False), threads, _least(list(given)))


def _least(given: list[Isolation]) -> Isolation:
    """What all of them give."""
    names = asdict(given[0])
    return Isolation(**{name: all(asdict(one)[name] for one in given) for name in names})
