"""Exporting by hub id, from a cache laid out as huggingface_hub lays it out: links to blobs, revisions by name."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from checkpoints import Shape

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def hub_home(make_checkpoint, tmp_path: Path) -> Path:
    """``HF_HOME`` with one repository, ``someone/zip``, whose branch ``main`` and tag ``v1`` are one commit."""
    home = tmp_path / "hf"
    repository = home / "hub" / "models--someone--zip"
    snapshot, blobs, refs = repository / "snapshots" / COMMIT, repository / "blobs", repository / "refs"
    for folder in (snapshot, blobs, refs):
        folder.mkdir(parents=True)
    for file in make_checkpoint(Shape()).iterdir():
        os.link(file, blobs / file.name)
        (snapshot / file.name).symlink_to(f"../../blobs/{file.name}")
    for name in ("main", "v1"):
        (refs / name).write_text(COMMIT)
    return home


def export(hub_home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "HF_HOME": str(hub_home), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", "ziprerank.cli", "export", "someone/zip", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


@pytest.mark.parametrize("revision", [None, "v1", COMMIT])
def test_a_cached_repository_offline(hub_home: Path, tmp_path: Path, revision: str | None) -> None:
    out = tmp_path / "bundle"
    done = export(hub_home, str(out), *([] if revision is None else ["--revision", revision]))
    assert done.returncode == 0, done.stderr
    source = json.loads((out / "ziprerank.json").read_text())["source"]
    assert source["name"] == "someone/zip"
    assert source["revision"] == (revision or COMMIT)
    blob = hub_home / "hub/models--someone--zip/blobs/model.safetensors"
    assert (out / "model.safetensors").samefile(blob), "linked to the file behind the cache's link"
    assert not (out / "model.safetensors").is_symlink()


def test_a_revision_that_is_not_cached(hub_home: Path, tmp_path: Path) -> None:
    done = export(hub_home, str(tmp_path / "bundle"), "--revision", "v2")
    assert done.returncode == 1
    assert "someone/zip is neither a directory nor an available hub repository" in " ".join(done.stderr.split())
