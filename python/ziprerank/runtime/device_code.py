"""For which GPUs a shared library holds code: the headers in its section ``.nv_fatbin``, which nvcc writes.

The section is a row of containers: magic 0xBA55ED50 (u32), version and header size (u16 each), bytes that follow (u64).
In each is a row of entries: kind (u16: 1 PTX, 2 machine code), version (u16), header size (u32), bytes of the code
(u64), and at offset 28 the architecture (u32: 90 for 9.0). NVIDIA documents none of it; `cuobjdump -lelf` and
`-lptx` list the same entries.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

TEGRA = (72, 87)
"""Capabilities of Jetson's GPUs that share a major version with others, and run none of their machine code."""

_MAGIC = 0xBA55ED50
_PTX = 1
_SECTION = struct.Struct("<IIQQQQ")  # name, kind, flags, address, offset, size
_CONTAINER = struct.Struct("<IHHQ")
_ENTRY = struct.Struct("<HHIQ12xI")


@dataclass(frozen=True)
class DeviceCode:
    """Compute capabilities, 90 for 9.0: of machine code, and of PTX, which the driver compiles for newer GPUs."""

    machine: frozenset[int]
    ptx: frozenset[int]

    def runs_on(self, capability: int) -> bool:
        """Whether a GPU of ``capability`` can run some of it; True where no code was found, since nothing is known.

        Machine code runs on its own capability and on newer ones of the same major version, but on Jetson only on its
        own; PTX runs on its own capability and on all newer ones.
        """
        if not self.machine and not self.ptx:
            return True
        alone = capability in TEGRA
        same = {one for one in self.machine if one == capability or (not alone and one not in TEGRA)}
        fits = any(one // 10 == capability // 10 and one <= capability for one in same)
        return fits or any(one <= capability for one in self.ptx)

    def __str__(self) -> str:
        texts = [_dotted(self.machine)] if self.machine else []
        if self.ptx:
            texts.append(f"PTX of {_dotted(self.ptx)}")
        return " and ".join(texts) or "none"


def device_code(library: Path) -> DeviceCode:
    """Reads what ``library`` holds; nothing where it is no 64-bit ELF file or has no code for GPUs."""
    found: set[tuple[int, int]] = set()
    with library.open("rb") as file:
        if file.read(6) != b"\x7fELF\x02\x01":
            return DeviceCode(frozenset(), frozenset())
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            for first, last in _sections(data):
                found.update(_entries(data, first, last))
    ptx = frozenset(arch for kind, arch in found if kind == _PTX)
    return DeviceCode(frozenset(arch for kind, arch in found if kind != _PTX), ptx)


def _sections(data: mmap.mmap) -> Iterator[tuple[int, int]]:
    """Where sections of the name ``.nv_fatbin`` begin and end."""
    (table,) = struct.unpack_from("<Q", data, 0x28)
    size, count, names = struct.unpack_from("<HHH", data, 0x3A)
    sections = [_SECTION.unpack_from(data, table + i * size) for i in range(count)]
    for name, _, _, _, offset, length in sections:
        start = sections[names][4] + name
        if data[start : start + 11] == b".nv_fatbin\0":
            yield offset, offset + length


def _entries(data: mmap.mmap, first: int, last: int) -> Iterator[tuple[int, int]]:
    """Kind and architecture of every entry."""
    mark = _MAGIC.to_bytes(4, "little")
    at = data.find(mark, first, last)  # containers are aligned, with zeros in between
    while at != -1:
        _, _, header, length = _CONTAINER.unpack_from(data, at)
        end = min(at + header + length, last)
        entry = at + header
        while entry + _ENTRY.size <= end:
            kind, _, header, length, arch = _ENTRY.unpack_from(data, entry)
            yield kind, arch
            entry += max(header, _ENTRY.size) + length
        at = data.find(mark, end, last)


def _dotted(capabilities: Iterable[int]) -> str:
    return ", ".join(f"{one // 10}.{one % 10}" for one in sorted(capabilities))
