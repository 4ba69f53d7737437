"""Puts together what runs aarch64 programs under QEMU: a Python from Debian's arm64 packages, and a /proc/cpuinfo."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"
PYTHON = f"python{VERSION}"
RUN = (f"{PYTHON}-minimal", f"lib{PYTHON}-stdlib", "libstdc++6")
HEADERS = f"lib{PYTHON}-dev"

# Of an ARM processor with the instructions of Armv8.2 that QEMU 7.2 has. QEMU hands a program the host's file, in which
# ONNX Runtime finds no ARM processor, and crashes when it is imported.
CPUINFO = """\
processor\t: 0
BogoMIPS\t: 50.00
Features\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x3
CPU part\t: 0xd0c
CPU revision\t: 1

"""


def make(root: Path) -> None:
    """Writes the folder ``root`` unless it is there: Python of this interpreter's version, with its headers.

    Raises:
        SystemExit: Debian's packages are missing; the message says which.
    """
    if root.is_dir():
        return
    work = root.with_name(f"{root.name}.draft")
    shutil.rmtree(work, ignore_errors=True)
    apt, draft = _Apt(work / "apt"), work / "root"
    apt("update")
    apt("install", "--download-only", "--yes", "--no-install-recommends", *RUN)
    apt("download", HEADERS)
    for package in sorted((work / "apt").rglob("*.deb")):
        subprocess.run(["dpkg-deb", "--extract", package, draft], check=True)
    (draft / "proc").mkdir()
    (draft / "proc" / "cpuinfo").write_text(CPUINFO)
    draft.rename(root)
    shutil.rmtree(work)


class _Apt:
    """apt-get for arm64 with lists and a state of its own, so that this machine's packages stay as they are."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("state/lists/partial", "cache/archives/partial"):
            (folder / name).mkdir(parents=True)
        (folder / "status").touch()
        newer = Path("/etc/apt/sources.list.d/debian.sources")
        settings = {
            "APT::Architecture": "arm64",
            "APT::Architectures": "arm64",
            "APT::Sandbox::User": "",
            "Dir::State": folder / "state",
            "Dir::State::status": folder / "status",
            "Dir::Cache": folder / "cache",
            "Dir::Etc::sourceparts": "/dev/null",
            "Dir::Etc::sourcelist": newer if newer.exists() else "/etc/apt/sources.list",
        }
        self.options = [part for name, value in settings.items() for part in ("-o", f"{name}={value}")]

    def __call__(self, *arguments: str) -> None:
        done = subprocess.run(
            ["apt-get", "-qq", *self.options, *arguments],
            cwd=self.folder,
            env={**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise SystemExit(
                f"apt-get {' '.join(arguments)} for arm64 failed: {done.stderr.strip()}\n{PYTHON} must be the version "
                "that Debian has: make test-arm VENV=build/arm-venv PYTHON=/usr/bin/python3"
            )
