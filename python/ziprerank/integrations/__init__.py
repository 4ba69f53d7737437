"""Adapters for retrieval frameworks, one module per framework; the rest of the package imports none of them.

The modules are ``langchain``, ``llama_index``, ``haystack``, ``rerankers`` and ``sentence_transformers``. The last one
needs no package; each of the others needs the extra of its name.
"""

from __future__ import annotations

from ziprerank.errors import MissingDependency


def missing_extra(extra: str, error: ImportError) -> MissingDependency:
    """Returns the error that an adapter raises when its framework cannot be imported."""
    return MissingDependency(f'{error}: pip install "ziprerank[{extra}]"')
