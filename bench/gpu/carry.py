"""Collects what ``make gpu`` needs on a machine that reaches no package index.

    python -m bench.gpu.carry FOLDER                 # about 5 GB: wheels, and the sources of the current commit
    python -m bench.gpu.carry FOLDER --part-mb 60    # the same as parts of at most 60 MB

Run it with the Python version and on the kind of processor of that machine, and with a glibc no newer than its own.
There:

    cat carry.tar.part-* | tar x        # parts only
    tar xzf source.tar.gz && cd ziprerank && make gpu WHEELS=../wheels
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import IO

ROOT = Path(__file__).resolve().parents[2]
MB = 1_000_000
PART = "carry.tar.part-"
EXTRA = "gpu-test"


class Parts:
    """A file to write to, which becomes files of at most ``size`` bytes: ``carry.tar.part-000`` and so on."""

    def __init__(self, folder: Path, size: int) -> None:
        self._folder, self._size = folder, size
        self._file: IO[bytes] | None = None
        self._left = 0
        self.files: list[Path] = []

    def write(self, data: bytes) -> int:
        """Appends ``data``, in a new part where the last one is full."""
        rest = memoryview(data)
        while rest:
            if self._left == 0:
                self.close()
                self.files.append(self._folder / f"{PART}{len(self.files):03}")
                self._file, self._left = self.files[-1].open("wb"), self._size
            now = rest[: self._left]
            assert self._file is not None
            self._file.write(now)
            self._left -= len(now)
            rest = rest[len(now) :]
        return len(data)

    def close(self) -> None:
        """Closes the last part."""
        if self._file is not None:
            self._file.close()


def split(folder: Path, names: list[str], size: int) -> list[Path]:
    """Puts what ``names`` name in ``folder`` into parts of at most ``size`` bytes, and removes it.

    Returns:
        The parts. ``cat`` of them in this order is a tar file.
    """
    parts = Parts(folder, size)
    with tarfile.open(fileobj=parts, mode="w|") as archive:  # type: ignore[call-overload]
        for name in names:
            archive.add(folder / name, name)
    parts.close()
    for name in names:
        path = folder / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    return parts.files


def collect(folder: Path) -> list[str]:
    """Writes ``wheels`` and ``source.tar.gz``, both of the current commit, to ``folder`` and returns their names.

    Raises:
        SystemExit: A wheel is for the CPU, or one is missing.
    """
    wheels, source = folder / "wheels", folder / "source.tar.gz"
    archive = ["git", "archive", "--format=tar.gz", "--prefix=ziprerank/", "--output", str(source), "HEAD"]
    subprocess.run(archive, cwd=ROOT, check=True)
    with tempfile.TemporaryDirectory() as work:
        subprocess.run(["tar", "xzf", str(source), "-C", work], check=True)
        pip("wheel", "--wheel-dir", str(wheels), f"{work}/ziprerank[{EXTRA}]")
    check(wheels)
    return [wheels.name, source.name]


def check(wheels: Path) -> None:
    """Raises SystemExit where ``make gpu WHEELS=`` would not install these wheels, or they are no use on a GPU."""
    for wheel in wheels.glob("*+cpu*.whl"):
        raise SystemExit(
            f"{wheel.name} cannot use a GPU: pip prefers it where an index or a folder offers one; leave that out of "
            "pip's configuration (pip config list, and variables PIP_FIND_LINKS and PIP_EXTRA_INDEX_URL)"
        )
    try:
        with_extra = f"ziprerank[{EXTRA}]"
        pip("install", "--dry-run", "--ignore-installed", "--no-index", "--find-links", str(wheels), with_extra)
    except subprocess.CalledProcessError:
        raise SystemExit(f"{wheels} does not hold all that it needs: pip's reason stands above") from None


def pip(*arguments: str) -> None:
    """Runs pip."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", arguments[0], "--quiet", *arguments[1:]]
    subprocess.run(command, check=True)


def write_sums(folder: Path, files: list[Path]) -> None:
    """Writes SHA256SUMS, which ``sha256sum --check`` reads."""
    lines = []
    for file in files:
        with file.open("rb") as opened:
            digest = hashlib.sha256()
            while block := opened.read(1 << 20):
                digest.update(block)
        lines.append(f"{digest.hexdigest()}  {file.relative_to(folder)}\n")
    (folder / "SHA256SUMS").write_text("".join(lines), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.gpu.carry", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="a new or empty folder")
    parser.add_argument("--part-mb", type=int, help="most megabytes of a file; default: no limit")
    options = parser.parse_args()
    if options.part_mb is not None and options.part_mb < 1:
        parser.error(f"--part-mb {options.part_mb}: must be at least 1")
    folder: Path = options.folder.resolve()
    if folder.exists() and any(folder.iterdir()):
        parser.error(f"{folder} is not empty: give a new folder")
    folder.mkdir(parents=True, exist_ok=True)
    names = collect(folder)
    if options.part_mb is None:
        files = sorted(path for name in names for path in (folder / name, *(folder / name).glob("*")) if path.is_file())
    else:
        files = split(folder, names, options.part_mb * MB)
    write_sums(folder, files)
    print(f"{len(files)} files, {sum(file.stat().st_size for file in files) / 1e9:.2f} GB in {folder}")


if __name__ == "__main__":
    main()
