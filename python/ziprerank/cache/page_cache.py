"""Page features on disk, kept over restarts and shared by processes: what the vision tower made of a page's pixels.

Each page has a file: a line that says what it is, the BLAKE2b checksum of the features (16 bytes), and the features
[tokens, row_bytes]. The file's name is the BLAKE2b digest of the pixels and of all that the bits of the features depend
on: the vision tower (its graph and the values of its weights, by the bundle's ``features_id``), treatment of blank
tokens, precision, provider, device, instruction set and versions. An entry is found only if all of these match, so that
bundles with the same tower share pages. The number of threads is left out, since it does not change a bit.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ziprerank._version import __version__
from ziprerank.bundle import Bundle
from ziprerank.cache.bounded_folder import BoundedFolder
from ziprerank.errors import InvalidInput, quoted

if TYPE_CHECKING:
    from ziprerank._engine import Engine, Window
    from ziprerank.runtime.engine import EngineOptions

_FORMAT = "ziprerank page features 2"
_CHECKSUM = 16  # bytes
logger = logging.getLogger("ziprerank.cache.page_cache")


@dataclass(frozen=True, slots=True)
class FreshPage:
    """A slot whose page was encoded just now, and the name of its entry on disk."""

    slot: int
    name: str


class PageCache:
    """Keeps the features of one engine in a folder. Threads may share a cache, and processes a folder."""

    def __init__(self, folder: str | Path, limit: int, bundle: Bundle, engine: Engine) -> None:
        """Opens the folder, and makes it if need be.

        Args:
            folder: Where the files are.
            limit: Most bytes of all files together, those of other engines included.
            bundle: The engine's.
            engine: Whose features are kept.

        Raises:
            InvalidInput: The folder cannot be written, or ``limit`` has no room for the largest page.
        """
        info, image = engine.info, bundle.image
        self._row_bytes: int = info["row_bytes"]
        self._identity = _identity(bundle, info)
        self._key = hashlib.blake2b(self._identity.encode(), digest_size=32).digest()
        self._lock = threading.Lock()
        self._counts = dict.fromkeys(("hits", "misses", "corrupt", "failures"), 0)
        self._failing = False
        self._largest = largest = (
            min(image.max_pixels, image.longest_side**2) // image.factor**2 * self._row_bytes + 4096
        )
        if limit < largest:
            raise InvalidInput(f"page_cache_bytes {limit:,}: one page may take {largest:,} bytes, give room for some")
        try:
            self._folder = BoundedFolder(Path(folder), limit)
        except OSError as error:
            raise InvalidInput(
                f"page_cache {quoted(str(folder))} cannot be used ({error}): give a folder on a disk with room that "
                "this process may write, or none"
            ) from error

    def fill(self, window: Window, slot: int, pixels: NDArray[np.uint8], owner: str = "") -> FreshPage | None:
        """Fills a slot from memory, from disk, or by encoding RGB [h, w, 3]; returns a newly encoded page.

        Pages are found by their ``owner``, that of the window, only.
        """
        if window.find(slot, pixels):
            return None
        page = FreshPage(slot, self._name(pixels, owner))
        features = self._load(page)
        if features is not None:
            window.restore(slot, pixels, features)
            return None
        return None if window.encode(slot, pixels) else page

    def keep(self, window: Window, pages: Sequence[FreshPage]) -> None:
        """Writes pages of an open window to disk; a failure is logged and counted, and ends the writing."""
        for page in pages:
            features = np.empty((window.tokens(page.slot), self._row_bytes), dtype=np.uint8)
            window.features(page.slot, features)
            payload = features.data.cast("B")
            try:
                self._folder.put(page.name, [self._header(page, len(features)), _checksum(payload), payload])
            except OSError as error:
                self._failed("written", error)
                return  # the next page would not fare better
            self._failing = False

    def stats(self) -> dict[str, int]:
        """Returns counts since the start (a ``corrupt`` entry is a miss too), and the bytes held now."""
        with self._lock:
            counts = dict(self._counts)
        folder = self._folder
        return counts | {"evictions": folder.evictions, "bytes": folder.used, "limit": folder.limit}

    def _name(self, pixels: NDArray[np.uint8], owner: str) -> str:
        key = hashlib.blake2b(owner.encode(), key=self._key, digest_size=32).digest() if owner else self._key
        digest = hashlib.blake2b(key, digest_size=32)
        digest.update(np.array(pixels.shape, dtype="<i8").tobytes())
        digest.update(pixels.data)
        return digest.hexdigest()

    def _load(self, page: FreshPage) -> NDArray[np.uint8] | None:
        try:
            content = self._folder.get(page.name, self._largest + 1)
        except OSError as error:
            self._failed("read", error)
            content = None
            with contextlib.suppress(OSError):  # whatever it is, it is in the way of the page
                self._folder.remove(page.name)
        features = None if content is None else self._parse(page, content)
        if content is not None and features is None:
            logger.warning("page cache: %s is damaged: removed, the page is encoded anew", page.name)
            self._count("corrupt")
            try:
                self._folder.remove(page.name)
            except OSError as error:
                self._failed("removed", error)
        self._count("misses" if features is None else "hits")
        return features

    def _parse(self, page: FreshPage, content: bytes) -> NDArray[np.uint8] | None:
        """The features [tokens, row_bytes], or None unless every byte is as it was written."""
        begin = content.find(b"\n") + 1 + _CHECKSUM
        payload = memoryview(content)[begin:]
        tokens, rest = divmod(len(payload), self._row_bytes)
        if rest or content[:begin] != self._header(page, tokens) + _checksum(payload):
            return None
        return np.frombuffer(payload, dtype=np.uint8).reshape(tokens, self._row_bytes)

    def _header(self, page: FreshPage, tokens: int) -> bytes:
        return f"{_FORMAT} {page.name} tokens {tokens} row_bytes {self._row_bytes} {self._identity}\n".encode()

    def _failed(self, what: str, error: OSError) -> None:
        self._count("failures")
        if not self._failing:  # once, until it works again: a full disk would fill the log too
            logger.warning("page cache: page features cannot be %s (%s); rankings go on without", what, error)
        self._failing = True

    def _count(self, what: str) -> None:
        with self._lock:
            self._counts[what] += 1


def open_cache(options: EngineOptions, bundle: Bundle, engine: Engine) -> PageCache | None:
    """Returns the page cache that ``options`` ask for, if any. Raises InvalidInput as ``PageCache``."""
    if options.page_cache is None:
        return None
    return PageCache(options.page_cache, options.page_cache_bytes, bundle, engine)


def _identity(bundle: Bundle, info: dict[str, Any]) -> str:
    tower = {"features": bundle.features_id}
    if bundle.features_id is None:  # of an older export
        tower = {"bundle": bundle.bundle_id, "vision": bundle.files["vision.onnx"].sha256}
    return json.dumps(
        {
            **tower,
            "drop_blank": info["drop_blank"],
            "precision": info["precision"],
            "provider": info["provider"].partition(":")[0],
            "device": info["device"],
            "kernels": info["prune_kernel"],  # on the CPU: the instruction set
            "onnxruntime": info["runtime_version"],
            "ziprerank": __version__,
        },
        sort_keys=True,
    )


def _checksum(payload: memoryview) -> bytes:
    return hashlib.blake2b(payload, digest_size=_CHECKSUM).digest()
