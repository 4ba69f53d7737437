"""The files of a bundle, checked against its manifest.

Each file is opened once: its size and digest are read from one descriptor, and so is its identity, by which a later
look tells whether the path still names the file that was checked. ONNX Runtime takes paths and no descriptors, so
``check_unchanged`` looks again once it has loaded.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath

from ziprerank.errors import BundleError, quoted
from ziprerank.graph_files import files_read_by
from ziprerank.manifest import MANIFEST, BundleFile
from ziprerank.runtime.threads import Workers
from ziprerank.strict_json import is_plain_name, open_regular


@dataclass(frozen=True, slots=True)
class Identity:
    """What changes when a file is replaced or written; times are nanoseconds."""

    device: int
    inode: int
    size: int
    modified: int
    changed: int
    links: int

    @classmethod
    def of(cls, status: os.stat_result) -> Identity:
        times = status.st_mtime_ns, status.st_ctime_ns
        return cls(status.st_dev, status.st_ino, status.st_size, *times, status.st_nlink)

    def is_still(self, now: Identity) -> bool:
        """Whether this is the same file, not written since; another export may have linked its own bundle to it."""
        if now.links != self.links:  # which sets the time of change
            now = replace(now, changed=self.changed, links=self.links)
        return now == self


def check_files(folder: Path, files: Mapping[str, BundleFile], *, digests: bool) -> dict[str, Identity]:
    """Checks that the files of a bundle are those of its manifest, and that its graphs read no others.

    Args:
        folder: The bundle.
        files: What the manifest says of each.
        digests: Whether SHA-256 is compared too.

    Returns:
        What each file was when it was checked.

    Raises:
        BundleError: A file is missing, is no regular file or is another, or a graph reads one that is not listed.
    """
    found = {}
    with Workers(4, "ziprerank-digests") as workers:
        jobs = {
            name: workers.submit(partial(_check_file, folder, name, entry, digests=digests))
            for name, entry in files.items()
        }
        found = {name: workers.result(job) for name, job in jobs.items()}
    for name in files:
        if name.endswith(".onnx"):
            _check_coverage(folder, name, files)
    check_unchanged(folder, found)
    return found


def check_unchanged(folder: Path, files: Mapping[str, Identity]) -> None:
    """Raises BundleError when a path no longer names what ``check_files`` found there."""
    for name, identity in files.items():
        try:
            now = Identity.of((folder / name).stat())
        except OSError:
            now = None
        if now is None or not identity.is_still(now):
            raise BundleError(f"{folder / name} was changed while the bundle was loaded: load it again")


def read_checked(folder: Path, name: str, content: bytes, entry: BundleFile, *, digests: bool) -> bytes:
    """Returns ``content``, read from a file now, if it is what the manifest says. Raises BundleError."""
    if len(content) != entry.size:
        raise BundleError(_of_another_size(folder / name, len(content), entry.size))
    if digests:
        _compare(folder / name, hashlib.sha256(content).hexdigest(), entry.sha256)
    return content


def _check_file(folder: Path, name: str, expected: BundleFile, *, digests: bool) -> Identity:
    path = folder / name
    try:
        descriptor = open_regular(path, BundleError)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            raise BundleError(f"{folder} misses {name}: copy the whole bundle again") from None
        raise BundleError(f"{path} cannot be read: {error.strerror}") from error
    with os.fdopen(descriptor, "rb", buffering=0) as file:
        identity = Identity.of(os.fstat(descriptor))
        if identity.size != expected.size:
            raise BundleError(_of_another_size(path, identity.size, expected.size))
        if digests:
            digest = hashlib.sha256()
            try:
                while block := file.read(1 << 20):
                    digest.update(block)
            except OSError as error:
                raise BundleError(f"{path} cannot be read: {error.strerror}") from error
            _compare(path, digest.hexdigest(), expected.sha256)
    return identity


def _of_another_size(path: Path, size: int, expected: int) -> str:
    return f"{path} has {size} bytes, its manifest says {expected}: copy the bundle again"


def _compare(path: Path, digest: str, expected: str) -> None:
    if digest != expected:
        raise BundleError(
            f"{path} was changed: SHA-256 {digest[:16]}..., its manifest says {expected[:16]}...: copy or export the "
            "bundle again"
        )


def _check_coverage(folder: Path, graph: str, files: Mapping[str, BundleFile]) -> None:
    try:
        names = files_read_by(folder / graph)
    except OSError as error:
        raise BundleError(f"{folder / graph} cannot be read: {error.strerror}") from error
    for name in sorted(names):
        path = str(PurePosixPath(graph).parent / name)
        if not is_plain_name(name):
            raise BundleError(f"{folder / graph} reads {quoted(name)}, which is no name of a file of the bundle")
        if path not in files:
            raise BundleError(
                f"{folder / graph} reads {quoted(path)}, which {MANIFEST} does not list, so that nothing says what is "
                "in it: copy or export the bundle again"
            )
