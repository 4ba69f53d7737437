"""What the tests build once for a whole run, however many processes pytest-xdist runs them in."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock


def built_once(factory: pytest.TempPathFactory, name: str, build: Callable[[Path], object]) -> Path:
    """Return the folder ``name`` that all test processes of this run share.

    The first process that asks calls ``build`` with the path of a folder that does not exist yet; the others wait for
    it. Tests must not change what they get.

    Args:
        factory: Pytest's own fixture, which knows where the temporary folders of this run are.
        name: Unique in the whole suite, for example ``"checkpoint-tied"``.
        build: Writes the folder. It is renamed afterwards, so no file in it may name its path.
    """
    base = factory.getbasetemp()
    run = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base  # a worker has a folder in that of the run
    shared = run / "shared"
    shared.mkdir(exist_ok=True)
    folder, draft = shared / name, shared / f"{name}.draft"
    with FileLock(shared / f"{name}.lock"):
        if not folder.exists():
            shutil.rmtree(draft, ignore_errors=True)  # of a process that failed
            build(draft)
            draft.rename(folder)
    return folder
