"""Fetches onnxruntime-gpu and unpacks it into a cache folder, without installing it."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from zipfile import ZipFile

from filelock import FileLock

TESTED = "1.31.1"
"""The version that the tests run on."""


class Unavailable(Exception):
    """The hollow GPU cannot be had here; the message says why."""


def cache_folder() -> Path:
    """The folder that keeps unpacked wheels: ZIPRERANK_HOLLOW_CACHE, or one in the user's cache folder."""
    named = os.environ.get("ZIPRERANK_HOLLOW_CACHE")
    if named:
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ziprerank" / "hollow-gpu"


def unpacked(version: str = TESTED) -> Path:
    """Returns a folder with the packages ``onnxruntime`` of onnxruntime-gpu ``version``, fetched if it is not there.

    Raises:
        Unavailable: There is no such wheel for this Python and platform, or it cannot be downloaded.
    """
    tag = f"cp{sys.version_info.major}{sys.version_info.minor}"
    folder = cache_folder() / f"onnxruntime-gpu-{version}-{tag}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if not folder.is_dir():
            with tempfile.TemporaryDirectory(dir=folder.parent) as work:
                wheel = _download(version, Path(work))
                draft = Path(work) / "unpacked"
                with ZipFile(wheel) as archive:
                    archive.extractall(draft)
                draft.rename(folder)
    return folder


def _download(version: str, folder: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--only-binary", ":all:", "--dest", str(folder), f"onnxruntime-gpu=={version}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = list(folder.glob("*.whl"))
    if done.returncode != 0 or not wheels:
        reason = (done.stderr.strip().splitlines() or ["pip says nothing"])[-1]
        raise Unavailable(f"onnxruntime-gpu {version} cannot be downloaded: {reason}")
    return wheels[0]
