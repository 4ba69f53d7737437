"""Adapters to the frameworks that retrieve: one module each, named after its extra; nothing here is imported by others.

``langchain``, ``llama_index``, ``haystack``, ``rerankers`` and ``sentence_transformers`` (which needs no package).
"""

from __future__ import annotations

from ziprerank.errors import MissingDependency


def missing_extra(extra: str, error: ImportError) -> MissingDependency:
    """What an adapter raises when its framework cannot be imported."""
    return MissingDependency(f'{error}: pip install "ziprerank[{extra}]"')
