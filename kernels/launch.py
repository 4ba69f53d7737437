"""What a host needs to launch the kernels: arguments, grids and tile sizes. Neither Triton nor PyTorch.

The torch front and the ahead-of-time compiler both read this, so a cubin has the tiles that the tests ran.
"""

from __future__ import annotations

from dataclasses import dataclass

from .errors import KernelError

ELEMENT_BYTES = {"fp32": 4, "fp16": 2, "bf16": 2}  # by a bundle's `precision`
TARGETS = (80, 86, 89, 90, 100, 103, 120, 121)  # compute capabilities: 90 is 9.0


@dataclass(frozen=True)
class Argument:
    """One launch argument. ``type`` is ``i32`` or a pointer, ``*`` and the element; ``*T`` stands for the dtype."""

    name: str
    type: str
    shape: str = ""
    output: bool = False


@dataclass(frozen=True)
class Kernel:
    """One of the launches of a window, in the order of `KERNELS`.

    ``grid_over`` is the length that the grid covers; a target's ``grid_step`` says how much of it one program takes:
    the grid is ``(ceil(length / step), 1, 1)``.
    """

    name: str
    arguments: tuple[Argument, ...]
    grid_over: str


@dataclass(frozen=True)
class Tile:
    """How a kernel is cut up on one target: its compile-time constants and Triton's options."""

    constants: dict[str, int | bool]
    grid_step: int
    num_warps: int
    num_stages: int


KERNELS = (
    Kernel(
        "text_scales",
        (
            Argument("text", "*T", "[T, H]"),
            Argument("query_mask", "*u8", "[T]"),
            Argument("order", "*i32", "[T]", output=True),
            Argument("scale", "*fp32", "[T]", output=True),
            Argument("count", "*i32", "[1]", output=True),
            Argument("T", "i32"),
        ),
        "T",
    ),
    Kernel(
        "relevance_scores",
        (
            Argument("pool", "*T", "[R, L, H]"),
            Argument("rows", "*i64", "[N]"),
            Argument("text", "*T", "[T, H]"),
            Argument("order", "*i32", "[T]"),
            Argument("scale", "*fp32", "[T]"),
            Argument("count", "*i32", "[1]"),
            Argument("relevance", "*fp32", "[N]", output=True),
            Argument("N", "i32"),
        ),
        "N",
    ),
    Kernel(
        "select_kept",
        (
            Argument("relevance", "*fp32", "[N]"),
            Argument("page_offsets", "*i64", "[K + 1]"),
            Argument("keep", "*i64", "[K]"),
            Argument("kept", "*i64", "[M]", output=True),
            Argument("status", "*i32", "[K]", output=True),
        ),
        "K",
    ),
)


def tile(kernel: str, capability: int | None, dtype: str, hidden: int, levels: int) -> Tile:
    """The tile of a kernel for a compute capability; None is any from 8.0 on, which the PTX fallback needs."""
    if dtype not in ELEMENT_BYTES:
        raise KernelError(f"dtype {dtype!r}: must be one of {', '.join(ELEMENT_BYTES)}")
    if hidden < 1 or levels < 1:
        raise KernelError(f"hidden size {hidden} and {levels} feature levels: both must be at least 1")
    if kernel == "text_scales":
        constants = {"HIDDEN": hidden, "BLOCK_TEXT": 8, "BLOCK_HIDDEN": 512, "BLOCK_MASK": 1024}
        return Tile(constants, grid_step=8, num_warps=4, num_stages=3)
    if kernel == "select_kept":  # a Letter page of 800 visual tokens is one block
        return Tile({"BLOCK": 1024}, grid_step=1, num_warps=4, num_stages=3)
    visual, text, depth, num_warps, num_stages = _relevance_tile(capability, dtype, hidden)
    constants = {
        "HIDDEN": hidden,
        "LEVELS": levels,
        "BLOCK_VISUAL": visual,
        "BLOCK_TEXT": text,
        "BLOCK_HIDDEN": depth,
        "WIDEN": False,
    }
    return Tile(constants, grid_step=visual, num_warps=num_warps, num_stages=num_stages)


def _relevance_tile(capability: int | None, dtype: str, hidden: int) -> tuple[int, int, int, int, int]:
    """Visual rows, text tokens, slice of the hidden size, warps, stages.

    Visual rows are read once for every tile of text tokens, and a prompt before 20 pages has about 250 of those: so the
    widest tile that neither spills registers nor exceeds shared memory. Shared memory is the compiler's, for bf16.
    """
    if dtype == "fp32":  # multiply-adds, no tensor cores
        return 64, 64, 32, 8, 3
    if hidden * ELEMENT_BYTES[dtype] % 16:  # rows that no 16-byte copy can read: loads pass through registers
        return 64, 64, 64, 8, 2
    if capability == 90:  # 176 of 227 KB
        return 128, 256, 64, 8, 4
    if capability in (100, 103):  # 128 of 227 KB; with 256 text tokens it spills
        return 128, 128, 64, 8, 4
    if capability == 80:  # 96 of 163 KB
        return 128, 128, 64, 8, 4
    return 64, 128, 64, 4, 4  # 72 of the 99 KB that 8.6, 8.9 and 12.x have
