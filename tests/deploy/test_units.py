"""Tests of the systemd unit and of nginx' configuration: what they say to the server are options that it has."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from ziprerank.cli.app import app
from ziprerank.serve.settings import Settings

ROOT = Path(__file__).parents[2]
UNIT = ROOT / "deploy" / "systemd" / "ziprerank.service"
NGINX = ROOT / "deploy" / "nginx" / "ziprerank.conf"
OPTIONS = typer.main.get_command(app).commands["serve"].params  # type: ignore[attr-defined]
VARIABLES = {one.envvar for one in OPTIONS}
DEFAULTS = {one.name: one.default for one in OPTIONS}


def test_the_unit_sets_options_that_exist() -> None:
    named = set(re.findall(r"ZIPRERANK_[A-Z_]+", UNIT.read_text()))
    assert {"ZIPRERANK_UDS", "ZIPRERANK_PAGE_CACHE", "ZIPRERANK_MAX_PAGES"} <= named
    assert named <= VARIABLES


def test_systemd_does_not_kill_a_server_that_drains() -> None:
    (seconds,) = re.findall(r"^TimeoutStopSec=(\d+)$", UNIT.read_text(), re.MULTILINE)
    assert int(seconds) >= DEFAULTS["drain"] + 5


def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    verifier = shutil.which("systemd-analyze")
    if verifier is None:
        pytest.skip("needs systemd-analyze")

    def complaints(text: str) -> str:
        unit = tmp_path / UNIT.name
        unit.write_text(text)
        done = subprocess.run([verifier, "verify", "--man=no", unit], capture_output=True, text=True, check=False)
        return "\n".join(line for line in done.stderr.splitlines() if unit.name in line)

    text = UNIT.read_text().replace("/opt/ziprerank/bin/ziprerank", sys.executable)
    assert complaints(text) == ""
    assert "UMsk" in complaints(text.replace("UMask", "UMsk"))


def test_nginx_leaves_the_last_word_to_the_server() -> None:
    text = NGINX.read_text()
    flags = re.findall(r"--([a-z-]+)", text)
    assert {"uds", "root-path", "allowed-host"} <= set(flags)
    assert {flag.replace("-", "_") for flag in flags} <= set(DEFAULTS)
    (body,) = re.findall(r"client_max_body_size (\d+)m;", text)
    assert int(body) > DEFAULTS["max_body_mib"]
    (seconds,) = re.findall(r"proxy_read_timeout (\d+)s;", text)
    assert int(seconds) > Settings().longest
