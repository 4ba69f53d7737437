"""What a request asked for that our own request has no word for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Asked:
    """A request as its client sent it, beside the request that it was turned into.

    Attributes:
        documents: The documents as they were sent, each with its parts.
        names: The client's names of our fields, where they differ.
        notes: What is said about it in ``meta.warnings``.
        raw_scores: Whether scores are logits.
    """

    documents: Sequence[Any] = ()
    names: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    raw_scores: bool = False

    @property
    def list(self) -> str:
        """The client's name of the field that lists the documents."""
        return self.names.get("documents", "documents")
