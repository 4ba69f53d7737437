"""A text embedder as teacher: candidates by the cosine of their text's vector and the query's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray
from ziprerank.train.errors import TrainError

from .base import Candidate, by_score, texts_of

Embed = Callable[[list[str]], Any]
"""Texts to an array ``[texts, D]``: NumPy, or anything ``numpy.asarray`` takes, such as a CPU tensor."""


class Encoder(Protocol):
    """What sentence-transformers' models and their like offer."""

    def encode(self, texts: list[str]) -> Any: ...


class Embedder:
    """Orders candidates by cosine similarity; equal ones keep the order given.

    Args:
        model: a callable such as `load_encoder` gives or one around an ONNX session, or an object with ``encode``.
        query_prefix, text_prefix: put before each, as models such as E5 want it (``"query: "``, ``"passage: "``).
    """

    def __init__(self, model: Embed | Encoder, query_prefix: str = "", text_prefix: str = "") -> None:
        encode = getattr(model, "encode", None)
        self._embed = cast("Embed", model if encode is None else encode)
        self.query_prefix = query_prefix
        self.text_prefix = text_prefix

    def scores(self, query: str, texts: Sequence[str]) -> NDArray[np.float64]:
        """``[texts]`` float64, cosines; 0 where a vector is zero.

        Raises:
            TrainError: the model's answer is not one finite vector for each text.
        """
        asked = [self.query_prefix + query, *(self.text_prefix + text for text in texts)]
        vectors = np.asarray(self._embed(asked), dtype=np.float64)
        if vectors.ndim != 2 or len(vectors) != len(asked):
            raise TrainError(f"the embedder gave {list(vectors.shape)} for {len(asked)} texts: give one vector each")
        broken = ~np.isfinite(vectors).all(axis=1)
        if broken.any():
            raise TrainError(f"the embedder's vector of text {int(broken.argmax())} is not finite: is it too long?")
        vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        cosines: NDArray[np.float64] = vectors[1:] @ vectors[0]
        return cosines

    def order(self, query: str, candidates: Sequence[Candidate]) -> tuple[int, ...]:
        """See `Teacher.order`; each candidate needs a text."""
        return by_score(self.scores(query, texts_of(candidates, "an embedder")).tolist())


def load_encoder(path: Path, most_tokens: int = 512, batch: int = 16, device: str = "cpu") -> Embed:
    """A Hugging Face text encoder from a folder, through transformers: the mean of its last layer over a text's tokens.

    Longer texts are cut after ``most_tokens`` tokens, special ones included. Nothing is downloaded.

    Args:
        path: folder with ``config.json``, weights and tokenizer.
        batch: texts computed at once; they are sorted by length so that padding is little.

    Returns:
        A callable for `Embedder`: texts to ``[texts, D]`` float32.

    Raises:
        TrainError: the folder cannot be loaded, or a number is below 1.
    """
    import torch
    from transformers import AutoModel, AutoTokenizer

    if most_tokens < 1 or batch < 1:
        raise TrainError(f"most_tokens is {most_tokens} and batch is {batch}: use at least 1")
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(path), local_files_only=True)
        model = AutoModel.from_pretrained(str(path), local_files_only=True).to(device).eval()
    except (OSError, ValueError) as error:
        raise TrainError(f"{path} is no text encoder that transformers can load: {error}") from error

    @torch.inference_mode()
    def embed(texts: list[str]) -> NDArray[np.float32]:
        vectors = np.zeros((len(texts), model.config.hidden_size), dtype=np.float32)
        by_length = sorted(range(len(texts)), key=lambda index: len(texts[index]))
        for start in range(0, len(texts), batch):
            chosen = by_length[start : start + batch]
            tokens = tokenizer(
                [texts[index] for index in chosen],
                padding=True,
                truncation=True,
                max_length=most_tokens,
                return_tensors="pt",
            ).to(device)
            states = model(**tokens).last_hidden_state  # [texts, tokens, D]
            mask = tokens["attention_mask"][:, :, None].to(states.dtype)
            means = (states * mask).sum(dim=1) / mask.sum(dim=1).clamp_min(1)
            vectors[chosen] = means.float().cpu().numpy()
        return vectors

    return embed
