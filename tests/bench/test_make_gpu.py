"""``make gpu`` without a GPU, and what carries its needs to a machine without a package index."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from bench.gpu.carry import check, split, write_sums

ROOT = Path(__file__).parents[2]


def make(*arguments: str) -> str:
    """What a ``make`` of its own prints: one that runs these tests hands its flags and its depth to it otherwise."""
    inherited = ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "GNUMAKEFLAGS")
    environment = {name: value for name, value in os.environ.items() if name not in inherited}
    command = ["make", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, check=True, text=True, stdout=subprocess.PIPE).stdout


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("make") is None, reason="no make")
def test_the_target_runs_its_tests_and_its_measurements_and_ends_with_the_aims(tmp_path: Path) -> None:
    """Without a GPU every test is skipped, and the measurements are a dry run."""
    rows = tmp_path / "rows.jsonl"
    venv = sys.prefix
    bench = "GPU_BENCH=--dry-run --seconds 0"
    lines = make("-o", f"{venv}/.gpu", "gpu", f"VENV={venv}", f"GPU_ROWS={rows}", bench).splitlines()
    assert "skipped" in next(line for line in lines if line.startswith("=") and " in " in line)
    assert any(line.split()[-3:] == ["bound", "predicted", "measured"] for line in lines)
    assert lines[-1].startswith("pytest -m gpu: 0 ")
    written = [json.loads(line) for line in rows.read_text().splitlines()]
    assert any(row["what"] == "aim" for row in written)


@pytest.mark.skipif(shutil.which("make") is None, reason="no make")
@pytest.mark.parametrize(("wheels", "install"), [("", '".[gpu-test]"'), ("W", '--no-index --find-links W "ziprerank')])
def test_set_up_takes_the_folder_of_wheels_where_one_is_named(tmp_path: Path, wheels: str, install: str) -> None:
    plan = make("--dry-run", "gpu", f"VENV={tmp_path}/venv", f"WHEELS={wheels}")
    assert install in plan
    assert ("--no-index" in plan) == bool(wheels)
    assert "timeout 200" in plan
    assert "--seconds 280" in plan  # with the tests' 200 s, 8 minutes


def test_parts_are_no_larger_than_asked_and_together_the_whole(tmp_path: Path) -> None:
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    contents = {"a.whl": bytes(range(256)) * 300, "b.whl": b"b" * 5}
    for name, data in contents.items():
        (wheels / name).write_bytes(data)
    (tmp_path / "source.tar.gz").write_bytes(b"source")
    parts = split(tmp_path, ["wheels", "source.tar.gz"], 10_000)
    assert len(parts) > 7
    assert max(part.stat().st_size for part in parts) == 10_000
    assert sorted(path.name for path in tmp_path.iterdir()) == [part.name for part in parts]
    write_sums(tmp_path, parts)
    subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=tmp_path, check=True)
    whole = tmp_path / "whole.tar"
    whole.write_bytes(b"".join(part.read_bytes() for part in parts))
    with tarfile.open(whole) as archive:
        for name, data in contents.items():
            member = archive.extractfile(f"wheels/{name}")
            assert member is not None
            assert member.read() == data


def test_wheels_for_the_cpu_are_refused(tmp_path: Path) -> None:
    """As pip brings them where a folder of its configuration offers one."""
    (tmp_path / "torch-2.13.0+cpu-cp311-cp311-manylinux_2_28_x86_64.whl").touch()
    with pytest.raises(SystemExit, match=r"torch-2.13.0\+cpu.* cannot use a GPU: .*PIP_FIND_LINKS"):
        check(tmp_path)


def test_wheels_that_lack_one_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="does not hold all that it needs"):
        check(tmp_path)
