"""Compiles the kernels for one target. `ziprerank.kernels.aot` runs this module in a process for each target.

``python -m ziprerank.kernels.compiler OUT HIDDEN DTYPE LEVELS TARGET`` prints the compiled kernels as JSON; TARGET is a
compute capability such as ``90``, or ``ptx``. Processes are separate because Triton decides at import whether kernels
are compiled or interpreted, and because targets then compile in parallel.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from . import relevance, select
from .aot import PTX_ARCH, PTX_VERSION, SCRATCH, CompiledKernel
from .launch import KERNELS, Kernel, tile

FUNCTIONS = {
    "text_scales": relevance.text_scales,
    "relevance_scores": relevance.relevance_scores,
    "select_kept": select.select_kept,
}


def main(out: Path, hidden: int, dtype: str, levels: int, target: str) -> list[CompiledKernel]:
    """Writes the files of one target into ``out``, and returns an entry for each of `KERNELS`."""
    return [_compile(kernel, out, hidden, dtype, levels, target) for kernel in KERNELS]


def _compile(kernel: Kernel, out: Path, hidden: int, dtype: str, levels: int, target: str) -> CompiledKernel:
    capability = None if target == "ptx" else int(target)
    tiles = tile(kernel.name, capability, dtype, hidden, levels)
    # fusing multiplications with additions is set explicitly because its default changes in Triton 3.10
    options: dict[str, Any] = {
        "num_warps": tiles.num_warps,
        "num_stages": tiles.num_stages,
        "enable_fp_fusion": True,
    }
    if capability is None:
        options["ptx_version"] = PTX_VERSION
    arch = PTX_ARCH if capability is None else capability
    compiled = triton.compile(_source(kernel, tiles.constants, dtype), GPUTarget("cuda", arch, 32), options)
    metadata = compiled.metadata
    if metadata.global_scratch_size or metadata.profile_scratch_size:
        raise RuntimeError(f"{kernel.name} for {target} needs scratch memory, which the launch table cannot describe")
    _check_parameters(kernel, compiled.asm["ptx"])
    kind = "ptx" if capability is None else "cubin"
    code: bytes = compiled.asm["ptx"].encode() if kind == "ptx" else compiled.asm["cubin"]
    file = f"{kernel.name}.sm_{arch}.{kind}"
    (out / file).write_bytes(code)
    registers, spill, static_shared = _resources(compiled.asm["cubin"])
    return CompiledKernel(
        kernel=kernel.name,
        entry=metadata.name,
        arch=arch,
        kind=kind,
        file=file,
        threads=32 * metadata.num_warps,
        shared=metadata.shared,
        grid_step=tiles.grid_step,
        registers=registers,
        spill=spill,
        static_shared=static_shared,
        size=len(code),
    )


def _source(kernel: Kernel, constants: dict[str, int | bool], dtype: str) -> ASTSource:
    function = FUNCTIONS[kernel.name]
    types = {argument.name: argument.type.replace("*T", f"*{dtype}") for argument in kernel.arguments}
    names = [*types, *constants]
    if function.arg_names != names:
        raise RuntimeError(f"{kernel.name} takes {function.arg_names}, the launch table says {names}")
    signature = {name: types.get(name, "constexpr") for name in names}
    # without the declared alignment Triton copies rows element by element instead of 16 bytes at a time
    aligned = {(i,): [["tt.divisibility", 16]] for i, name in enumerate(names) if signature[name].startswith("*")}
    return ASTSource(function, signature, constants, aligned)


def _check_parameters(kernel: Kernel, ptx: str) -> None:
    """Checks the parameters: another version of Triton might add other ones than the two scratch pointers."""
    found = re.findall(r"\.param \.(\w+)\b.*_param_\d+", ptx)
    expected = ["u32" if argument.type == "i32" else "u64" for argument in kernel.arguments] + ["u64"] * len(SCRATCH)
    if found != expected:
        raise RuntimeError(f"{kernel.name} takes {found} with this Triton, the launch table says {expected}")


def _resources(cubin: bytes) -> tuple[int, int, int]:
    """Reads registers and spilled bytes of a thread, and bytes of static shared memory of a block.

    The kernels have no local arrays and call nothing, so everything on the stack or in local memory was spilled.
    """
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        command = [triton.knobs.nvidia.cuobjdump.path, "-res-usage", file.name]
        text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found = {key: int(value) for key, value in re.findall(r"(REG|STACK|SHARED|LOCAL):(\d+)", text)}
    return found["REG"], found["STACK"] + found["LOCAL"], found["SHARED"]


if __name__ == "__main__":
    out, hidden, dtype, levels, target = sys.argv[1:]
    compiled = main(Path(out), int(hidden), dtype, int(levels), target)
    sys.stdout.write(json.dumps([asdict(kernel) for kernel in compiled]))
