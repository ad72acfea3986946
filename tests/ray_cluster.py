"""A real Ray cluster of two nodes on this machine, each with one core, in processes of its own.

Run as a program it starts one, says its address, and takes orders from standard input; it ends with that.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TESTS = Path(__file__).parent

_STORE_BYTES = 100 * 1024**2

ATTEMPTS = 3
"""Ray gives its agents fifteen seconds to start, which a busy machine may not be able to."""


class CannotStart(Exception):
    """Why there is no cluster here."""


def environment(**more: str) -> dict[str, str]:
    """For a process that is part of a cluster, or uses one: of this checkout, and nothing is sent."""
    path = os.pathsep.join([str(ROOT), str(TESTS), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    own = {"PYTHONPATH": path, "RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
    # Else Ray takes this machine's own address for 127.0.0.1, and listens there.
    alone = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "OMP_NUM_THREADS": "1"}
    waits = {"RAY_raylet_start_wait_time_s": "60"}
    return {**os.environ, **own, **alone, **waits, **more}


@dataclass
class RayCluster:
    address: str
    _process: subprocess.Popen[str]

    def set_nodes(self, count: int) -> None:
        """Until there are so many; those that go get no chance to say so."""
        self._order(str(count))

    def _order(self, order: str) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(order + "\n")
        self._process.stdin.flush()
        return self._process.stdout.readline().strip()


@contextlib.contextmanager
def cluster_of_two() -> Iterator[RayCluster]:
    """Raises CannotStart."""
    if importlib.util.find_spec("ray") is None:
        raise CannotStart("ray is not installed: pip install 'footnote[ray]'")
    with tempfile.TemporaryFile("w+") as said:
        for _ in range(ATTEMPTS):
            process = subprocess.Popen(
                [sys.executable, __file__],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=said,
                env=environment(),
                text=True,
            )
            try:
                assert process.stdout is not None
                address = process.stdout.readline().strip()
                if address:
                    yield RayCluster(address, process)
                    return
            finally:
                process.communicate("")
        said.seek(0)
        raise CannotStart(f"Ray cannot be started here: {said.read()[-2000:]}")


@pytest.fixture(scope="module")
def ray_cluster() -> Iterator[RayCluster]:
    """Skips with the reason where there can be none, fails where there has to be."""
    with contextlib.ExitStack() as stack:
        try:
            cluster = stack.enter_context(cluster_of_two())
        except CannotStart as error:
            if os.environ.get("RAY_REQUIRED"):
                pytest.fail(str(error))
            pytest.skip(str(error))
        yield cluster


def serve() -> None:
    from ray.cluster_utils import Cluster

    node = {
        "num_cpus": 1,
        "object_store_memory": _STORE_BYTES,
        "include_dashboard": False,
        "node_ip_address": "127.0.0.1",
    }
    cluster = Cluster(initialize_head=True, head_node_args=node)
    others = [cluster.add_node(**node)]
    print(cluster.address, flush=True)
    for order in sys.stdin:
        wanted = json.loads(order) - 1
        while len(others) > wanted:
            cluster.remove_node(others.pop(), allow_graceful=False)
        while len(others) < wanted:
            others.append(cluster.add_node(**node))
        print("done", flush=True)
    cluster.shutdown()


if __name__ == "__main__":
    serve()
