"""Visual tokens of a store's pages from a frozen vision tower, computed once and kept on disk.

A folder: ``tokens.bin`` (visual tokens ``[all, H]`` float16, page after page) and ``index.npz`` (which page, where it
starts, its grid in cells, a checksum of the tower). A ranking stage that leaves the tower alone then costs the decoder
only.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from torch import Tensor
from ziprerank.train.data.cells import token_cells
from ziprerank.train.data.page_store import MULTIPLE, PageStore, StoredPage
from ziprerank.train.errors import TrainError
from ziprerank.train.model.tower import Tower

_MOST_NORM = 3e4  # half precision ends at 65,504


class Features:
    """Read side: ``tokens(i)`` are those of the i-th page in the folder, which is page ``pages[i]`` of the store.

    Args:
        folder: what `write_features` wrote.
        width: H of the model.
        tower: the one that the features must come from; not checked without it.

    Raises:
        TrainError: the folder holds no features, or those of a tower of another width or with other weights.
    """

    def __init__(self, folder: Path, width: int, tower: Tower | None = None) -> None:
        if not (folder / "index.npz").is_file():
            raise TrainError(f"{folder} holds no features: write_features makes them")
        with np.load(folder / "index.npz") as arrays:
            self.pages: NDArray[np.int64] = arrays["pages"]
            self.grids: NDArray[np.int32] = arrays["grids"]
            self._starts: NDArray[np.int64] = arrays["starts"]
            made_with = int(arrays["tower"]) if "tower" in arrays.files else None
        if tower is not None and made_with is not None and made_with != checksum(tower):
            raise TrainError(f"{folder} was made with another vision tower: remove it, or name a new folder")
        rows = np.memmap(folder / "tokens.bin", dtype=np.float16, mode="r")
        if len(rows) != int(self._starts[-1]) * width:
            needed = int(self._starts[-1]) * width
            raise TrainError(f"{folder}: {len(rows)} values, a model of width {width} needs {needed}")
        self._rows = rows.reshape(-1, width)

    def __len__(self) -> int:
        return len(self.pages)

    def tokens(self, number: int) -> Tensor:
        """``[rows, cols, H]`` float32."""
        rows, cols = self.grids[number]
        part = self._rows[self._starts[number] : self._starts[number + 1]]
        return torch.from_numpy(part.astype(np.float32)).view(int(rows), int(cols), -1)


@torch.no_grad()
def write_features(folder: Path, tower: Tower, store: PageStore, pages: Sequence[int]) -> None:
    """Encode whole ``pages`` of ``store``, one at a time, and write ``folder``; an unfinished one is begun again.

    Raises:
        TrainError: no pages, or a visual token is too large for half precision.
    """
    if not pages:
        raise TrainError(f"{folder}: there is no page to encode")
    folder.mkdir(parents=True, exist_ok=True)
    starts, grids = [0], []
    console, begun = Console(stderr=True), time.monotonic()
    with (folder / "tokens.bin").open("wb") as file:
        for done, page in enumerate(pages, start=1):
            pixels = torch.from_numpy(np.array(store[page].pixels))[None]
            state, _ = tower.hidden(tower.patches(pixels), tower.grid(pixels))
            tokens = tower.tokens(state)[0]
            largest = float(tokens.abs().max())
            if not largest < _MOST_NORM:
                raise TrainError(f"page {page}: a visual token reaches {largest:g}, at most {_MOST_NORM:g}")
            file.write(tokens.numpy().astype(np.float16).tobytes())
            starts.append(starts[-1] + len(tokens))
            grids.append((pixels.shape[1] // MULTIPLE, pixels.shape[2] // MULTIPLE))
            if done % 200 == 0:
                seconds = (time.monotonic() - begun) / done
                console.print(f"features: {done} of {len(pages)} pages, {seconds:.2f} s each")
    np.savez(
        folder / ".index.npz",
        pages=np.array(pages, np.int64),
        starts=np.array(starts, np.int64),
        grids=np.array(grids, np.int32),
        tower=np.array(checksum(tower), np.int64),
    )
    (folder / ".index.npz").replace(folder / "index.npz")


def checksum(tower: Tower) -> int:
    """CRC-32 of what the visual tokens depend on: the tower's parameters but for the DeepStack mergers."""
    value = 0
    for name, parameter in sorted(tower.visual.named_parameters()):
        if not name.startswith("deepstack"):
            value = zlib.crc32(parameter.detach().float().cpu().numpy().tobytes(), value)
    return value


@torch.no_grad()
def text_tokens(tower: Tower, pages: Sequence[StoredPage]) -> Tensor:
    """The tower's visual tokens of these pages' cells with text, ``[n, H]``.

    Raises:
        TrainError: no page has text.
    """
    tokens = []
    for page in pages:
        pixels = torch.from_numpy(np.array(page.pixels))[None]
        rows, cols = (side // MULTIPLE for side in page.pixels.shape)
        _, cells, _ = token_cells(page.token_boxes, rows, cols)
        if len(cells):
            state, _ = tower.hidden(tower.patches(pixels), tower.grid(pixels))
            tokens.append(tower.tokens(state)[0, np.unique(cells)])
    if not tokens:
        raise TrainError(f"none of {len(pages)} pages has text: visual tokens of text cannot be looked at")
    return torch.cat(tokens)


@torch.no_grad()
def fold_scale(tower: Tower, pages: Sequence[StoredPage], norm: float) -> float:
    """Scale the merger's last layer so that visual tokens of cells with text have the mean norm ``norm``.

    That is the norm of token embeddings.
    Reading is trained on directions alone, and leaves tokens of text four times as long as those of blank paper.
    Returns the factor.

    Raises:
        TrainError: no page has text.
    """
    norms = text_tokens(tower, pages).norm(dim=-1)
    factor = norm / float(norms.mean())
    last = tower.visual.merger.linear_fc2
    last.weight.mul_(factor)
    last.bias.mul_(factor)
    return factor
