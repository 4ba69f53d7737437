"""``python -m bench.gpu.wheels 1.31.1``: for which GPUs the wheels of onnxruntime-gpu hold code, without a GPU.

Each version's wheels for x86-64 and aarch64 (200 to 260 MB each, for aarch64 from 1.29 on) are fetched, and the CUDA
provider in them is read; the table goes into docs/gpu.md. Without arguments it reads the versions that stand there.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from zipfile import ZipFile

from ziprerank._engine import DeviceCode, device_code
from ziprerank.kernels.launch import TARGETS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "gpu.md"
BEGIN, END = "<!-- wheels -->\n", "<!-- /wheels -->\n"
LIBRARY = "onnxruntime/capi/libonnxruntime_providers_cuda.so"
HOSTS = {"x86-64": "x86_64", "aarch64": "aarch64"}  # as we write them, and as a wheel's tag does
NEWEST_GLIBC = 40  # of a manylinux tag; the tags of older ones are asked for too
GPUS = {
    80: "A100",
    86: "A10, RTX 30",
    87: "Jetson Orin",
    89: "L4, L40S, RTX 40",
    90: "H100, H200, GH200",
    100: "B200, GB200",
    103: "B300, GB300",
    110: "Jetson Thor",
    120: "RTX 50, RTX PRO",
    121: "DGX Spark",
}


def main(versions: list[str]) -> None:
    """Reads the wheels of ``versions`` and writes the table."""
    before, rest = PAGE.read_text().split(BEGIN)
    table, after = rest.split(END)
    known = re.findall(r"onnxruntime-gpu (\d[\d.]+)", table)
    rows = [
        row(host, f"onnxruntime-gpu {version}", read(version, tag))
        for version in versions or dict.fromkeys(known)
        for host, tag in HOSTS.items()
    ]
    ours = DeviceCode(sorted(TARGETS), [min(TARGETS)])
    rows.append(row("both", "pruning, in a bundle", ours))
    PAGE.write_text(before + BEGIN + "".join([*head(), *rows]) + END + after)


def read(version: str, machine: str) -> DeviceCode:
    """What the CUDA provider of onnxruntime-gpu holds for ``machine``, in the wheel for this Python."""
    with tempfile.TemporaryDirectory() as work:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        command += ["--only-binary", ":all:", "--dest", work, f"onnxruntime-gpu=={version}"]
        for minor in range(NEWEST_GLIBC, 16, -1):
            command += ["--platform", f"manylinux_2_{minor}_{machine}"]
        subprocess.run(command, check=True)
        (wheel,) = Path(work).glob("*.whl")
        with ZipFile(wheel) as archive:
            return device_code(archive.extract(LIBRARY, work))


def head() -> Iterator[str]:
    yield f"| host | wheel | {' | '.join(f'{c // 10}.{c % 10}<br>{name}' for c, name in GPUS.items())} |\n"
    yield f"|{'---|' * (2 + len(GPUS))}\n"


def row(host: str, wheel: str, code: DeviceCode) -> str:
    """One wheel's row of the table: yes where it holds code that the GPU runs, PTX where the driver must compile it."""
    cells = [host, wheel]
    for capability in GPUS:
        machine = DeviceCode(code.machine, [])
        runs = bool(code.machine) and machine.runs_on(capability)
        cells.append("yes" if runs else "PTX" if code.ptx and code.runs_on(capability) else "no")
    return f"| {' | '.join(cells)} |\n"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("versions", nargs="*", help="Versions of onnxruntime-gpu; none: those in docs/gpu.md.")
    main(parser.parse_args().versions)
