"""A file whose pages are candidates: it is read in a page worker, or in this process where the limits say so."""

from __future__ import annotations

import hashlib
import itertools
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ziprerank.errors import InvalidInput, PageError
from ziprerank.inputs.local_file import LocalFile
from ziprerank.inputs.prepared import Prepared
from ziprerank.inputs.sizes import Size
from ziprerank.inputs.workers.channel import Message
from ziprerank.inputs.workers.limits import PageLimits
from ziprerank.inputs.workers.pool import Failed, Interrupted, pool
from ziprerank.inputs.workers.worker import PageWorker, anonymous_file

_KEYS = itertools.count(1)
_MOST_SHARED = 64  # files in memory whose descriptors stay open for the next worker
_DEEDS = {
    "pages": "opening it",
    "points": "reading the sizes of its pages",
    "labels": "reading the labels of its pages",
    "texts": "reading the text of its pages",
    "render": "rendering it",
    "image_pages": "reading its header",
    "image": "decoding it",
    "picture": "decoding it",
}


class StoredFile:
    """A PDF or an image file, by its path or its bytes. Thread-safe; page numbers are 1-based.

    Every method raises PageError, also when a limit is exceeded, and WorkerError when no page worker can be started.
    """

    def __init__(
        self, data: Path | bytes, name: str, limits: PageLimits | None = None, *, password: str | None = None
    ) -> None:
        """Opens nothing yet.

        Args:
            data: The file. A relative path is one of the current folder, also later.
            name: The file's name in errors.
            limits: Where it is read, and what one page may cost.
            password: Opens an encrypted PDF.
        """
        self.name = name
        self._data = data if isinstance(data, bytes) else Path(data).absolute()
        self._limits = limits or PageLimits()
        self._password = password
        self._key = next(_KEYS)
        self._here = LocalFile(self._data, name, password) if self._limits.processes == 0 else None
        self._lock = threading.Lock()
        self._digest = b""
        # taken before anything is read, so that nothing of a file that is replaced passes for the new one's
        self._status = _status_of(self._data) if isinstance(self._data, Path) else None
        self._shared = -1  # descriptor of ``_data`` in memory that a worker can map

    def content(self) -> bytes:
        """Returns the bytes of the file, as they are stored."""
        try:
            return self._data if isinstance(self._data, bytes) else self._data.read_bytes()
        except OSError as error:
            raise PageError(f"the file cannot be read: {error}", source=self.name) from error

    def pages(self) -> int:
        """Opens the PDF and returns how many pages it has."""
        return int(self._ask("pages", "pdf"))

    def points(self, pages: Sequence[int]) -> list[tuple[float, float] | PageError]:
        """Returns (height, width) in points of pages of the PDF as they are shown, cropped and rotated.

        Of a damaged page it returns the error, so that the caller says which candidate it is.
        """
        found: list[tuple[float, float] | PageError] = []
        for page, one in zip(pages, self._ask("points", "pdf", pages=list(pages)), strict=True):
            if isinstance(one, str):
                found.append(PageError(one, source=self.name, page=page))
            else:
                height, width = one
                found.append((float(height), float(width)))
        return found

    def labels(self) -> list[str]:
        """Returns the printed label of every page of the PDF, such as ``"iv"``, or its number where it has none."""
        return [str(label) for label in self._ask("labels", "pdf")]

    def texts(self, pages: Sequence[int]) -> list[str | None]:
        """Returns the text of pages of the PDF, None for one whose text layer does not stand for it."""
        return [None if text is None else str(text) for text in self._ask("texts", "pdf", pages=list(pages))]

    def identity(self) -> tuple[object, ...] | None:
        """Returns what tells the file and its password from others: of bytes a digest; None if there is no file."""
        if isinstance(self._data, bytes):
            if not self._digest:
                self._digest = hashlib.blake2b(self._data, digest_size=16).digest()
            return self._digest, self._password
        return None if self._status is None else (str(self._data), *self._status, self._password)

    def render(self, page: int, size: Size, *, warn: bool = False) -> Prepared:
        """Renders a page of the PDF over white at ``size``, (height, width) in px; ``warn`` looks for what is lost."""
        arguments = {"page": page, "size": size, "warn": warn}
        return self._draw("render", "pdf", page, size, exactly=True, arguments=arguments)

    def image_pages(self, kind: str) -> list[tuple[int, Size]]:
        """Returns the 0-based frame and the upright (height, width) of each page of an image; decodes nothing.

        Args:
            kind: The image's format, as ``image_kind`` names it.
        """
        return [(int(frame), (int(size[0]), int(size[1]))) for frame, size in self._ask("image_pages", kind)]

    def image(
        self, kind: str, frame: int, upright: Size, size: Size, longest_side: int, page: int | None = None
    ) -> Prepared:
        """Decodes a page of an image and brings it to ``size``.

        Args:
            kind: The image's format.
            frame: As ``image_pages`` returned it.
            upright: As ``image_pages`` returned it.
            size: (height, width) in px.
            longest_side: The first of two resizes fits the image to it.
            page: Names the page in errors.
        """
        arguments = {"frame": frame, "upright": upright, "size": size, "longest_side": longest_side}
        return self._draw("image", kind, page, size, exactly=True, arguments=arguments)

    def picture(self, kind: str, frame: int, longest_side: int, page: int | None = None) -> Image.Image:
        """Decodes a page of an image and scales it until its longest side has ``longest_side`` px."""
        arguments = {"frame": frame, "longest_side": longest_side}
        most = longest_side, longest_side
        return Image.fromarray(self._draw("picture", kind, page, most, exactly=False, arguments=arguments).pixels)

    def close(self) -> None:
        """Closes the file wherever it is open; it is opened again when a page is asked for."""
        if self._here is not None:
            self._here.close()
            return
        with self._lock:
            if self._shared >= 0:
                os.close(self._shared)
                self._shared = -1
                _shared_files.release()
        pool().forget(self._key)

    def _draw(
        self, do: str, kind: str, page: int | None, most: Size, *, exactly: bool, arguments: dict[str, Any]
    ) -> Prepared:
        pixels: NDArray[np.uint8] = np.empty((0, 0, 3), dtype=np.uint8)

        def take(reply: Message, worker: PageWorker) -> None:
            nonlocal pixels
            if "result" in reply:
                height, width = (int(side) for side in reply["shape"])
                if not (0 < height <= most[0] and 0 < width <= most[1]) or (exactly and (height, width) != most):
                    raise Failed("sent a picture of another size")
                flat = np.frombuffer(worker.pixels(height * width * 3), dtype=np.uint8)
                pixels = flat.reshape(height, width, 3).copy()

        def canvas(height: int, width: int) -> memoryview:
            nonlocal pixels
            pixels = np.empty((height, width, 3), dtype=np.uint8)
            return memoryview(pixels.reshape(-1))  # type: ignore[arg-type]  # an array is a buffer

        if kind != "pdf":
            arguments["kind"] = kind
        if self._here is not None:
            warnings = self._read_here(do, page, {**arguments, "canvas": canvas})
        else:
            warnings = self._read_there(do, kind, page, arguments, most[0] * most[1] * 3, take)
        return Prepared(pixels, tuple(str(warning) for warning in warnings))

    def _ask(self, do: str, kind: str, **arguments: Any) -> Any:
        if kind != "pdf":
            arguments["kind"] = kind
        if self._here is not None:
            return self._read_here(do, None, arguments)
        return self._read_there(do, kind, None, arguments, 0, _take_nothing)

    def _read_here(self, do: str, page: int | None, arguments: dict[str, Any]) -> Any:
        try:
            return getattr(self._here, do)(**arguments)
        except PageError:
            raise
        except InvalidInput as error:
            raise PageError(str(error), source=self.name, page=page) from error
        except OSError as error:
            raise PageError(f"the file cannot be read: {error}", source=self.name, page=page) from error
        except MemoryError as error:
            raise PageError(f"{_DEEDS[do]} needs more memory than there is", source=self.name, page=page) from error

    def _read_there(
        self, do: str, kind: str, page: int | None, arguments: dict[str, Any], canvas: int, take: Any
    ) -> Any:
        limits, deed = self._limits, _DEEDS[do]
        request = {"do": do, "kind": kind, "key": self._key, "arguments": arguments}
        key = self._key if kind == "pdf" else None
        try:
            reply = pool().run(limits, request, key, self._contents, canvas, take)
        except Failed as error:
            raise PageError(f"{deed} {error.reason}", source=self.name, page=page) from error
        except Interrupted as error:
            raise PageError(f"{deed} was given up", source=self.name, page=page) from error
        if "memory" in reply:
            raise PageError(
                f"{deed} took more than {limits.memory:,} bytes of memory (page_memory_bytes)",
                source=self.name,
                page=page,
            )
        if "error" in reply:
            raise PageError(str(reply["error"]), source=self.name, page=reply["page"] or page)
        return reply["result"]

    @contextmanager
    def _contents(self, request: Message) -> Iterator[Sequence[int]]:
        request |= {"name": self.name, "password": self._password}
        if isinstance(self._data, Path):
            request["path"] = str(self._data)
            yield ()
            return
        descriptor = self._in_memory(self._data, keep=request["kind"] == "pdf")
        try:
            yield (descriptor,)
        finally:
            os.close(descriptor)

    def _in_memory(self, data: bytes, *, keep: bool) -> int:
        """Returns a descriptor of the bytes, for the caller to close."""
        with self._lock:
            if self._shared >= 0:
                return os.dup(self._shared)
            descriptor = anonymous_file("ziprerank-file")
            with os.fdopen(os.dup(descriptor), "wb") as file:
                file.write(data)
            if keep and _shared_files.acquire(blocking=False):
                self._shared = os.dup(descriptor)
            return descriptor


def _status_of(path: Path) -> tuple[int, ...] | None:
    """Returns what tells the file at a path from others there, before and after it; None if there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _take_nothing(_reply: Message, _worker: PageWorker) -> None:
    """Of a reply without pixels."""


_shared_files = threading.BoundedSemaphore(_MOST_SHARED)
