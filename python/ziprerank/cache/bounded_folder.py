"""Keeps a folder's files under a total size, for several processes at once; the least recently used go first.

Writers take turns by a lock on the file ``ledger``, which holds the bytes in use. Readers take no lock: a file appears
by one rename, complete, and one that is removed while it is read stays readable to the end. What a killed process
leaves behind, an unfinished file or a ledger that counts too much, is put right by the next count.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

_SUFFIX = ".page"
_PART = ".part"
_LOCK_SECONDS = 1.0  # a write takes milliseconds; longer means that another process is stuck
_SPARE = 20  # 1/20 of the limit is freed at a time, so that the files are not counted for each write


class BoundedFolder:
    """Stores named byte strings in files ``NAME.page``, safely from several threads; leaves other files alone."""

    def __init__(self, folder: Path, limit: int) -> None:
        """Makes the folder, readable for its owner only, and shrinks what it holds to ``limit`` bytes.

        Raises OSError when the folder cannot be made, locked or written.
        """
        self.folder = folder
        self.limit = limit
        self.evictions = 0
        with self._locked() as ledger:
            probe = folder / f"probe{_PART}"
            _write(probe, [b"\0" * 4096])
            probe.unlink()
            _set_bytes(ledger, self._shrink(limit))

    @property
    def used(self) -> int:
        """Bytes in use, by the ledger; 0 when it cannot be read."""
        try:
            with _opened(self.folder / "ledger") as file:
                return _bytes_in(file.read(64)) or 0
        except OSError:
            return 0

    def get(self, name: str, most: int = -1) -> bytes | None:
        """Returns the content, which then counts as just used, or None.

        Args:
            name: Which one.
            most: Most bytes that are read; all of them by default.

        Raises:
            OSError: It cannot be read, or is a pipe, a folder or a device.
        """
        try:
            with _opened(self._path(name)) as file:
                content = file.read(most)
                with contextlib.suppress(OSError):  # the time of use is no more than a hint
                    _touch(file.fileno())
                return content
        except FileNotFoundError:
            return None

    def put(self, name: str, parts: Sequence[bytes | memoryview]) -> None:
        """Writes the parts as one file, unless it is there, after making room for it. Raises OSError."""
        size = sum(len(part) for part in parts)
        if size > self.limit:
            raise OSError(errno.EFBIG, f"{size:,} bytes, over the limit of {self.limit:,} for all files together")
        path = self._path(name)
        with self._locked() as ledger:
            if path.exists():
                return
            used = _bytes_in(os.pread(ledger, 64, 0))
            if used is None or used + size > self.limit:
                used = self._shrink(self.limit - max(size, self.limit // _SPARE))
            _set_bytes(ledger, used + size)  # first: killed after this line, it counts too much and not too little
            part = path.with_suffix(_PART)
            try:
                _write(part, parts)
                part.replace(path)
            except OSError:
                part.unlink(missing_ok=True)
                _set_bytes(ledger, used)
                raise

    def remove(self, name: str) -> None:
        """Removes the file when it is there. Raises OSError."""
        path = self._path(name)
        with self._locked() as ledger, contextlib.suppress(FileNotFoundError):
            size = path.stat().st_size
            path.unlink()
            used = _bytes_in(os.pread(ledger, 64, 0))
            if used is not None:
                _set_bytes(ledger, max(0, used - size))

    def _path(self, name: str) -> Path:
        return self.folder / (name + _SUFFIX)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[int]:
        """The ledger's descriptor, locked; opened each time, since a lock belongs to an opening and not to a thread."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)  # somebody may have removed it
        ledger = os.open(self.folder / "ledger", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            deadline = time.monotonic() + _LOCK_SECONDS
            while True:
                try:
                    fcntl.flock(ledger, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        text = f"another process has held the lock for over {_LOCK_SECONDS:g} s"
                        raise OSError(errno.ETIMEDOUT, text, str(self.folder / "ledger")) from None
                    time.sleep(0.001)
            yield ledger
        finally:
            os.close(ledger)

    def _shrink(self, most: int) -> int:
        """Removes the least recently used files until at most ``most`` bytes are left; returns the bytes left."""
        files = []
        for path in self.folder.iterdir():
            if path.suffix == _PART:  # its writer was killed: who writes holds the lock
                path.unlink()
            elif path.suffix == _SUFFIX:
                status = path.stat(follow_symlinks=False)
                files.append((status.st_mtime_ns, status.st_size, path))
        used = sum(size for _, size, _ in files)
        for _, size, path in sorted(files):
            if used <= most:
                break
            path.unlink()
            used -= size
            self.evictions += 1
        return used


def _opened(path: Path) -> BinaryIO:
    """Opens a regular file for reading. Raises OSError, also for a pipe, which would be waited for."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "no regular file", str(path))
    return os.fdopen(descriptor, "rb")


def _write(path: Path, parts: Sequence[bytes | memoryview]) -> None:
    """Writes a file that its owner alone can read: the features tell what a page shows."""
    path.unlink(missing_ok=True)  # left by a writer that was killed, or put there: a pipe would be waited for
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb", buffering=0) as file:
        for part in parts:
            rest = memoryview(part)
            while rest:  # a write without a buffer may take less than it was given
                rest = rest[file.write(rest) :]
        _touch(file.fileno())


def _touch(descriptor: int) -> None:
    now = time.time_ns()  # finer than the kernel's own stamps, which stand still for milliseconds
    os.utime(descriptor, ns=(now, now))


def _set_bytes(ledger: int, used: int) -> None:
    os.pwrite(ledger, b"%020d\n" % used, 0)


def _bytes_in(text: bytes) -> int | None:
    digits = text[:20]
    return int(digits) if len(text) == 21 and digits.isdigit() else None
