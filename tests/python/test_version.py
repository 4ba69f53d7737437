"""The version is written in `_version.py`; the package's metadata and the library are built with it."""

from __future__ import annotations

import ctypes
from importlib import metadata
from pathlib import Path

import ziprerank
from ziprerank import _engine


def test_the_version_is_the_same_everywhere() -> None:
    library = ctypes.CDLL(str(next(Path(_engine.__file__).parent.glob("libziprerank.*"))))
    library.zr_version.restype = ctypes.c_char_p
    assert metadata.version("ziprerank") == ziprerank.__version__ == library.zr_version().decode()
