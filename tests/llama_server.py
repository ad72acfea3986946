"""A real endpoint: llama.cpp's own server in a process of its own, which can be killed."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_PROGRAM = """
import sys, threading
import xllamacpp
params = xllamacpp.CommonParams()
params.model.path, params.model_alias, embeds, threads = sys.argv[1], {sys.argv[2]}, sys.argv[3], sys.argv[4]
params.port, params.verbosity = 0, -1
params.n_ctx, params.n_parallel, params.cpuparams.n_threads = 4096, 1, int(threads)
if embeds == "True":
    params.embedding = True
    params.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
if key := sys.stdin.readline().strip():
    params.api_keys = [key]
server = xllamacpp.Server(params)
print(server.listening_address, flush=True)
threading.Event().wait()
"""


@dataclass
class LlamaServer:
    """`url` as `--model` takes it, without a name."""

    url: str
    process: subprocess.Popen[str]

    def stop(self) -> None:
        """It keeps its connections and says nothing more."""
        self.process.send_signal(signal.SIGSTOP)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@contextmanager
def llama_server(
    model: Path, name: str, *, embeds: bool = False, key: str = "", threads: int = 1
) -> Iterator[LlamaServer]:
    process = subprocess.Popen(
        [sys.executable, "-c", _PROGRAM, str(model), name, str(embeds), str(threads)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    with process.stdin, process.stdout:
        try:
            process.stdin.write(f"{key}\n")
            process.stdin.flush()
            address = process.stdout.readline().strip()
            assert address.startswith("http://"), "it did not start"
            yield LlamaServer(f"{address}/v1", process)
        finally:
            process.kill()
            process.wait()
