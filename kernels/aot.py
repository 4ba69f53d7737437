"""Compiles the kernels ahead of time: cubins for each GPU generation, a PTX fallback, and the launch table.

Compilation needs no GPU. Tests check that the code compiles, spills no registers and takes the arguments in the table;
no test has run it on a GPU.

``launch.json``::

    {"format_version": 1, "triton": "3.9.0", "hidden_size": 4096, "levels": 4, "precision": "bf16",
     "kernels": [{"name": "text_scales", "grid_over": "T",
                  "arguments": [{"name": "text", "type": "*bf16", "shape": "[T, H]", "output": false, "align": 16}],
                  "targets": [{"arch": 90, "kind": "cubin", "file": "text_scales.sm_90.cubin", "entry": "text_scales",
                               "threads": 128, "grid_step": 4, "shared": 64, "registers": 54, "spill": 0, ...}]}]}

A window launches the kernels in this order on one stream, each with the grid ``(ceil(grid_over / grid_step), 1, 1)``
and blocks of ``threads``. ``T`` is the number of text tokens, ``N`` of visual tokens, ``K`` of pages. Arguments are
passed in the order of ``arguments``; the last two are Triton's scratch pointers, which are null. ``shared`` is dynamic
shared memory; more than 48 KB must first be allowed with ``cuFuncSetAttribute``. Pointers are aligned to 16 bytes.

A cubin of compute capability 9.0 or more runs on exactly that capability. A device without a cubin of its own uses the
PTX, which the driver compiles for any capability from 8.0 on.

``launch.txt`` is the part of this table that a launch needs, for hosts without a JSON parser (docs/bundle.md).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from .errors import KernelError
from .launch import KERNELS, TARGETS, Kernel, tile

FORMAT_VERSION = 1
PTX_ARCH, PTX_VERSION = 80, 88  # PTX ISA 8.8: drivers from CUDA 12.9 on
TABLE, LAUNCHES = "launch.json", "launch.txt"
SCRATCH = ("global_scratch", "profile_scratch")


@dataclass(frozen=True)
class CompiledKernel:
    """One kernel for one target: a row of the launch table.

    Attributes:
        kernel: Name of the kernel.
        entry: Name of the function in the file.
        arch: Compute capability, 90 for 9.0; of the PTX, the lowest that it runs on.
        kind: ``cubin`` or ``ptx``.
        file: Name of the file.
        threads: Of a block.
        grid_step: Length of the grid's dimension that one program handles.
        shared: Bytes of dynamic shared memory of a block.
        static_shared: Bytes of static shared memory of a block; from 9.0 on the 1 KB that the driver reserves.
        registers: Of a thread; of the PTX, as compiled for ``arch``, like all resources.
        spill: Bytes of a thread.
        size: Bytes of the file.
    """

    kernel: str
    entry: str
    arch: int
    kind: str
    file: str
    threads: int
    grid_step: int
    shared: int
    static_shared: int
    registers: int
    spill: int
    size: int


def compile_kernels(
    out: Path, hidden: int, dtype: str, levels: int, targets: Sequence[int] = TARGETS
) -> list[CompiledKernel]:
    """Compiles all kernels for a model and writes them with their launch table.

    Args:
        out: The directory, a bundle's ``kernels/``. It is created if missing; files of the same names are replaced.
        hidden: The model's hidden size, ``H`` of the page pool.
        dtype: ``fp32``, ``fp16`` or ``bf16``, of the pool and the text embeddings.
        levels: Feature levels of the page pool, ``L``.
        targets: Compute capabilities, all in `TARGETS`; the PTX fallback is always compiled.

    Raises:
        KernelError: An option is out of range, or a kernel does not compile.
        ImportError: Triton is not installed.
    """
    unknown = sorted(set(targets) - set(TARGETS))
    if unknown:
        raise KernelError(f"targets {unknown}: must be among {', '.join(map(str, TARGETS))}; the PTX covers the others")
    for kernel in KERNELS:
        tile(kernel.name, None, dtype, hidden, levels)  # checks the options before anything is written
    try:
        triton = version("triton")
    except PackageNotFoundError:
        raise ImportError('compiling kernels needs Triton: pip install "ziprerank[kernels]"') from None

    out.mkdir(parents=True, exist_ok=True)
    names = [*map(str, sorted(set(targets))), "ptx"]
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        results = list(pool.map(partial(_compile_target, out, hidden, dtype, levels), names))
    compiled = [kernel for kernels in results for kernel in kernels]
    table = {
        "format_version": FORMAT_VERSION,
        "triton": triton,
        "hidden_size": hidden,
        "levels": levels,
        "precision": dtype,
        "kernels": [_table_entry(kernel, dtype, compiled) for kernel in KERNELS],
    }
    (out / TABLE).write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
    (out / LAUNCHES).write_text(_launches(table), encoding="utf-8")
    return compiled


def describe(directory: Path) -> list[CompiledKernel]:
    """Reads the launch table of a ``kernels/`` directory.

    Raises:
        KernelError: There is no table, its format is another, or a file is missing or has another size.
    """
    path = directory / TABLE
    if not path.is_file():
        raise KernelError(f"{path} does not exist: export the bundle with --kernels, or call compile_kernels")
    table = json.loads(path.read_text(encoding="utf-8"))
    if table.get("format_version") != FORMAT_VERSION:
        raise KernelError(f"{path} has format {table.get('format_version')}, this version reads {FORMAT_VERSION}")
    compiled = [CompiledKernel(kernel["name"], **row) for kernel in table["kernels"] for row in kernel["targets"]]
    for row in compiled:
        file = directory / row.file
        if not file.is_file() or file.stat().st_size != row.size:
            raise KernelError(f"{file} is missing or not {row.size} bytes long: compile the kernels again")
    return compiled


def _compile_target(out: Path, hidden: int, dtype: str, levels: int, target: str) -> list[CompiledKernel]:
    # without line numbers, which would put paths of this machine into the bundle
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment |= {"TRITON_DISABLE_LINE_INFO": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-m", "ziprerank.kernels.compiler", str(out), str(hidden), dtype, str(levels), target]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise KernelError(f"kernels for {target}, hidden size {hidden}, {dtype} do not compile: {reason}")
    return [CompiledKernel(**row) for row in json.loads(done.stdout.splitlines()[-1])]


def _table_entry(kernel: Kernel, dtype: str, compiled: Sequence[CompiledKernel]) -> dict[str, Any]:
    arguments: list[dict[str, Any]] = []
    for argument in kernel.arguments:
        fields = asdict(argument) | {"type": argument.type.replace("*T", f"*{dtype}")}
        arguments.append(fields | {"align": 16} if argument.type.startswith("*") else fields)
    arguments += [{"name": name, "type": "*i8", "shape": "null", "output": False} for name in SCRATCH]
    rows = [asdict(row) for row in compiled if row.kernel == kernel.name]
    targets = [{name: value for name, value in row.items() if name != "kernel"} for row in rows]
    return {"name": kernel.name, "grid_over": kernel.grid_over, "arguments": arguments, "targets": targets}


def _launches(table: dict[str, Any]) -> str:
    """Returns the text of ``launch.txt``."""
    records: list[tuple[Any, ...]] = [
        ("ziprerank-kernels", table["format_version"]),
        ("model", table["hidden_size"], table["levels"], table["precision"]),
    ]
    for kernel in table["kernels"]:
        records.append(("kernel", kernel["name"], kernel["grid_over"]))
        records += [("argument", argument["name"], argument["type"]) for argument in kernel["arguments"]]
        fields = ("arch", "kind", "file", "entry", "threads", "grid_step", "shared")
        records += [("target", *(target[field] for field in fields)) for target in kernel["targets"]]
    return "".join(" ".join(map(str, record)) + "\n" for record in records)
