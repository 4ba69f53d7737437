"""Every error that ziprerank raises on purpose. Each message names the value, the limit and the way out.

The engine's binding finds ``EngineError``, ``DeviceMemoryError``, ``DeviceLost``, ``PoolError``, ``ProviderError``,
``BundleError``, ``Cancelled`` and ``InvalidInput`` here by name, so that C++ and Python raise the same classes.
"""

from __future__ import annotations

import reprlib

QUOTED = 120
"""Most characters of a value that a message quotes."""
MOST_TEXT = 2000
"""Most characters of a message, whatever was quoted in it."""

PASSWORD_WAY = "with Pdf(..., password=...)"
"""how a caller in Python gives a password, in errors; ``said_for`` puts another way in its place"""

_repr = reprlib.Repr()
_repr.maxstring = _repr.maxother = _repr.maxlong = QUOTED


def quoted(value: object) -> str:
    """Returns ``repr(value)`` for a message, cut to about ``QUOTED`` characters; a long text says how long it is."""
    if not isinstance(value, (str, bytes)):
        try:
            text = _repr.repr(value)
        except ValueError:  # Python writes no whole number of over 4,300 digits
            text = f"a number of {value.bit_length():,} bits" if isinstance(value, int) else f"a {type(value).__name__}"
        return text if len(text) <= QUOTED else f"{text[:QUOTED]}..."
    if len(value) <= QUOTED:
        return repr(value)
    return f"{value[:QUOTED]!r}... ({len(value):,} {'characters' if isinstance(value, str) else 'bytes'})"


def shortened(text: str) -> str:
    """Returns a message of at most about ``MOST_TEXT`` characters: a longer one loses its middle, which it counts."""
    left_out = len(text) - MOST_TEXT
    if left_out <= 0:
        return text
    half = MOST_TEXT // 2
    return f"{text[:half]}... ({left_out:,} characters left out) ...{text[-half:]}"


def said_for(text: str, way: str) -> str:
    """Returns an error's text with the way to give a password that there is elsewhere, such as ``with --password``."""
    return text.replace(PASSWORD_WAY, way)


class ZipRerankError(Exception):
    """Base of all errors of this package. A message is at most about ``MOST_TEXT`` characters long."""

    def __init__(self, *args: object) -> None:
        super().__init__(*(shortened(one) if isinstance(one, str) else one for one in args))


class InvalidInput(ZipRerankError, ValueError):
    """A query, an option or a page that cannot be ranked as given."""


class PageError(InvalidInput):
    """A page, or a source of pages, that cannot be ranked.

    Attributes:
        reason: The message without the place.
        source: The file's name, or ``"image"``, ``"array"`` or ``"PDF bytes"``.
        page: The 1-based page of a PDF, or None.
        index: The 0-based position among the candidates, once it is known.
    """

    def __init__(self, reason: str, *, source: str, page: int | None = None, index: int | None = None) -> None:
        self.reason = reason = shortened(reason)
        self.source = source = shortened(source)
        self.page = page
        self.index = index
        where = source if page is None else f"{source}, page {page}"
        super().__init__(f"{where}: {reason}" if index is None else f"candidate {index} ({where}): {reason}")

    def at(self, index: int) -> PageError:
        """Returns the same error with the candidate's index in its message."""
        return PageError(self.reason, source=self.source, page=self.page, index=index)


class PageWarning(UserWarning):
    """What a ranked page's pixels do not show, or that a page was skipped, as the adapters to frameworks say it."""


class WorkerError(ZipRerankError):
    """The processes in which pages are prepared cannot be started."""


class BundleError(ZipRerankError):
    """A bundle that is missing, damaged, or newer than this version reads."""


class PoolError(ZipRerankError):
    """The page pool has no room for the pages of one window."""


class ProviderError(ZipRerankError):
    """An execution provider that this ONNX Runtime does not offer or cannot start."""


class EngineError(ZipRerankError):
    """The engine failed while it loaded or ran a graph."""


class DeviceMemoryError(EngineError):
    """The device has no memory for what was asked; the engine goes on, and smaller requests work."""


class DeviceLost(EngineError):
    """The GPU no longer answers: this engine ranks nothing any more, and only a new process can use the GPU."""


class Cancelled(ZipRerankError):
    """The ranking was ended by its ``cancel``, or the window by ``Window.cancel``."""


class MissingDependency(ZipRerankError, ImportError):
    """A package that this feature needs is not installed, or is too old."""
