"""Compiles and links ziprerank for macOS on arm64, which nothing here can run: ``python tests/macos/cross.py``.

`make test-macos` runs it. ``zig c++`` compiles the engine, its tests, the examples and the Python module with all
warnings as errors; lld links them by Apple's rules (cmake/aarch64-macos.cmake). Then what was made is looked at: the
symbols that the library shows and asks for, its name, and where the module looks for it.

The Python module is compiled with the headers of this Python, whose ``pyconfig.h`` is not that of one for macOS. libc++
is that of zig, linked in, where a Mac has it as a library. Nothing here tells from which macOS on the result would run.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from fnmatch import fnmatchcase
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build" / "macos"
CMAKE = BUILD / "cmake"
INSTALLED = BUILD / "installed" / "ziprerank"
LIBRARIES = BUILD / "lib"
ZIG = "ziglang==0.17.*"
TOOLS = {"cmake": "cmake", "clang": "clang", "ld.lld": "lld", "llvm-nm": "llvm", "llvm-objdump": "llvm"}
LIBRARY = "libziprerank.dylib"


def main() -> None:
    """Raises SystemExit where a step fails, and says what is not as it should be."""
    missing = sorted({package for tool, package in TOOLS.items() if shutil.which(tool) is None})
    if missing:
        raise SystemExit(f"make test-macos needs Debian's packages: apt-get install {' '.join(missing)}")
    zig = _zig()
    _make_libraries(zig)
    _build(zig)
    wrong = [*_library(INSTALLED / LIBRARY), *_module(next(INSTALLED.glob("_engine.*")))]
    for program in ("tests/ziprerank_tests", "tests/catching", "examples/rank_c", "examples/rank_cpp"):
        wrong += _is_for_arm64(CMAKE / "engine" / program)
    if wrong:
        raise SystemExit("\n".join(["compiled and linked for macOS, but:", *wrong]))
    print("macOS arm64: compiled and linked; nothing has been run")


def _zig() -> Path:
    """Installs zig where it is not yet, and returns its program."""
    site = BUILD / "zig"
    program = site / "ziglang" / "zig"
    if not program.exists():
        quiet = ("--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary", ":all:")
        _run(sys.executable, "-m", "pip", "install", *quiet, "--target", site, ZIG)
    return program


def _make_libraries(zig: Path) -> None:
    """The libraries to link with: libc++, which zig builds in minutes, and the system's, as a list of its symbols."""
    if (LIBRARIES / "libm.tbd").exists():
        return
    LIBRARIES.mkdir(parents=True, exist_ok=True)
    (source := LIBRARIES / "any.cpp").write_text("#include <string>\nint main() { return std::string().size(); }\n")
    cache = BUILD / "cache"
    command = (zig, "c++", "-target", "aarch64-macos", source, "-o", LIBRARIES / "any")
    _run(*command, ZIG_GLOBAL_CACHE_DIR=str(cache))
    for name in ("libc++.a", "libc++abi.a"):
        (archive,) = cache.rglob(name)
        shutil.copy(archive, LIBRARIES)
    stub = (zig.parent / "lib" / "libc" / "darwin" / "libSystem.tbd").read_text()
    for name in ("libSystem", "libm"):  # lld 14 has not heard of the newest processors
        (LIBRARIES / f"{name}.tbd").write_text(re.sub(r"arm64e\.x1-", "arm64-", stub))


def _build(zig: Path) -> None:
    defines = {
        "CMAKE_TOOLCHAIN_FILE": ROOT / "cmake" / "aarch64-macos.cmake",
        "Python_EXECUTABLE": sys.executable,
        "SKBUILD": "ON",  # the folders of a wheel
        "ZIPRERANK_BUILD_EXAMPLES": "ON",
        "ZIPRERANK_BUILD_PYTHON": "ON",
        "ZIPRERANK_BUILD_TESTS": "ON",
        "ZIPRERANK_WERROR": "ON",
    }
    places = {"ZIG": str(zig), "MACOS_LIBRARIES": str(LIBRARIES)}
    _run("cmake", "-S", ROOT, "-B", CMAKE, *(f"-D{name}={value}" for name, value in defines.items()), **places)
    _run("cmake", "--build", CMAKE, "-j2", **places)
    shutil.rmtree(INSTALLED.parent, ignore_errors=True)
    _run("cmake", "--install", CMAKE, "--prefix", INSTALLED.parent)


def _library(library: Path) -> list[str]:
    """What is wrong with the engine's library."""
    wrong = _is_for_arm64(library)
    lines = (ROOT / "engine" / "src" / "api" / "exports.txt").read_text(encoding="utf-8").splitlines()
    patterns = [line for line in lines if not line.startswith("#")]
    shown = set(_run("llvm-nm", "--extern-only", "--defined-only", "--just-symbol-name", library).split())
    functions = [pattern for pattern in patterns if not pattern.startswith("__ZT")]  # the list says why
    hidden = {pattern for pattern in functions if not any(fnmatchcase(name, pattern) for name in shown)}
    more = {name for name in shown if not any(fnmatchcase(name, pattern) for pattern in patterns)}
    header = (ROOT / "engine" / "include" / "ziprerank" / "ziprerank.h").read_text(encoding="utf-8")
    hidden |= {f"_{name}" for name in re.findall(r"\b(zr_\w+)\(", header)} - shown
    wrong += [f"{library.name} does not show {name}" for name in sorted(hidden)]
    wrong += [f"{library.name} shows {name} too" for name in sorted(more)]
    return wrong + _needs(library, f"@rpath/{LIBRARY}", "/usr/lib/libSystem.B.dylib")


def _module(module: Path) -> list[str]:
    """What is wrong with the Python module."""
    wrong = _is_for_arm64(module)
    entry = _run("llvm-nm", "--extern-only", "--defined-only", "--just-symbol-name", module).split()
    if "_PyInit__engine" not in entry:
        wrong.append(f"{module.name} has no entry for Python")
    paths = re.findall(r"cmd LC_RPATH\n.*\n\s+path (\S+)", _run("llvm-objdump", "--macho", "--private-headers", module))
    if paths != ["@loader_path"]:
        wrong.append(f"{module.name} looks for the library in {paths}, and not beside itself")
    return wrong + _needs(module, f"@rpath/{LIBRARY}", "/usr/lib/libSystem.B.dylib")


def _needs(file: Path, *wanted: str) -> list[str]:
    """What is wrong with the names of libraries that a file has, its own among them."""
    lines = _run("llvm-objdump", "--macho", "--dylibs-used", file).splitlines()[1:]
    found = sorted({line.split()[0] for line in lines})
    return [] if found == sorted(wanted) else [f"{file.name} names the libraries {found}, expected {sorted(wanted)}"]


def _is_for_arm64(file: Path) -> list[str]:
    header = _run("llvm-objdump", "--macho", "--private-header", file)
    return [] if re.search(r"MH_MAGIC_64\s+ARM64\b", header) else [f"{file} is not for macOS on arm64: {header}"]


def _run(*command: str | Path, **environment: str) -> str:
    """Runs a program to its end, and returns what it wrote. Raises SystemExit, with that, where it fails."""
    done = subprocess.run(
        [str(part) for part in command],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise SystemExit(f"{done.stdout}\n{command[0]} ended with {done.returncode}: {' '.join(map(str, command))}")
    return done.stdout


if __name__ == "__main__":
    main()
