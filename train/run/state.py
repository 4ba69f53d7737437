"""Checkpoints of a run: written whole or not at all, found again newest first."""

from __future__ import annotations

import json
import os
import random
import shutil
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

KEPT = 2
_FILE, _SEAL = "state.pt", "complete.json"


def write(directory: Path, step: int, state: dict[str, Any]) -> Path:
    """Write ``state`` as ``directory/step-XXXXXXXX`` and drop all but the last `KEPT`.

    The files are made in a temporary folder, flushed to the disk, sealed with their size and checksum, and only then
    given their name: a process that is killed at any point leaves the older checkpoints and no half of a new one.
    """
    directory.mkdir(parents=True, exist_ok=True)
    target, temporary = directory / f"step-{step:08d}", directory / f".step-{step:08d}"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    with (temporary / _FILE).open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    size, checksum = _measure(temporary / _FILE)
    with (temporary / _SEAL).open("w", encoding="utf-8") as file:
        json.dump({"step": step, "size": size, "crc32": checksum}, file)
        file.flush()
        os.fsync(file.fileno())
    _sync(temporary)
    if target.exists():  # a torn one of the same step
        shutil.rmtree(target)
    temporary.rename(target)
    _sync(directory)
    for old in sorted(directory.glob("step-*"))[:-KEPT]:
        shutil.rmtree(old)
    return target


def newest(directory: Path) -> tuple[dict[str, Any] | None, list[str]]:
    """The newest checkpoint that is whole, on the CPU, or None; and why newer ones were passed over."""
    skipped: list[str] = []
    for folder in sorted(directory.glob("step-*"), reverse=True):
        reason = _fault(folder)
        if reason is None:
            state: dict[str, Any] = torch.load(folder / _FILE, map_location="cpu", weights_only=True, mmap=True)
            return state, skipped
        skipped.append(f"{folder}: {reason}")
    return None, skipped


def random_state(device: torch.device) -> dict[str, Any]:
    """State of every global generator that a loss may draw from, as tensors and numbers."""
    name, keys, position, has_gauss, cached = np.random.get_state(legacy=True)  # noqa: NPY002
    state: dict[str, Any] = {
        "torch": torch.get_rng_state(),
        "python": random.getstate(),
        "numpy": (
            str(name),
            torch.from_numpy(np.asarray(keys).astype(np.int64)),
            int(position),
            int(has_gauss),
            float(cached),
        ),
    }
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def set_random_state(state: dict[str, Any], device: torch.device) -> None:
    """Undo `random_state`."""
    torch.set_rng_state(state["torch"])
    random.setstate(state["python"])
    name, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), position, has_gauss, cached))  # noqa: NPY002
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)


def seed_everything(seed: int) -> None:
    """Seed the generators of `random_state`."""
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002


def replace(path: Path, content: str) -> None:
    """Write a small text file so that it is never seen half written."""
    temporary = path.with_name(f".{path.name}")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    _sync(path.parent)


def _fault(folder: Path) -> str | None:
    try:
        seal = json.loads((folder / _SEAL).read_text(encoding="utf-8"))
        size, checksum = _measure(folder / _FILE)
        if (size, checksum) != (seal["size"], seal["crc32"]):
            return (
                f"{_FILE} has {size} bytes, checksum {checksum:08x}: written were {seal['size']}, {seal['crc32']:08x}"
            )
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"{type(error).__name__}: {error}"
    return None


def _measure(file: Path) -> tuple[int, int]:
    size = checksum = 0
    for block in _blocks(file):
        size += len(block)
        checksum = zlib.crc32(block, checksum)
    return size, checksum


def _blocks(file: Path) -> Iterator[bytes]:
    with file.open("rb") as opened:
        while block := opened.read(1 << 24):
            yield block


def _sync(folder: Path) -> None:
    """Flush a folder's entries, where the system can (Windows cannot open a folder)."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
