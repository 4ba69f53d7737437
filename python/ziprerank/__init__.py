"""Single-pass visual reranking of document pages: ZipRerank on ONNX Runtime.

>>> from ziprerank import Reranker
>>> ranking = Reranker.from_bundle().rank("revenue by region", "report.pdf", top_k=3)
>>> ranking.results[0].label
'report.pdf p. 7'
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from ziprerank import errors
from ziprerank._version import __version__
from ziprerank.runtime.onnxruntime import find_runtime, keep_quiet

if TYPE_CHECKING:
    from ziprerank.bundle import Bundle
    from ziprerank.inputs.pages import Page, Pdf
    from ziprerank.ranking import PageNote, RankedPage, Ranking, Timings, Tokens
    from ziprerank.reranker import Reranker

__all__ = [
    "Bundle",
    "Page",
    "PageNote",
    "Pdf",
    "RankedPage",
    "Ranking",
    "Reranker",
    "Timings",
    "Tokens",
    "__version__",
    "errors",
]

_HOMES = {
    "Bundle": "ziprerank.bundle",
    "Page": "ziprerank.inputs.pages",
    "PageNote": "ziprerank.ranking",
    "Pdf": "ziprerank.inputs.pages",
    "RankedPage": "ziprerank.ranking",
    "Ranking": "ziprerank.ranking",
    "Reranker": "ziprerank.reranker",
    "Timings": "ziprerank.ranking",
    "Tokens": "ziprerank.ranking",
}


keep_quiet()  # before anything loads ONNX Runtime


def _check_runtime() -> errors.MissingDependency | None:
    try:
        find_runtime()
    except errors.MissingDependency as error:
        return error
    return None


# A warning and not an error: export and training need no ONNX Runtime. ``Reranker`` raises.
_missing = _check_runtime()
if _missing is not None:
    warnings.warn(str(_missing), RuntimeWarning, stacklevel=2)


def __getattr__(name: str) -> object:
    """Names are imported on first use, so that ``ziprerank.export`` pays for nothing else."""
    if name not in _HOMES:
        raise AttributeError(f"module 'ziprerank' has no attribute {name!r}")
    if name == "Reranker" and _missing is not None:
        raise errors.MissingDependency(str(_missing))
    from importlib import import_module

    value: object = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
