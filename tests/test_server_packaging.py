"""The image, the compose file and the unit: what can be said of them without an engine that builds them."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from pathspec import GitIgnoreSpec
from served import client_of, settings_for

from server.config import ServerSettings, ServeSettings

ROOT = Path(__file__).parent.parent
DOCKERFILE = (ROOT / "server/Dockerfile").read_text(encoding="utf-8")
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "server/compose.yaml").read_text(encoding="utf-8"))
SERVICE: dict[str, Any] = COMPOSE["services"]["footnote"]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def instructions(name: str) -> list[str]:
    joined = re.sub(r"\\\n(?:#.*\n)*", " ", DOCKERFILE)
    return re.findall(rf"^{name} (.*)$", joined, re.MULTILINE)


def test_what_is_copied_is_there_and_not_ignored() -> None:
    ignored = GitIgnoreSpec.from_lines((ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines())
    copied = [line.split()[:-1] for line in instructions("COPY") if "--from" not in line]
    sources = [source for line in copied for source in line]
    assert {"pyproject.toml", "README.md", "LICENSE", "index", "rag", "server"} == set(sources)
    for source in sources:
        assert (ROOT / source).exists()
        assert not ignored.match_file(source)
    assert ignored.match_file("tests/conftest.py")
    assert ignored.match_file(".git/config")
    assert ignored.match_file("server/__pycache__/app.pyc")
    assert not ignored.match_file("server/static/index.html")


def test_the_image_runs_as_nobody_in_particular_and_keeps_all_in_one_volume() -> None:
    assert instructions("USER") == [SERVICE["user"]] == ["10001:10001"]
    assert instructions("VOLUME") == ["/data"]
    assert [volume.split(":")[1] for volume in SERVICE["volumes"]] == ["/data"]
    assert SERVICE["read_only"] is True
    assert SERVICE["cap_drop"] == ["ALL"]
    assert SERVICE["security_opt"] == ["no-new-privileges:true"]
    # Of two stages: the compiler is not in the second.
    assert len(instructions("FROM")) == 2
    assert "build-essential" not in DOCKERFILE.split("\nFROM ")[-1]


def test_its_settings_are_settings(tmp_path: Path) -> None:
    environment = dict(re.findall(r"(FOOTNOTE_\w+)=(\S+)", " ".join(instructions("ENV"))))
    assert environment["FOOTNOTE_HOME"] == "/data"
    for name in environment:
        path = name.removeprefix("FOOTNOTE_").lower().split("__")
        assert path[0] in ServeSettings.model_fields
        assert path[1:] == [] or path[1] in ServerSettings.model_fields
    port = environment["FOOTNOTE_SERVER__PORT"]
    assert instructions("EXPOSE") == [port]
    assert SERVICE["ports"] == [f"127.0.0.1:{port}:{port}"]
    found = re.search(r"http://127\.0\.0\.1:(\d+)(/\w+)", DOCKERFILE)
    assert found
    assert found[1] == port
    with client_of(settings_for(tmp_path)) as client:
        assert client.get(found[2]).status_code == 200


def test_it_is_given_the_time_that_answers_take_to_end() -> None:
    grace = ServerSettings().grace_s
    assert int(SERVICE["stop_grace_period"].removesuffix("s")) > grace
    found = re.search(r"TimeoutStopSec=(\d+)", README)
    assert found
    assert int(found[1]) > grace


def test_no_key_is_written_down() -> None:
    assert SERVICE["environment"]["FOOTNOTE_API_KEY"].startswith("${FOOTNOTE_API_KEY:?")
    assert "API_KEY=" not in DOCKERFILE


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd here")
def test_the_unit_of_the_readme_is_sound(tmp_path: Path) -> None:
    unit = README.partition("```ini\n[Unit]")[2].partition("```")[0]
    assert "ExecStart=/opt/footnote/bin/footnote serve" in unit
    path = tmp_path / "footnote.service"
    path.write_text(
        "[Unit]" + unit.replace("/opt/footnote/bin/footnote", shutil.which("true") or "/bin/true")
    )
    checked = subprocess.run(["systemd-analyze", "verify", path], capture_output=True, text=True)
    assert (checked.returncode, checked.stderr) == (0, "")


@pytest.mark.skipif(shutil.which("hadolint") is None, reason="there is no hadolint here")
def test_the_dockerfile_has_nothing_to_complain_of() -> None:
    checked = subprocess.run(["hadolint", ROOT / "server/Dockerfile"], capture_output=True, text=True)
    assert (checked.returncode, checked.stdout) == (0, "")


def test_the_balancer_asks_whether_servers_are_ready(tmp_path: Path) -> None:
    path = ROOT / "server/haproxy.cfg"
    text = path.read_text(encoding="utf-8")
    check = re.search(r"http-check send meth GET uri (\S+)", text)
    assert check
    with client_of(settings_for(tmp_path)) as client:
        assert client.get(check[1]).status_code in {200, 503}
    if (haproxy := shutil.which("haproxy")) is not None:
        done = subprocess.run([haproxy, "-c", "-f", str(path)], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
