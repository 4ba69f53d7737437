"""Files of a bundle: a directory that appears whole or not at all, shards linked or copied, checksums."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from .errors import ExportError

Weights = Literal["auto", "link", "copy"]


@contextmanager
def new_directory(out: Path) -> Iterator[Path]:
    """A directory that is renamed to ``out`` on success and removed on failure."""
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        yield partial
        partial.chmod(0o755)
        partial.rename(out)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def bring_shard(shard: Path, to: Path, weights: Weights) -> None:
    """Hard-link or copy ``shard`` to ``to``; ``auto`` links where it can.

    Raises:
        ExportError: ``link`` was asked for and cannot be done.
    """
    # ONNX Runtime refuses symbolic links that leave the bundle, so it is a hard link to the file behind one
    if weights != "copy":
        try:
            os.link(shard.resolve(), to)
            return
        except OSError as error:
            if weights == "link":
                raise ExportError(
                    f"{shard} cannot be hard-linked into {to.parent.parent}: {error}; use weights=copy"
                ) from error
    shutil.copyfile(shard, to)


def checksums(folder: Path, known: Mapping[str, str] = MappingProxyType({})) -> dict[str, str]:
    """SHA-256 of every file by its path in ``folder``; ``known`` ones are not read again."""
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    with ThreadPoolExecutor() as pool:  # hashing leaves the interpreter free
        digests = pool.map(lambda name: known.get(name) or _sha256(folder / name), names)
        return dict(zip(names, digests, strict=True))


def _sha256(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while block := stream.read(1 << 22):
            digest.update(block)
    return digest.hexdigest()
