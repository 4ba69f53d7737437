"""What an NVIDIA cubin (an ELF file) says about itself: the architecture and the kernel's parameters."""

from __future__ import annotations

import struct

CUDA_MACHINE = 190
OLD_ABI, NEW_ABI = 51, 65  # EI_OSABI: where the flags keep the architecture differs
PARAMETER = 0x17  # EIATTR_KPARAM_INFO in a .nv.info section: one record for each parameter
SIZED = 0x04  # EIFMT_SVAL: a record with a payload; the others are four bytes in all


def architecture(cubin: bytes) -> int:
    """The compute capability, 90 for 9.0."""
    assert cubin[:4] == b"\x7fELF"
    (machine,) = struct.unpack_from("<H", cubin, 0x12)
    (flags,) = struct.unpack_from("<I", cubin, 0x30)
    assert machine == CUDA_MACHINE
    assert cubin[7] in (OLD_ABI, NEW_ABI)
    return (flags if cubin[7] == OLD_ABI else flags >> 8) & 0xFF


def parameters(cubin: bytes, entry: str) -> list[tuple[int, int]]:
    """Offset and size in bytes of each parameter of a kernel, in order."""
    info = _section(cubin, f".nv.info.{entry}")
    found = {}
    at = 0
    while at < len(info):
        form, attribute, size = struct.unpack_from("<BBH", info, at)
        if attribute == PARAMETER:
            _, ordinal, offset, packed = struct.unpack_from("<IHHI", info, at + 4)
            found[ordinal] = (offset, packed >> 18)
        at += 4 + (size if form == SIZED else 0)
    return [found[ordinal] for ordinal in range(len(found))]


def _section(elf: bytes, name: str) -> bytes:
    (table,) = struct.unpack_from("<Q", elf, 0x28)
    entry_size, count, names_index = struct.unpack_from("<HHH", elf, 0x3A)
    headers = [struct.unpack_from("<IIQQQQ", elf, table + i * entry_size) for i in range(count)]
    names = headers[names_index][4]
    for header in headers:
        start = names + header[0]
        if elf[start : elf.index(b"\0", start)].decode() == name:
            return elf[header[4] : header[4] + header[5]]
    raise AssertionError(f"no section {name}")
