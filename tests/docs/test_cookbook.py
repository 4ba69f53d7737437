"""The cookbook, docs/python.md and the README run: each from top to bottom, as a reader would, with the output shown.

What a fence's language means there:

- ``bash`` and ``python`` are run, in order, in one folder. It holds the sample PDF as ``report.pdf``, and at its path
  in the repository.
- A block of any language whose first line is a comment of nothing but a file name (``# index.py``, ``// main.cpp``) is
  written to that file and not run by itself.
- ``text`` is the output of the run before it; ``...`` stands for anything, and white space does not count.
- Other languages, such as ``sh`` for what a reader types once (``pip install``), are only shown.
"""

from __future__ import annotations

import doctest
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
COOKBOOK = ROOT / "docs" / "cookbook"
PAGES = [*sorted(COOKBOOK.glob("*.md")), ROOT / "docs" / "python.md", ROOT / "README.md"]
SAMPLE = "python/examples/sample.pdf"
SECONDS = 300  # for one block

_BLOCK = re.compile(r"^```(?P<language>\w*)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)
_FILE_NAME = re.compile(r"(?:#|//) (?P<name>[\w./-]+\.\w+)")
_COMMANDS = {"bash": ["bash", "-euo", "pipefail", "-c"], "python": [sys.executable, "-c"]}
_ELLIPSIS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@dataclass(frozen=True)
class Block:
    language: str
    code: str
    line: int

    @property
    def file(self) -> str | None:
        named = _FILE_NAME.fullmatch(self.code.partition("\n")[0])
        return None if named is None else named["name"]


def read_blocks(text: str) -> Iterator[Block]:
    for found in _BLOCK.finditer(text):
        yield Block(found["language"], found["code"], text.count("\n", 0, found.start()) + 1)


def run_page(text: str, folder: Path) -> int:
    """Runs the blocks of a page in ``folder``; how many were run. Raises AssertionError, naming the line."""
    runs, output = 0, None
    for block in read_blocks(text):
        if block.file is not None:
            (folder / block.file).parent.mkdir(parents=True, exist_ok=True)
            (folder / block.file).write_text(block.code, encoding="utf-8")
        elif block.language in _COMMANDS:
            output, runs = _run(block, folder), runs + 1
        elif block.language == "text":
            assert output is not None, f"line {block.line}: output of nothing, no block was run before it"
            matches = doctest.OutputChecker().check_output(block.code, output, _ELLIPSIS)
            assert matches, f"line {block.line}: the page says\n{block.code}\nand the run printed\n{output}"
    return runs


def _run(block: Block, folder: Path) -> str:
    """What the block printed. It and all that it started end with it."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    variables = {**os.environ, "PATH": path, "OMP_NUM_THREADS": "2", "HAYSTACK_TELEMETRY_ENABLED": "False"}
    done = subprocess.run(
        [*_COMMANDS[block.language], block.code],
        cwd=folder,
        env=variables,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    said = f"{done.stdout}\n{done.stderr}"
    assert done.returncode == 0, f"line {block.line}: exit status {done.returncode}\n{said}"
    return done.stdout


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short path, as a reader's would be: sockets have no room for pytest's."""
    with tempfile.TemporaryDirectory(prefix="cookbook-") as path:
        for name in ("report.pdf", SAMPLE):
            (Path(path) / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / SAMPLE, Path(path) / name)
        yield Path(path)


SLOW = ("frameworks", "cpp-service")  # a framework each to import; a program to build


@pytest.mark.parametrize(
    "page", [pytest.param(page, id=page.stem, marks=[pytest.mark.slow] * (page.stem in SLOW)) for page in PAGES]
)
def test_page_runs(page: Path, folder: Path) -> None:
    assert run_page(page.read_text(encoding="utf-8"), folder) > 0


def test_blocks_share_a_folder_and_their_output_is_compared(folder: Path) -> None:
    page = """
```python
# add.py
import sys
print(sum(map(int, sys.argv[1:])))
```
then
```bash
test -f report.pdf
python add.py 2 3
```
prints
```text
5
```
```sh
never run
```
```python
print("a b\\nc 12.5 ms")
```
```text
a b
c ... ms
```
"""
    assert run_page(page, folder) == 2
    with pytest.raises(AssertionError, match=r"(?s)line 13: the page says\s+6\s.*printed\s+5\s"):
        run_page(page.replace("\n5\n", "\n6\n"), folder)


@pytest.mark.parametrize("code", ["false\ntrue", "exit 3", "cat none | wc -l", "echo $unset_name"])
def test_a_failing_block_fails(folder: Path, code: str) -> None:
    with pytest.raises(AssertionError, match="line 1: exit status"):
        run_page(f"```bash\n{code}\n```\n", folder)
