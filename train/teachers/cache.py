"""Answers on disk, one file each, so that nothing is asked and paid for twice."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ziprerank.train.errors import TrainError


def digest(request: Mapping[str, Any]) -> str:
    """SHA-256 of the request's canonical JSON: sorted keys, no spaces, ASCII."""
    text = json.dumps(request, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


class Cache:
    """JSON objects by digest in ``folder/ab/abcdef....json``; safe for several threads and processes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def get(self, key: str) -> dict[str, Any] | None:
        """What was put, or None if nothing was, or if the file is not whole."""
        try:
            value = json.loads(self._path(key).read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return None
        except OSError as error:
            raise TrainError(f"{self._path(key)} cannot be read: {error.strerror}") from error
        return value if isinstance(value, dict) else None

    def put(self, key: str, value: Mapping[str, Any]) -> None:
        """Write it whole: a temporary file, flushed to disk, then renamed.

        Raises:
            TrainError: the folder cannot be written, or the disk is full.
        """
        path = self._path(key)
        temporary = path.with_name(f"{path.name}.{os.getpid()}-{threading.get_ident()}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with temporary.open("w", encoding="utf-8") as file:
                json.dump(value, file, ensure_ascii=False)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except OSError as error:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise TrainError(f"{path} cannot be written: {error.strerror}") from error

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}.json"
