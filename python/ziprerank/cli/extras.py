"""A missing package becomes an error that names the extra to install."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ziprerank.errors import MissingDependency


@contextmanager
def needs_extra(name: str) -> Iterator[None]:
    """Turns an ImportError of its block into a MissingDependency that names the extra ``name``."""
    try:
        yield
    except MissingDependency:  # names its own way out
        raise
    except ImportError as error:
        raise MissingDependency(f'{error}: pip install "ziprerank[{name}]"') from error
