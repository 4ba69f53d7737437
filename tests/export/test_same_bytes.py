"""A bundle has the same bytes whatever the processor that exports it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest
from checkpoints import Shape
from ziprerank.export.rotary import rotary_frequencies

EXPORTS = """
import hashlib, json, sys
from pathlib import Path
import ml_dtypes, numpy as np
from ziprerank.export import ExportOptions, export_checkpoint
from ziprerank.export.quantise import quantise_e4m3

def digests(folder):
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(folder.iterdir())}

checkpoint, out = sys.argv[1], Path(sys.argv[2])
made = {}
for name in ("cpu fp32", "cuda bf16", "cuda int8", "cpu int8-dynamic", "cpu int4"):
    target, precision = name.split()
    options = ExportOptions(target=target, precision=precision)
    made[name] = digests(export_checkpoint(checkpoint, out / name, options))
weight = np.random.default_rng(0).standard_normal((64, 333)).astype(np.float32)
made["fp8"] = [array.tobytes().hex() for array in quantise_e4m3(weight, ml_dtypes.bfloat16)]
print(json.dumps({"found": np.show_config("dicts")["SIMD Extensions"].get("found", []), "made": made}))
"""


def test_other_instruction_sets_make_the_same_bytes(make_checkpoint, tmp_path) -> None:
    """Compares with an export in which NumPy and the C library avoid the instructions that some processors lack."""

    def export(name: str, **environment: str) -> dict:
        command = [sys.executable, "-c", EXPORTS, str(make_checkpoint(Shape())), str(tmp_path / name)]
        done = subprocess.run(command, capture_output=True, text=True, env=os.environ | environment, check=True)
        return json.loads(done.stdout.splitlines()[-1])

    here = export("here")
    if not here["found"]:
        pytest.skip("NumPy has no code here beyond its baseline")
    baseline = export(
        "baseline",
        NPY_DISABLE_CPU_FEATURES=" ".join(here["found"]),
        GLIBC_TUNABLES="glibc.cpu.hwcaps=-AVX512F,-AVX2,-FMA,-FMA4",
    )
    assert not baseline["found"]
    assert baseline["made"] == here["made"]


@pytest.mark.parametrize(("theta", "dimension"), [(5_000_000, 128), (10_000, 36), (10_000, 32), (500_000, 64)])
def test_rotary_frequencies_are_the_nearest_floats(theta: int, dimension: int) -> None:
    """In exact arithmetic: f is nearest to theta ** (-2 i / d) if the midpoints to its neighbours lie around it.

    A midpoint m is below theta ** (-2 i / d) if m ** d * theta ** (2 i) is below 1.
    """
    frequencies = rotary_frequencies(theta, dimension)
    assert frequencies.dtype == np.float32
    assert len(frequencies) == dimension // 2
    assert frequencies[0] == 1
    for i, frequency in enumerate(frequencies):
        below, above = (
            (Fraction(float(frequency)) + Fraction(float(np.nextafter(frequency, np.float32(side))))) / 2
            for side in (0, 2)
        )
        assert below**dimension * theta ** (2 * i) < 1 < above**dimension * theta ** (2 * i)
