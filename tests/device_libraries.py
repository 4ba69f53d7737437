"""Makes what tells for which GPUs there is code, without a GPU: a CUDA provider's library, and a driver with GPUs."""

from __future__ import annotations

from pathlib import Path

from engine_helpers import run

PROVIDER = "libonnxruntime_providers_cuda.so"


def driver_of(folder: Path, *found: int) -> Path:
    """A CUDA driver that sees GPUs of these compute capabilities."""
    source = folder / "driver.c"
    source.write_text(
        f"static const int found[] = {{{', '.join(map(str, found))}}};\n"
        "int cuInit(unsigned flags) { return flags; }\n"
        f"int cuDeviceGetCount(int* n) {{ *n = {len(found)}; return 0; }}\n"
        "int cuDeviceGet(int* device, int number) { *device = number + 5; return 0; }\n"
        "int cuDeviceGetAttribute(int* value, int attribute, int device) {\n"
        "  *value = attribute == 75 ? found[device - 5] / 10 : attribute == 76 ? found[device - 5] % 10 : -1;\n"
        "  return 0;\n}\n"
    )
    run("cc", "-shared", "-fPIC", "-o", folder / "driver.so", source)
    return folder / "driver.so"


def provider_of(folder: Path, *entries: tuple[int, int]) -> Path:
    """A CUDA provider with device code, each of a kind and an architecture, as nvcc leaves it."""
    lines = ['.section .nv_fatbin, "a"', ".balign 8"]
    for kind, architecture in entries:  # a container each, with zeros behind it as the linker aligns them
        header = [f".short {kind}, 0x101", ".long 64", ".quad 24", ".quad 0", ".short 0, 0", f".long {architecture}"]
        lines += [".long 0xBA55ED50", ".short 1, 16", ".quad 88", *header, ".zero 32", ".zero 24", ".zero 16"]
    (folder / "code.s").write_text("\n".join(lines) + "\n")
    run("cc", "-shared", "-o", folder / PROVIDER, folder / "code.s")
    return folder / PROVIDER
