"""Files under a bound: order of eviction, several processes, what a killed writer leaves, a full disk."""

from __future__ import annotations

import errno
import os
import random
import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ziprerank.cache.bounded_folder import BoundedFolder

WRITER = """
import random, sys
from pathlib import Path
from ziprerank.cache.bounded_folder import BoundedFolder
folder, seed = BoundedFolder(Path(sys.argv[1]), 20_000), int(sys.argv[2])
choose, wrong, found = random.Random(seed), 0, 0
for _ in range(400):
    number = choose.randrange(60)
    content = folder.get(f"{number}")
    if content is None:
        folder.put(f"{number}", [b"%d:" % number, bytes([number]) * (500 + 20 * number)])
    else:
        found += 1
        wrong += content != b"%d:" % number + bytes([number]) * (500 + 20 * number)
print(found, wrong, folder.evictions)
"""


def held(folder: Path) -> int:
    """Bytes of all files but the ledger, as the file system has them."""
    total = 0
    for path in folder.iterdir():
        if path.name != "ledger":
            try:
                total += path.stat().st_size
            except FileNotFoundError:  # evicted just now
                continue
    return total


def names(folder: Path) -> set[str]:
    return {path.stem for path in folder.glob("*.page")}


def test_what_is_put_is_got(tmp_path: Path) -> None:
    folder = BoundedFolder(tmp_path / "new" / "cache", 10_000)
    assert folder.get("a") is None
    folder.put("a", [b"one", memoryview(b" two"), b""])
    assert folder.get("a") == b"one two"
    folder.put("a", [b"is there already"])
    assert folder.get("a") == b"one two"
    assert folder.used == held(folder.folder) == 7
    assert BoundedFolder(folder.folder, 10_000).get("a") == b"one two"
    assert folder.folder.stat().st_mode & 0o777 == 0o700
    assert (folder.folder / "a.page").stat().st_mode & 0o777 == 0o600
    folder.remove("a")
    folder.remove("a")
    assert folder.get("a") is None
    assert folder.used == held(folder.folder) == 0


def test_the_longest_unused_goes_first(tmp_path: Path) -> None:
    folder = BoundedFolder(tmp_path, 500)
    for name in "abcde":
        folder.put(name, [bytes(100)])
    folder.get("a")
    folder.put("f", [bytes(100)])
    assert names(tmp_path) == set("acdef")
    folder.get("c")
    folder.put("g", [bytes(150)])
    assert names(tmp_path) == set("acfg")
    assert folder.evictions == 3
    assert folder.used == held(tmp_path) == 450
    (tmp_path / "notes.txt").write_bytes(bytes(1000))  # not ours: neither counted nor removed
    folder = BoundedFolder(tmp_path, 200)  # a smaller bound
    assert names(tmp_path) == {"g"}
    with pytest.raises(OSError, match="201 bytes, over the limit of 200"):
        folder.put("h", [bytes(201)])
    assert names(tmp_path) == {"g"}
    assert (tmp_path / "notes.txt").exists()


def test_processes_share_a_folder_and_its_bound(tmp_path: Path) -> None:
    """Four at once, with room for a third of what they write; the bound holds at every moment that is looked at."""
    running = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path), str(seed)], stdout=subprocess.PIPE, text=True)
        for seed in range(4)
    ]
    most, looks = 0, 0
    while any(process.poll() is None for process in running):
        if tmp_path.exists():
            most, looks = max(most, held(tmp_path)), looks + 1
        time.sleep(0.002)
    found = [[int(word) for word in process.communicate()[0].split()] for process in running]
    assert [process.returncode for process in running] == [0] * 4
    assert all(hits > 0 and wrong == 0 for hits, wrong, _ in found)
    assert sum(evictions for *_, evictions in found) > 0
    assert looks > 5
    assert 10_000 < most <= 20_000
    folder = BoundedFolder(tmp_path, 20_000)
    assert folder.used == held(tmp_path)
    assert not list(tmp_path.glob("*.part"))


def test_what_a_killed_writer_leaves_is_put_right(tmp_path: Path) -> None:
    folder = BoundedFolder(tmp_path, 1000)
    folder.put("a", [bytes(300)])
    (tmp_path / "b.part").write_bytes(bytes(600))
    (tmp_path / "ledger").write_bytes(b"%020d\n" % 900)  # counted, and never renamed
    folder.put("c", [bytes(300)])  # over the bound by the ledger: counted anew
    assert names(tmp_path) == {"a", "c"}
    assert held(tmp_path) == folder.used == 600
    for torn in (b"", b"00000"):
        (tmp_path / "ledger").write_bytes(torn)
        name = f"after {len(torn)}"
        folder.put(name, [bytes(100)])
        assert folder.get(name) == bytes(100)
        assert held(tmp_path) == folder.used


def test_a_folder_removed_while_it_is_used_comes_back(tmp_path: Path) -> None:
    folder = BoundedFolder(tmp_path / "cache", 1000)
    folder.put("a", [b"1"])
    for path in folder.folder.iterdir():
        path.unlink()
    folder.folder.rmdir()
    assert folder.get("a") is None
    folder.put("a", [b"22"])
    assert folder.get("a") == b"22"
    assert folder.used == 2


def test_a_process_that_keeps_the_lock_is_not_waited_for(tmp_path: Path) -> None:
    folder = BoundedFolder(tmp_path, 1000)
    hold = "import fcntl, sys; file = open(sys.argv[1]); fcntl.flock(file, 2); print(flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", hold, str(tmp_path / "ledger")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        other.stdout.readline()
        with pytest.raises(OSError, match="another process has held the lock") as caught:
            folder.put("a", [b"1"])
        assert caught.value.errno == errno.ETIMEDOUT
        other.communicate()
    folder.put("a", [b"1"])
    assert folder.get("a") == b"1"


def test_a_write_that_the_system_refuses_leaves_nothing(tmp_path: Path) -> None:
    """A limit on file sizes stands for a full disk: the write ends in the middle."""
    folder = BoundedFolder(tmp_path, 100_000)
    folder.put("a", [bytes(100)])
    random.seed(1)
    content = random.randbytes(20_000)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, before[1]))
    try:
        with pytest.raises(OSError, match=os.strerror(errno.EFBIG)):
            folder.put("b", [content])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert names(tmp_path) == {"a"}
    assert held(tmp_path) == folder.used == 100
    folder.put("b", [content])
    assert folder.get("b") == content
