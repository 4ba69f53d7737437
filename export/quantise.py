"""Quantisation of weights in NumPy, one matrix ``[outputs, inputs]`` at a time.

A scale is rounded to its stored dtype before weights are divided by it, because a runtime multiplies with the rounded
one. Maxima, divisions and rounding to integers are exact or correctly rounded, so every machine computes the same
codes.
"""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import DTypeLike, NDArray

E4M3 = np.dtype(ml_dtypes.float8_e4m3fn)
E4M3_MAX = 448.0
Array = NDArray[Any]


def quantise_blocks(weight: Array, bits: int, block: int, scale_dtype: DTypeLike) -> tuple[NDArray[np.uint8], Array]:
    """Quantises blocks of ``block`` neighbouring inputs with one scale each, as ``MatMulNBits`` stores them.

    ``w = scale * (q - 2**(bits - 1))`` with ``q`` in ``0 .. 2**bits - 1``. The value of the largest magnitude in a
    block, whatever its sign, becomes code 0, at the end of the range that has one step more: the symmetric rule of ONNX
    Runtime's quantiser. The last block is padded with zeros.

    Returns:
        ``q [outputs, blocks, block * bits / 8]`` uint8 (4-bit codes: the lower half of a byte first) and
        ``scales [outputs, blocks]``.
    """
    outputs, inputs = weight.shape
    zero = 1 << (bits - 1)
    padded = np.zeros((outputs, -(-inputs // block) * block), np.float32)
    padded[:, :inputs] = weight
    blocks = padded.reshape(outputs, -1, block)
    largest = np.take_along_axis(blocks, np.abs(blocks).argmax(axis=2, keepdims=True), axis=2)
    scales = (largest / -zero).astype(scale_dtype)
    codes = np.rint(_divided(blocks, scales.astype(np.float32))) + zero
    codes = codes.clip(0, 2 * zero - 1).astype(np.uint8)
    if bits == 4:
        codes = codes[..., 0::2] | codes[..., 1::2] << 4
    return codes, scales[..., 0]


def quantise_rows(weight: Array, limit: int) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Quantises with one scale for each output: ``w = scale * q`` with ``q`` in ``-limit .. limit``.

    Returns:
        ``q [outputs, inputs]`` int8 and ``scales [outputs]`` float32.
    """
    wide = np.asarray(weight, np.float32)
    scales = np.abs(wide).max(axis=1, keepdims=True) / np.float32(limit)
    codes = np.rint(_divided(wide, scales)).clip(-limit, limit)
    return codes.astype(np.int8), scales[:, 0]


def quantise_e4m3(weight: Array, scale_dtype: DTypeLike) -> tuple[Array, Array]:
    """Quantises to 8-bit floats (E4M3, largest 448) with one scale for each output.

    Returns:
        ``q [outputs, inputs]`` E4M3 and ``scales [outputs]`` in ``scale_dtype``.
    """
    wide = np.asarray(weight, np.float32)
    scales = e4m3_scale(np.abs(wide).max(axis=1, keepdims=True), scale_dtype)
    codes = _divided(wide, scales.astype(np.float32)).clip(-E4M3_MAX, E4M3_MAX)
    return codes.astype(E4M3), scales[:, 0]


def e4m3_scale(largest: Array, scale_dtype: DTypeLike) -> Array:
    """Computes the scale with which values up to ``largest`` fill E4M3's range."""
    return np.asarray(largest / E4M3_MAX).astype(scale_dtype)


def _divided(values: Array, scales: Array) -> Array:
    """Divides; the quotient is 0 where the scale is 0, since such a block holds only zeros."""
    return np.divide(values, scales, out=np.zeros_like(values), where=scales != 0)
