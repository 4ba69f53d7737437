"""Builds ziprerank for Linux on aarch64, and tests it under QEMU: ``python tests/arm/emulate.py`` (`make test-arm`).

One cross-compiled build is the wheel and the C++ tests. CTest runs, the wheel is installed with its dependencies'
wheels for aarch64, and an arm64 Python ranks four pages, whose scores must be those of this machine.
``--fetch`` only fetches that Python and these wheels, and fails where they cannot be had.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import sysroot
import tomllib

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build" / "arm"
SYSTEM = BUILD / f"root-{sysroot.PYTHON}"
SITE = BUILD / "site"
TOOLS = {
    "aarch64-linux-gnu-g++": "g++-aarch64-linux-gnu",
    "qemu-aarch64": "qemu-user",
    "cmake": "cmake",
    "apt-get": "apt",
    "dpkg-deb": "dpkg",
}
MOST_DIFFERENCE = 5e-5
LEAST_SPREAD = 1.0  # of the scores: equal ones would hold for a broken engine too
GLIBC = range(28, 16, -1)  # of the wheels' manylinux tags, from the newest that Debian 12 and later have


def main() -> None:
    missing = sorted({package for tool, package in TOOLS.items() if shutil.which(tool) is None})
    if missing:
        raise SystemExit(f"make test-arm needs Debian's packages: apt-get install {' '.join(missing)}")
    began = time.monotonic()
    BUILD.mkdir(parents=True, exist_ok=True)
    _step("an arm64 Python from Debian's packages", lambda: sysroot.make(SYSTEM))
    if sys.argv[1:] == ["--fetch"]:
        _step("the dependencies' wheels for aarch64", _fetch)
        return
    _step("the wheel and the C++ tests, cross-compiled", _build)
    _step("CTest under QEMU", lambda: _run("ctest", "--test-dir", BUILD / "cmake", "--output-on-failure"))
    _step("the wheel and its dependencies' wheels for aarch64", _install)
    _step("four pages ranked on both", _compare)
    print(f"aarch64: all of it passed in {(time.monotonic() - began) / 60:.1f} minutes")


def _step(what: str, step: Any) -> None:
    print(f"== {what}", flush=True)
    began, used = time.monotonic(), os.times()
    step()
    now = os.times()
    processor = now.user + now.system + now.children_user + now.children_system
    processor -= used.user + used.system + used.children_user + used.children_system
    print(f"   {time.monotonic() - began:.0f} s, {processor:.0f} s of a processor", flush=True)


def _build() -> None:
    headers = SYSTEM / "usr" / "include"
    defines = {
        "CMAKE_TOOLCHAIN_FILE": ROOT / "cmake" / "aarch64-linux-gnu.cmake",
        "CMAKE_CXX_FLAGS": f"-idirafter {headers}",  # Debian's pyconfig.h includes that of the processor
        "Python_INCLUDE_DIR": headers / sysroot.PYTHON,
        "ZIPRERANK_BUILD_TESTS": "ON",
        "ZIPRERANK_WERROR": "ON",
    }
    shutil.rmtree(BUILD / "wheel", ignore_errors=True)
    _run(
        *(sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check", "--no-deps"),
        *("--wheel-dir", BUILD / "wheel", "--config-settings", f"build-dir={BUILD / 'cmake'}"),
        *(part for name, value in defines.items() for part in ("--config-settings", f"cmake.define.{name}={value}")),
        ROOT,
        _PYTHON_HOST_PLATFORM="linux-aarch64",
        SETUPTOOLS_EXT_SUFFIX=f".cpython-{sysroot.VERSION.replace('.', '')}-aarch64-linux-gnu.so",
    )
    wheel = _wheel()
    if not wheel.name.endswith("-linux_aarch64.whl"):
        raise SystemExit(f"{wheel.name} is not a wheel for aarch64")


def _wheel() -> Path:
    (wheel,) = (BUILD / "wheel").glob("*.whl")
    return wheel


def _fetch() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    needed = [*project["dependencies"], *project["optional-dependencies"]["cpu"]]
    _pip("download", "--dest", BUILD / "wheels", *needed)


def _install() -> None:
    shutil.rmtree(SITE, ignore_errors=True)
    _pip("install", "--target", SITE, f"ziprerank[cpu] @ {_wheel().as_uri()}")


def _pip(do: str, *arguments: str | Path) -> None:
    """Runs pip for aarch64 and the Python that is emulated."""
    platforms = ["linux_aarch64", *(f"manylinux_2_{minor}_aarch64" for minor in GLIBC), "manylinux2014_aarch64"]
    _run(
        *(sys.executable, "-m", "pip", do, "--quiet", "--disable-pip-version-check", "--only-binary", ":all:"),
        *("--implementation", "cp", "--python-version", sysroot.VERSION),
        *(part for platform in platforms for part in ("--platform", platform)),
        *arguments,
    )


def _compare() -> None:
    program, sample = ROOT / "tests" / "arm" / "rank_pages.py", ROOT / "python" / "examples" / "sample.pdf"
    python = SYSTEM / "usr" / "bin" / sysroot.PYTHON
    emulated = ("qemu-aarch64", "-L", SYSTEM, python, program, sample)
    arm = json.loads(_run(*emulated, capture=True, PYTHONPATH=str(SITE), PYTHONDONTWRITEBYTECODE="1"))
    here = json.loads(_run(sys.executable, program, sample, capture=True))
    for found in (here, arm):
        print(f"   {found['machine']}, kernel {found['kernel']}, ONNX Runtime {found['runtime']}: {found['scores']}")
    if (arm["machine"], arm["kernel"]) != ("aarch64", "neon"):
        raise SystemExit(f"ranked on {arm['machine']} by the kernel {arm['kernel']}, expected aarch64 and neon")
    if list(arm["scores"]) != list(here["scores"]):
        raise SystemExit(f"another order of pages: {list(arm['scores'])} and {list(here['scores'])}")
    spread = max(here["scores"].values()) - min(here["scores"].values())
    difference = max(abs(arm["scores"][page] - score) for page, score in here["scores"].items())
    print(f"   largest difference {difference:.1e}, at most {MOST_DIFFERENCE:.0e}; spread {spread:.2f}")
    if not (difference <= MOST_DIFFERENCE and spread >= LEAST_SPREAD):
        raise SystemExit("the scores differ too much, or do not have the spread that makes a difference visible")


def _run(*command: str | Path, capture: bool = False, **environment: str) -> str:
    """Runs a program to its end, with its output in ours or returned. Raises SystemExit where it fails."""
    done = subprocess.run(
        [str(part) for part in command],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE if capture else None,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise SystemExit(f"{command[0]} ended with {done.returncode}: {' '.join(map(str, command))}")
    return done.stdout or ""


if __name__ == "__main__":
    main()
