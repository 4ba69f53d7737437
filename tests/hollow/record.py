"""Reads the log of a hollow GPU (its lines: c/hollow.h) into what a program asked of the GPU, part by part."""

from __future__ import annotations

import subprocess
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Direction = Literal["HtoH", "HtoD", "DtoH", "DtoD"]
_DRIVER_COPIES: dict[str, Direction] = {
    "cuMemcpyHtoDAsync": "HtoD", "cuMemcpyDtoHAsync": "DtoH", "cuMemcpyDtoDAsync": "DtoD",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Launch:
    """One kernel: its demangled name, blocks in the grid, threads a block and bytes of dynamic shared memory."""

    kernel: str
    grid: tuple[int, int, int]
    threads: int
    shared: int

    @property
    def function(self) -> str:
        """The name without template arguments and parameters: ``onnxruntime::cuda::_GenericTile``."""
        depth, out = 0, []
        for letter in self.kernel.replace("(anonymous namespace)", ""):
            if letter == "(" and depth == 0:
                break
            depth += (letter == "<") - (letter == ">")
            if depth == 0 and letter != ">":
                out.append(letter)
        return "".join(out).removeprefix("void ").strip()


@dataclass(frozen=True, slots=True)
class Gemm:
    """``batch`` products ``[m, k] x [k, n]``; ``type`` is a cudaDataType: 0 float32, 2 float16, 14 bfloat16, 3 int8."""

    m: int
    n: int
    k: int
    batch: int
    type: int
    function: str

    @property
    def flops(self) -> int:
        """Twice the multiplications."""
        return 2 * self.m * self.n * self.k * self.batch


@dataclass(frozen=True, slots=True)
class Copy:
    """Bytes copied; ``waits``: until they are there. ``driver``: by the engine itself, not by ONNX Runtime."""

    direction: Direction
    bytes: int
    waits: bool
    driver: bool


@dataclass(frozen=True, slots=True)
class Sync:
    """The host waits for a ``stream``, an ``event`` or the ``device``, idle or not. ``driver``: the engine itself."""

    what: str
    driver: bool


@dataclass(frozen=True, slots=True)
class Allocation:
    """``where`` is device or host (pinned); ``live`` and ``peak`` are bytes of that kind after it."""

    where: str
    bytes: int
    live: int
    peak: int


@dataclass
class Part:
    """What was asked between two marks."""

    launches: list[Launch] = field(default_factory=list)
    gemms: list[Gemm] = field(default_factory=list)
    copies: list[Copy] = field(default_factory=list)
    syncs: list[Sync] = field(default_factory=list)
    allocations: list[Allocation] = field(default_factory=list)
    refused: list[int] = field(default_factory=list)  # bytes of allocations that had no room
    failures: list[str] = field(default_factory=list)  # kinds of the calls that failed on purpose
    calls: Counter[str] = field(default_factory=Counter)  # any other function, by name
    memsets: int = 0
    live: int = 0  # device bytes at its end
    pinned: int = 0  # pinned bytes of the host at its end

    def bytes(self, direction: Direction) -> int:
        """Bytes copied in that direction."""
        return sum(copy.bytes for copy in self.copies if copy.direction == direction)

    def kernels(self) -> Counter[str]:
        """Launches by function."""
        return Counter(launch.function for launch in self.launches)

    def of(self, *parts: str) -> list[Launch]:
        """Launches with one of ``parts`` in the kernel's name."""
        return [launch for launch in self.launches if any(part in launch.kernel for part in parts)]

    @property
    def flash(self) -> int:
        """Attentions that flash kernels computed, which store no S x S scores."""
        return len(self.of("flash_fwd")) - len(self.of("combine"))  # of a launch that splits keys, a second one

    @property
    def tflop(self) -> float:
        """Of all products of cuBLAS and cuBLASLt, in 10^12 operations."""
        return sum(gemm.flops for gemm in self.gemms) / 1e12

    @property
    def peak(self) -> int:
        """Most device bytes at any allocation of this part."""
        return max((a.live for a in self.allocations if a.where == "device"), default=self.live)


@dataclass
class Record:
    """Everything in a log; what comes before the first mark is in the part ``start``."""

    parts: dict[str, Part]

    @property
    def whole(self) -> Part:
        """All parts as one."""
        out = Part()
        for part in self.parts.values():
            for name in ("launches", "gemms", "copies", "syncs", "allocations", "refused", "failures"):
                getattr(out, name).extend(getattr(part, name))
            out.calls.update(part.calls)
            out.memsets += part.memsets
            out.live, out.pinned = part.live, part.pinned
        return out


def read_record(log: Path) -> Record:
    """Reads a log. Raises ValueError for a line that no hollow GPU writes."""
    lines = log.read_text().splitlines() if log.exists() else []
    kernels = _demangled(line.split(" ", 2)[1:] for line in lines if line.startswith("kernel "))
    record = Record({"start": Part()})
    part = record.parts["start"]
    for line in lines:
        kind, _, rest = line.partition(" ")
        if kind == "mark":
            before = part
            part = record.parts.setdefault(rest, Part())
            part.live, part.pinned = before.live, before.pinned
        elif kind != "kernel":
            _add(part, kind, rest.split(), kernels)
    return record


def _add(part: Part, kind: str, words: list[str], kernels: dict[str, str]) -> None:  # noqa: PLR0912
    if kind.startswith("cu"):
        _add_driver(part, kind, words)
    elif kind == "launch":
        x, y, z, threads, shared = map(int, words[1:])
        part.launches.append(Launch(kernels[words[0]], (x, y, z), threads, shared))
    elif kind == "gemm":
        m, n, k, batch, number = map(int, words[:5])
        part.gemms.append(Gemm(m, n, k, batch, number, words[5]))
    elif kind == "copy":
        part.copies.append(Copy(words[0], int(words[1]), words[2] == "sync", driver=False))  # type: ignore[arg-type]
    elif kind == "sync":
        part.syncs.append(Sync(words[0], driver=False))
    elif kind in ("alloc", "free"):
        if words[0] == "device":
            part.live = int(words[2])
        else:
            part.pinned = int(words[2])
        if kind == "alloc":
            part.allocations.append(Allocation(words[0], *map(int, words[1:])))
    elif kind == "memset":
        part.memsets += 1
    elif kind == "full":
        part.refused.append(int(words[0]))
    elif kind == "fail":
        part.failures.append(words[0])
    elif kind == "call":
        part.calls[" ".join(words)] += 1
    else:
        raise ValueError(f"line {kind!r} {words}: no hollow GPU writes that")


def _add_driver(part: Part, name: str, words: list[str]) -> None:
    """A call of the driver, as engine/tests/fakes/cuda_driver.c notes it."""
    if name == "cuLaunchKernel":
        x, y, z, threads_x, threads_y, threads_z, shared = map(int, words[1:8])
        part.launches.append(Launch(words[0], (x, y, z), threads_x * threads_y * threads_z, shared))
    elif name in _DRIVER_COPIES:
        direction = _DRIVER_COPIES[name]
        size = words[0] if direction == "DtoD" else words[1]
        part.copies.append(Copy(direction, int(size), waits=False, driver=True))
    elif name in ("cuStreamSynchronize", "cuEventSynchronize"):
        part.syncs.append(Sync(name.removeprefix("cu").removesuffix("Synchronize").lower(), driver=True))
    else:
        part.calls[name] += 1


def _demangled(kernels: Iterable[list[str]]) -> dict[str, str]:
    """Names by their number in the log; mangled where there is no c++filt."""
    mangled = dict(kernels)
    try:
        text = "\n".join(mangled.values())
        names = subprocess.run(["c++filt"], input=text, capture_output=True, text=True, check=True).stdout.splitlines()
    except FileNotFoundError:
        return mangled
    return dict(zip(mangled, names, strict=True))
