"""Compares lock files, or the installed packages, with the advisories known here; needs no network.

python deploy/audit.py deploy/docker/*.lock
python deploy/audit.py                        # the environment of this Python
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import tomllib
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ADVISORIES = Path(__file__).parent / "advisories.toml"


def known() -> dict[str, dict[str, Any]]:
    """Returns the advisories by canonical name of the package: ``fixed``, ``advisories`` and perhaps ``python``."""
    return tomllib.loads(ADVISORIES.read_text(encoding="utf-8"))


def locked(lock: Path) -> dict[str, Version]:
    """Returns the version of each package in a lock file, by canonical name."""
    lines = (line.partition(" \\")[0] for line in lock.read_text(encoding="utf-8").splitlines())
    pins = (Requirement(line) for line in lines if "==" in line and not line.startswith((" ", "#")))
    return {canonicalize_name(pin.name): Version(str(pin.specifier).removeprefix("==")) for pin in pins}


def installed() -> dict[str, Version]:
    """Returns the version of each installed package, by canonical name."""
    return {canonicalize_name(one.name): Version(one.version) for one in distributions()}


def vulnerable(packages: Mapping[str, Version]) -> Iterator[str]:
    """Yields a line for each package that is older than the release that fixed its advisories."""
    for name, advisory in known().items():
        version = packages.get(name)
        if version is not None and version < Version(advisory["fixed"]):
            yield f"{name} {version}: {', '.join(advisory['advisories'])}, fixed in {advisory['fixed']}"


def main(locks: list[str]) -> int:
    """Prints what is vulnerable and returns the exit status."""
    found = 0
    for place, packages in {lock: locked(Path(lock)) for lock in locks}.items() or [("installed", installed())]:
        for line in vulnerable(packages):
            print(f"{place}: {line}")
            found += 1
    return min(found, 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
