"""Ranking with the graphs on a Triton server: what the engine does around them, done by the client."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ziprerank.bundle import Bundle
from ziprerank.errors import EngineError, MissingDependency
from ziprerank.export.host import Host, HostPage
from ziprerank.export.manifest import read_manifest
from ziprerank.inputs.pages import PageInput, open_pages
from ziprerank.prompt import PromptBuilder
from ziprerank.windows import WindowOption, plan_windows, run_windows


@dataclass(frozen=True, slots=True)
class TritonPage:
    """One ranked page; fields as in ``ziprerank.RankedPage``."""

    rank: int
    index: int
    source: str
    page: int | None
    score: float


class TritonModel:
    """A model on the server, called as an ``onnxruntime.InferenceSession`` is."""

    def __init__(self, client: Any, name: str) -> None:
        self._client = client
        self._name = name
        metadata = client.get_model_metadata(name)
        self._types = {tensor.name: tensor.datatype for tensor in metadata.inputs}

    def run(self, outputs: Sequence[str], inputs: dict[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """Raises EngineError with what the server said."""
        from tritonclient.grpc import InferInput, InferRequestedOutput  # type: ignore[import-untyped]
        from tritonclient.utils import InferenceServerException  # type: ignore[import-untyped]

        tensors = []
        for name, value in inputs.items():
            tensor = InferInput(name, list(value.shape), self._types[name])
            tensor.set_data_from_numpy(np.ascontiguousarray(value))
            tensors.append(tensor)
        try:
            answer = self._client.infer(self._name, tensors, outputs=[InferRequestedOutput(name) for name in outputs])
        except InferenceServerException as error:
            raise EngineError(f"{self._name} on the server failed: {error}") from error
        return [answer.as_numpy(name) for name in outputs]


class TritonReranker:
    """``rank`` over gRPC. ``folder`` holds ``ziprerank.json`` and ``tokenizer.json``, as the repository itself does.

    Raises MissingDependency without tritonclient, BundleError for another folder.
    """

    def __init__(self, folder: str | Path, url: str = "localhost:8001") -> None:
        try:
            from tritonclient.grpc import InferenceServerClient
        except ImportError as error:
            raise MissingDependency(f'{error}: pip install "tritonclient[grpc]"') from error
        self.bundle = Bundle.load(folder, check="none")
        self._prompts = PromptBuilder(self.bundle)
        client = InferenceServerClient(url)
        self._host = Host.over(
            read_manifest(Path(folder)), TritonModel(client, "vision"), TritonModel(client, "rerank")
        )

    def rank(
        self,
        query: str,
        pages: PageInput | Sequence[PageInput],
        *,
        keep_ratio: float | None = None,
        window: WindowOption = "auto",
        stride: int | None = None,
    ) -> list[TritonPage]:
        """Pages sorted by relevance; arguments as in ``Reranker.rank``. Raises InvalidInput, PageError, EngineError."""
        text = self._prompts.check_query(query)
        defaults = self.bundle.defaults
        ratio = defaults.keep_ratio if keep_ratio is None else keep_ratio
        with open_pages(pages, self.bundle.image) as sources:
            plan = plan_windows(len(sources), window, stride, defaults)
            prompt = self._prompts.build(text, plan.width)
            encoded: dict[int, HostPage] = {}

            def score(_step: int, indices: Sequence[int]) -> list[float]:
                for index in indices:
                    if index not in encoded:
                        pixels = sources[index].prepare()
                        encoded[index] = self._host.encode(pixels, drop_blank=defaults.blank == "drop")
                mask = None if prompt.query_mask is None else prompt.query_mask.tolist()
                held = [encoded[index] for index in indices]
                scores = self._host.score(prompt.text_ids.tolist(), held, ratio, mask)
                logits: list[float] = scores.logits[: len(indices)].tolist()
                return logits

            outcome = run_windows(plan, score, key=float)
            return [
                TritonPage(rank, index, sources[index].source, sources[index].page, outcome.latest[index])
                for rank, index in enumerate(outcome.order, start=1)
            ]
