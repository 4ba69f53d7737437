"""A client that ranks with the graphs on a Triton server, and itself does the engine's work around them."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ziprerank.bundle import Bundle
from ziprerank.errors import EngineError, InvalidInput, MissingDependency
from ziprerank.export.host import Host, HostPage
from ziprerank.export.manifest import read_manifest
from ziprerank.reranker import Reranker
from ziprerank.runtime.engine import POOL_BYTES, EngineOptions


def connect(folder: str | Path, url: str = "localhost:8001", *, pool_bytes: int = POOL_BYTES) -> Reranker:
    """Returns a reranker whose graphs run on a Triton server; its ``rank`` is that of every reranker.

    Args:
        folder: Holds ``ziprerank.json`` and ``tokenizer.json``, as the model repository itself does.
        url: The server's gRPC address.
        pool_bytes: Memory of this process for page features, in bytes.

    Raises:
        BundleError: ``folder`` holds no bundle's manifest.
        MissingDependency: tritonclient is not installed.
        EngineError: The server cannot be reached, or does not serve the models.
    """
    bundle = Bundle.load(folder, check="none")
    return Reranker(bundle, TritonEngine(bundle, url, pool_bytes=pool_bytes))


class TritonEngine:
    """An engine (``ziprerank.runtime.engine.EngineLike``) whose models run on a Triton server, over gRPC."""

    def __init__(self, bundle: Bundle, url: str, *, pool_bytes: int = POOL_BYTES) -> None:
        """Looks up the models ``vision`` and ``rerank`` on the server.

        Args:
            bundle: The manifest of the models on the server.
            url: The server's gRPC address.
            pool_bytes: Memory of this process for page features, in bytes.

        Raises:
            InvalidInput: ``pool_bytes`` is out of range.
            MissingDependency: tritonclient is not installed.
            EngineError: The server cannot be reached, or does not serve the models.
        """
        EngineOptions(pool_bytes=pool_bytes)  # checks the value
        try:
            from tritonclient.grpc import InferenceServerClient  # type: ignore[import-untyped]
        except ImportError as error:
            raise MissingDependency(f'{error}: pip install "tritonclient[grpc]"') from error
        client = InferenceServerClient(url)
        self.host = Host.over(read_manifest(bundle.path), TritonModel(client, "vision"), TritonModel(client, "rerank"))
        self._client = client
        self._url = url
        self._pointwise = bundle.prompt.pointwise
        self._drop_blank = bundle.defaults.blank == "drop"
        self._pool_bytes = pool_bytes
        self._pages: OrderedDict[bytes, HostPage] = OrderedDict()  # by a digest of the pixels, least recent first
        self._lock = threading.Lock()
        self._counts = dict.fromkeys(("hits", "misses", "evictions"), 0)

    @property
    def info(self) -> dict[str, Any]:
        """Provider, server and blank rule. There is no ``threads``, since no options load such an engine."""
        return {"provider": "triton", "device": self._url, "drop_blank": self._drop_blank}

    @property
    def pool(self) -> dict[str, int]:
        """Number of pages held, their bytes and the limit, and the counts of hits, misses and evictions."""
        with self._lock:
            held = {"pages": len(self._pages), "used_bytes": self._used(), "pool_bytes": self._pool_bytes}
            return held | self._counts

    def window(self, sizes: Sequence[tuple[int, int]], *, owner: str = "") -> TritonWindow:
        """Returns a window for pages of these sizes (height, width) in px.

        Pages are found in the pool by windows of the same ``owner`` only.

        Raises:
            InvalidInput: There are none, and the bundle scores no texts.
        """
        if not sizes and not self._pointwise:
            raise InvalidInput("a window of 0 pages: give at least one")
        return TritonWindow(self, len(sizes), owner)

    def close(self) -> None:
        """Closes the connection; every later call to the server fails."""
        self._client.close()

    def encode(self, pixels: NDArray[np.uint8], owner: str = "") -> tuple[HostPage, bool]:
        """Encodes a page, or finds its features in the pool.

        Args:
            pixels: The page [h, w, 3], uint8 RGB.
            owner: That of the window.

        Returns:
            The page's features, and whether the pool held them already.

        Raises:
            EngineError: The server failed.
        """
        key = hashlib.blake2b(owner.encode()).digest()
        digest = hashlib.blake2b(np.array(pixels.shape, dtype="<i8").tobytes(), key=key, digest_size=32)
        digest.update(np.ascontiguousarray(pixels).data)
        name = digest.digest()
        with self._lock:
            found = self._pages.get(name)
            self._counts["misses" if found is None else "hits"] += 1
            if found is not None:
                self._pages.move_to_end(name)
                return found, True
        page = self.host.encode(pixels, drop_blank=self._drop_blank)
        with self._lock:
            self._pages[name] = page
            while self._used() > self._pool_bytes and len(self._pages) > 1:
                self._pages.popitem(last=False)
                self._counts["evictions"] += 1
        return page, False

    def _used(self) -> int:
        return sum(page.features.nbytes for page in self._pages.values())


@dataclass(frozen=True, slots=True)
class TritonScores:
    """The result of one pass of the model ``rerank``, with the fields of ``ziprerank._engine.WindowScores``."""

    scores: NDArray[np.float32]
    kept: list[NDArray[np.int64]]
    text_tokens: int
    visual_tokens: int
    blank_tokens: int
    kept_tokens: int
    rerank_ms: float
    encode_ms: float = 0.0


class TritonWindow:
    """The pages of one pass."""

    def __init__(self, engine: TritonEngine, slots: int, owner: str) -> None:
        self._engine = engine
        self._owner = owner
        self._pages: list[HostPage | None] = [None] * slots

    def encode(self, slot: int, pixels: NDArray[np.uint8]) -> bool:
        """Encodes a page [h, w, 3] into ``slot``, and returns whether its features were held already."""
        self._pages[slot], found = self._engine.encode(pixels, self._owner)
        return found

    def score(
        self, text_ids: NDArray[np.int64], query_mask: NDArray[np.bool_] | None, keep_ratio: float
    ) -> TritonScores:
        """Scores the window's pages for a prompt.

        Args:
            text_ids: [T] token ids of the prompt, with one image pad per page.
            query_mask: [T] the tokens that pruning compares with; None is all text before the first page.
            keep_ratio: Share of each page's visual tokens to keep, in (0, 1].

        Returns:
            A logit per page, and the visual tokens that were kept.

        Raises:
            EngineError: A slot has no page, or the server failed.
        """
        pages = [page for page in self._pages if page is not None]
        if len(pages) < len(self._pages):
            raise EngineError(f"{len(self._pages) - len(pages)} of {len(self._pages)} slots are empty: encode them all")
        started = perf_counter()
        mask = None if query_mask is None else query_mask.tolist()
        found = self._engine.host.score(text_ids.tolist(), pages, keep_ratio, mask)
        visual = sum(page.grid[0] * page.grid[1] for page in pages)
        return TritonScores(
            scores=found.logits[: max(1, len(pages))],
            kept=list(found.kept),
            text_tokens=len(text_ids) - len(pages),
            visual_tokens=visual,
            blank_tokens=visual - sum(len(page.read) for page in pages),
            kept_tokens=sum(len(kept) for kept in found.kept),
            rerank_ms=(perf_counter() - started) * 1e3,
        )

    def cancel(self) -> None:
        """Does nothing: what the server runs goes on, and a ranking that is cancelled ends after it."""

    def close(self) -> None:
        """Releases the pages; their features stay in the engine's pool while there is room."""
        self._pages = [None] * len(self._pages)


class TritonModel:
    """A model on the server, called like an ``onnxruntime.InferenceSession``."""

    def __init__(self, client: Any, name: str) -> None:
        from tritonclient.utils import InferenceServerException  # type: ignore[import-untyped]

        self._client = client
        self._name = name
        try:
            metadata = client.get_model_metadata(name)
        except InferenceServerException as error:
            raise EngineError(f"the server does not serve the model {name!r}: {error}") from error
        self._types = {tensor.name: tensor.datatype for tensor in metadata.inputs}

    def run(self, outputs: Sequence[str], inputs: dict[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """Runs the model.

        Args:
            outputs: Names of the outputs to return.
            inputs: The inputs by name.

        Returns:
            The outputs, in the order of their names.

        Raises:
            EngineError: The server failed; the error has its message.
        """
        from tritonclient.grpc import InferInput, InferRequestedOutput
        from tritonclient.utils import InferenceServerException

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
