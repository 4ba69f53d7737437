"""Files of a bundle: a new directory that appears whole or not at all, shards linked or copied, checksums."""

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
from typing import Literal, get_args

from .errors import ExportError

Weights = Literal["auto", "link", "copy"]
WEIGHTS = get_args(Weights)


@contextmanager
def new_directory(out: Path) -> Iterator[Path]:
    """Yields a directory that is renamed to ``out`` on success and removed on failure."""
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
    """Hard-links or copies ``shard`` to ``to``; ``auto`` copies only where linking is impossible.

    Raises:
        ExportError: ``link`` was asked for and is impossible.
    """
    # ONNX Runtime refuses symbolic links that leave the bundle, so the link is a hard one, to the file behind any
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
    """Computes the SHA-256 of every file, by its path in ``folder``; files in ``known`` are not read again."""
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    with ThreadPoolExecutor() as pool:  # hashing releases the interpreter lock
        digests = pool.map(lambda name: known.get(name) or _sha256(folder / name), names)
        return dict(zip(names, digests, strict=True))


def _sha256(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while block := stream.read(1 << 22):
            digest.update(block)
    return digest.hexdigest()
