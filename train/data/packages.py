"""Debian packages as a source of documents."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

from ziprerank.train.errors import TrainError


def download(package: str, folder: Path) -> Path:
    """Download a Debian package and unpack it under ``folder``/name, unless it is there.

    Args:
        package: "name" or "name=version".
        folder: made if need be.

    Returns:
        The folder of the unpacked package.

    Raises:
        TrainError: this is no Debian system, or the package cannot be fetched (with the tool's message).
    """
    name = package.partition("=")[0]
    target = folder / name
    if target.is_dir():
        return target
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as work:
        try:
            subprocess.run(["apt-get", "download", package], cwd=work, check=True, capture_output=True, text=True)
            (archive,) = Path(work).glob("*.deb")
            unpacked = Path(work) / "unpacked"
            subprocess.run(["dpkg-deb", "-x", archive, unpacked], check=True, capture_output=True, text=True)
        except FileNotFoundError as error:
            raise TrainError(
                f"{error.filename} is not installed: this needs a Debian system; or give your own documents"
            ) from None
        except subprocess.CalledProcessError as error:
            raise TrainError(
                f"{package}: {error.stderr.strip()}; run apt-get update, and if that does not help, the archive has "
                "another version now: name it"
            ) from None
        shutil.move(unpacked, target)
    return target
