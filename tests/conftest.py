"""Shared fixtures: real models for the tests marked `models`, and a network that tests cannot reach."""

from __future__ import annotations

import ipaddress
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import platformdirs
import pytest
from small_collection import small_collection

from index.collection import LocalCollection
from index.models import ModelStore

pytest_plugins = ("page_browser", "postgres_server")

SEED = Path(__file__).parent.parent / "seeds" / "000_ca632847ae230c67.txt"


def pytest_configure() -> None:
    """Where a shell starts this in the background, Ctrl-C is ignored, here and by every process started."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _only_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test that would reach the network fails by name instead of passing by luck."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6):
            host = address[0]
            is_loopback = host == "localhost" or ipaddress.ip_address(host).is_loopback
            if not is_loopback:
                raise AssertionError(f"a test tried to reach {host}")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No test sees the settings, the collections or the models of whoever runs it."""
    for name in list(os.environ):
        if name.startswith("FOOTNOTE_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("FOOTNOTE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


_MODELS_HOME = Path(
    os.environ.get("FOOTNOTE_HOME") or platformdirs.user_data_dir("footnote", appauthor=False)
)


def _model(name: str) -> Path:
    """A model of the catalogue where `footnote models pull` keeps it, pulled first if it is not there."""
    store = ModelStore(_MODELS_HOME / "models", offline=True)
    if not any(status.name == name and status.present for status in store.statuses()):
        command = [sys.executable, "-m", "rag", "models", "pull", name]
        subprocess.run(command, check=True, env={**os.environ, "FOOTNOTE_HOME": str(_MODELS_HOME)})
    return store.locate(name)


@pytest.fixture(scope="session")
def minilm_folder() -> Path:
    return _model("all-minilm-l6-v2")


@pytest.fixture(scope="session")
def small_gguf() -> Path:
    """The 135M model: real llama.cpp work in a second."""
    return _model("smollm2-135m")


@pytest.fixture(scope="session")
def default_gguf() -> Path:
    return _model("qwen2.5-coder-1.5b")


@pytest.fixture
def models_home(minilm_folder: Path, default_gguf: Path) -> Iterator[Path]:
    """A FOOTNOTE_HOME whose models folder holds the default models."""
    assert minilm_folder.parent == default_gguf.parent
    return _MODELS_HOME


@pytest.fixture
def collection(tmp_path: Path) -> Iterator[LocalCollection]:
    """Two small documents under the fake embedder; see small_collection.py."""
    with small_collection(tmp_path / "collection") as opened:
        yield opened
