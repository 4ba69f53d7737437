"""Arguments, grids and tile sizes of the kernels. Needs neither Triton nor PyTorch.

The PyTorch front and the ahead-of-time compiler both use this module, so cubins have the tiles that the tests run.
"""

from __future__ import annotations

from dataclasses import dataclass

from .errors import KernelError

ELEMENT_BYTES = {"fp32": 4, "fp16": 2, "bf16": 2}  # by a bundle's `precision`
TARGETS = (80, 86, 87, 89, 90, 100, 103, 110, 120, 121)  # compute capabilities: 90 is 9.0, 87 Orin, 110 Thor


@dataclass(frozen=True)
class Argument:
    """An argument of a launch.

    Attributes:
        name: As in the kernel's source.
        type: ``i32``, or a pointer: ``*`` and the element, ``*T`` for the model's dtype.
        shape: Of the tensor behind a pointer.
        output: Whether the kernel writes it.
    """

    name: str
    type: str
    shape: str = ""
    output: bool = False


@dataclass(frozen=True)
class Kernel:
    """One of the launches of a window, in the order of `KERNELS`.

    Attributes:
        name: Of the Triton function.
        arguments: In order.
        grid_over: The length that the grid covers. A program handles a target's ``grid_step`` of it, so the grid is
            ``(ceil(length / grid_step), 1, 1)``.
    """

    name: str
    arguments: tuple[Argument, ...]
    grid_over: str


@dataclass(frozen=True)
class Tile:
    """A kernel's compile-time constants and Triton's options on one target."""

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
    """Chooses the tile of a kernel.

    Args:
        kernel: A name of `KERNELS`.
        capability: The compute capability, 90 for 9.0; None for any from 8.0 on, as the PTX fallback needs.
        dtype: ``fp32``, ``fp16`` or ``bf16``.
        hidden: The model's hidden size.
        levels: Feature levels of the page pool.

    Raises:
        KernelError: The dtype is unknown, or a size is less than 1.
    """
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
    """Returns visual rows, text tokens, slice of the hidden size, warps and stages.

    Visual rows are read once for every tile of text tokens, of which a prompt has about 250 before its 20 pages, so the
    tile is the widest that neither spills registers nor exceeds shared memory. The comments give the shared memory that
    the compiler reports for bf16.
    """
    if dtype == "fp32":  # multiply-adds, no tensor cores
        return 64, 64, 32, 8, 3
    if hidden * ELEMENT_BYTES[dtype] % 16:  # rows that no 16-byte copy can read: loads pass through registers
        return 64, 64, 64, 8, 2
    if capability == 90:  # 176 of 227 KB
        return 128, 256, 64, 8, 4
    if capability in (100, 103, 110):  # 128 of 227 KB; with 256 text tokens it spills
        return 128, 128, 64, 8, 4
    if capability in (80, 87):  # 96 of 163 KB
        return 128, 128, 64, 8, 4
    return 64, 128, 64, 4, 4  # 72 of the 99 KB that 8.6, 8.9 and 12.x have
