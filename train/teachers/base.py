"""What every teacher is: a query and candidates in, an order out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ziprerank.train.errors import TrainError


@dataclass(frozen=True, slots=True)
class Candidate:
    """What a teacher may look at: the true text or an OCR's, the picture as a file or its bytes."""

    text: str | None = None
    image: Path | bytes | None = None


class Teacher(Protocol):
    """Says which order of candidates is right."""

    def order(self, query: str, candidates: Sequence[Candidate]) -> tuple[int, ...]:
        """Indices of the candidates, best first, each exactly once.

        Raises:
            TrainError: a candidate lacks what this teacher looks at, or no order could be had.
        """
        ...


def texts_of(candidates: Sequence[Candidate], teacher: str) -> list[str]:
    """The candidates' texts, which may be empty.

    Raises:
        TrainError: there is no candidate, or one has no text.
    """
    if not candidates:
        raise TrainError("no candidates: give a teacher at least one")
    texts = []
    for number, candidate in enumerate(candidates):
        if candidate.text is None:
            raise TrainError(f"candidate {number} has no text, which {teacher} needs: give the true text or an OCR's")
        texts.append(candidate.text)
    return texts


def by_score(scores: Sequence[float]) -> tuple[int, ...]:
    """Indices by falling score; equal ones stay in the order given."""
    return tuple(sorted(range(len(scores)), key=lambda index: -scores[index]))
