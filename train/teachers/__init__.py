"""Who says which order is right: BM25, a text embedder, a vision-language model behind an API."""

from .base import Candidate, Teacher

__all__ = ["Candidate", "Teacher"]
