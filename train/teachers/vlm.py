"""A vision-language model behind an OpenAI-compatible endpoint as teacher: cached, retried, its cost counted."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from ziprerank.train.errors import TrainError

from .answer import LETTERS, Answer, parse_order
from .base import Candidate
from .cache import Cache, digest
from .endpoint import Endpoint, Passing, Patience
from .pictures import data_url

PROMPT = (
    "Which of these {count} document pages answers the query best? Each page is an image that follows its letter, "
    "{first} to {last}.\n\nQuery: {query}\n\n"
    "Order all {count} pages from the most to the least relevant. Answer with that order only, each letter once, in "
    "the form [{last}] > [{first}] > ..."
)
"""The instruction before the images."""


@dataclass(frozen=True)
class VlmSettings:
    """Where the model is and how it is asked."""

    model: str
    cache: Path
    """folder of the answers; asking for the same again costs nothing"""
    url: str = "https://api.openai.com/v1"
    """base address; ``/chat/completions`` is added"""
    key_variable: str | None = "OPENAI_API_KEY"
    """environment variable with the API key; None for a server without one"""
    input_price: float = 0.0
    """of a million prompt tokens, in whatever currency"""
    output_price: float = 0.0
    """of a million completion tokens"""
    longest_side: int | None = 1024
    """px; larger images are scaled down; None sends all as they are"""
    concurrency: int = 4
    """requests under way at once"""
    options: Mapping[str, Any] = field(default_factory=dict)
    """more fields of the request's body, such as ``temperature`` or ``max_completion_tokens``"""
    patience: Patience = field(default_factory=Patience)

    def __post_init__(self) -> None:
        if self.concurrency < 1:
            raise TrainError(f"concurrency is {self.concurrency}: use at least 1")
        if self.longest_side is not None and self.longest_side < 1:
            raise TrainError(f"longest_side is {self.longest_side}: use at least 1, or None")
        taken = {"model", "messages", "stream", "n"} & set(self.options)
        if taken:
            raise TrainError(f"options sets {', '.join(sorted(taken))}: these are the teacher's")


@dataclass
class Usage:
    """What the teacher did since it was made. Tokens and cost are of all replies it got, not of cached answers."""

    answers: int = 0
    cached: int = 0
    """of the answers, how many were on disk"""
    retries: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float = 0.0
    unmetered: int = 0
    """replies without a token count, which are in none of the sums"""
    incomplete: int = 0
    """answers that left candidates out"""
    missing: int = 0
    """candidates left out, put at the end in the order given"""
    repeated: int = 0
    unknown: int = 0


class Vlm:
    """Shows the model all candidates' images at once and asks for their order.

    Threads may share it. A request is identified by the SHA-256 of its URL and body, images included; its answer is
    cached when an order could be read from it.

    Raises:
        TrainError: settings are wrong, or the environment variable of the key is not set.
    """

    def __init__(self, settings: VlmSettings, sleep: Callable[[float], None] = time.sleep) -> None:
        self.settings = settings
        self.endpoint = Endpoint(
            settings.url.rstrip("/") + "/chat/completions", settings.key_variable, settings.patience, sleep
        )
        self.cache = Cache(settings.cache)
        self._usage = Usage()
        self._lock = threading.Lock()
        self._slots = threading.Semaphore(settings.concurrency)

    @property
    def concurrency(self) -> int:
        """How many threads can be of use."""
        return self.settings.concurrency

    @property
    def usage(self) -> Usage:
        """A copy of the counts so far."""
        with self._lock:
            return Usage(**{item.name: getattr(self._usage, item.name) for item in fields(Usage)})

    def order(self, query: str, candidates: Sequence[Candidate]) -> tuple[int, ...]:
        """See `Teacher.order`; each candidate needs an image, and there are at most 20."""
        return self.answer(query, candidates).order

    def answer(self, query: str, candidates: Sequence[Candidate]) -> Answer:
        """The order, and what of it the model left out or made up.

        Raises:
            TrainError: a candidate has no image or one that cannot be read, there are 0 or over 20, the endpoint
                refuses (a wrong key, an unknown model), or it fails for as long as `Patience` allows.
        """
        count = len(candidates)
        body = self._body(query, candidates)
        key = digest({"url": self.endpoint.url, "body": body})
        stored = self.cache.get(key)
        answer = parse_order(str(stored.get("text", "")), count) if stored else None
        if answer is None:
            with self._slots:
                stored, answer = self.endpoint.post(body, lambda reply: self._read(reply, count), self._retried)
            self.cache.put(key, stored)
            self._count(answer, cached=False)
        else:
            self._count(answer, cached=True)
        return answer

    def _body(self, query: str, candidates: Sequence[Candidate]) -> dict[str, Any]:
        count = len(candidates)
        if not 1 <= count <= len(LETTERS):
            raise TrainError(f"{count} candidates: the model can be shown 1..{len(LETTERS)} at once")
        prompt = PROMPT.format(count=count, first=LETTERS[0], last=LETTERS[count - 1], query=query)
        parts: list[dict[str, Any]] = [{"type": "text", "text": prompt}]
        for number, candidate in enumerate(candidates):
            if candidate.image is None:
                raise TrainError(f"candidate {number} has no image, which a vision-language model needs: give one")
            url = data_url(candidate.image, self.settings.longest_side)
            parts.append({"type": "text", "text": f"[{LETTERS[number]}]"})
            parts.append({"type": "image_url", "image_url": {"url": url}})
        return {
            **self.settings.options,
            "model": self.settings.model,
            "messages": [{"role": "user", "content": parts}],
        }

    def _retried(self) -> None:
        with self._lock:
            self._usage.retries += 1

    def _read(self, reply: Any, count: int) -> tuple[dict[str, Any], Answer]:
        """What to keep of a chat completion, and the order in it. One without is paid for and worth another try."""
        try:
            text = reply["choices"][0]["message"]["content"]
        except (KeyError, IndexError, TypeError):
            raise Passing(f"the answer is no chat completion: {reply!r:.200}") from None
        spent = _spent(reply.get("usage"))
        self._pay(spent)
        answer = parse_order(text, count) if isinstance(text, str) else None
        if answer is None:
            raise Passing(f"the model gave no order: {text!r:.200}")
        return {"text": text, "model": str(reply.get("model", "")), "usage": spent}, answer

    def _pay(self, spent: Mapping[str, int] | None) -> None:
        with self._lock:
            usage, price = self._usage, self.settings
            if spent is None:
                usage.unmetered += 1
                return
            read, written = spent["prompt_tokens"], spent["completion_tokens"]
            usage.prompt_tokens += read
            usage.completion_tokens += written
            usage.cost += (read * price.input_price + written * price.output_price) / 1e6

    def _count(self, answer: Answer, *, cached: bool) -> None:
        with self._lock:
            usage = self._usage
            usage.answers += 1
            usage.cached += cached
            usage.incomplete += answer.missing > 0
            usage.missing += answer.missing
            usage.repeated += answer.repeated
            usage.unknown += answer.unknown


def _spent(usage: Any) -> dict[str, int] | None:
    names = ("prompt_tokens", "completion_tokens")
    if isinstance(usage, dict) and all(type(usage.get(name)) is int for name in names):
        return {name: usage[name] for name in names}
    return None
