"""A server that speaks ``/v1/rerank`` as a system: ours, or a peer's, on the same candidates."""

from __future__ import annotations

import base64
import io
import json
import math
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from email.utils import parsedate_to_datetime
from http.client import HTTPException
from typing import Any, Literal
from urllib.parse import urlsplit

from PIL import Image

from ziprerank.bundle import ImageRules
from ziprerank.errors import EngineError, InvalidInput, PageError, quoted, shortened
from ziprerank.evaluation.data import Data
from ziprerank.evaluation.systems import Ranked, candidates
from ziprerank.inputs.bad_pages import OnBadPage, none_left
from ziprerank.inputs.page_source import PageSource
from ziprerank.inputs.pages import ImagePage, open_pages
from ziprerank.inputs.workers.limits import PageLimits

DocumentForm = Literal["content", "image", "string"]
TRIES = 5
_WAIT_S = 1.0  # before the second try; doubles
_LONGEST_WAIT_S = 120.0  # that a server may ask for
_BUSY = (429, 502, 503, 504)
_OF_THE_SERVER = (401, 403, 404, 405, 429)  # no fault of the one request
_SENT = ("JPEG", "PNG")
_OWN = (
    "query",
    "documents",
    "model",
    "top_n",
    "top_k",
)  # the first three are sent anyway, and all candidates are asked for


def read_options(given: Sequence[str]) -> dict[str, Any]:
    """Returns the fields that requests are to have besides, of texts ``NAME=VALUE``.

    A value is read as JSON, and is a string where it is none: ``candidates=20``, ``first_stage=relevance``.

    Raises:
        InvalidInput: A text has another shape, or names a field twice or one that the evaluation sets itself.
    """
    options: dict[str, Any] = {}
    for text in given:
        name, equals, value = text.partition("=")
        name = name.strip()
        if not (equals and name):
            raise InvalidInput(f"endpoint option {quoted(text)}: give NAME=VALUE, such as candidates=20")
        if name in _OWN:
            raise InvalidInput(f"endpoint option {quoted(text)}: {name} is set by the evaluation: leave it out")
        if name in options:
            raise InvalidInput(f"endpoint option {quoted(text)}: {name} is given twice: leave one of them out")
        options[name] = _value(value.strip())
    return options


def _value(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=_no_number)
    except (ValueError, RecursionError):
        return text


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


class Endpoint:
    """Ranks by requests to a server, one a query.

    A JPEG or PNG is sent as the data has it; any other page is sent as PNG at the size at which the bundle reads it.
    """

    def __init__(
        self,
        url: str,
        rules: ImageRules,
        *,
        model: str | None = None,
        form: DocumentForm = "content",
        timeout_s: float = 600.0,
        key: str | None = None,
        limits: PageLimits | None = None,
        on_bad_page: OnBadPage = "raise",
        options: Mapping[str, Any] | None = None,
    ) -> None:
        """Describes the server.

        Args:
            url: Of the server, or of the route itself, which else is ``/v1/rerank``.
            rules: The size of PDF pages.
            model: Name of the model in requests; None leaves it out.
            form: How a document is sent: ``"content"`` as vLLM takes it, ``"image"`` as Jina does, ``"string"`` as a
                ``data:`` URL alone. Our service takes all three.
            timeout_s: Seconds that an answer may take.
            key: Sent as bearer token; None sends none.
            limits: Where files are read, and what one page may cost; None is the defaults.
            on_bad_page: ``"skip"`` leaves pages that cannot be read here out of the request, and out of the order.
            options: More fields of each request, such as our service's options of a ranking; None sends none.

        Raises:
            InvalidInput: The URL is none of http or https.
        """
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise InvalidInput(f"endpoint {url!r}: give the URL of a server, such as http://127.0.0.1:8000")
        self.url = url if parts.path.strip("/") else url.rstrip("/") + "/v1/rerank"
        self.names = [parts.netloc.rpartition("@")[2] + parts.path.rstrip("/").replace("/", "-")]
        self._rules = rules
        self._model = model
        self._form = form
        self._timeout_s = timeout_s
        self._key = key
        self._limits = limits
        self._on_bad_page: OnBadPage = on_bad_page
        self._options = dict(options or {})

    def settings(self) -> dict[str, Any]:
        return {
            "url": self.url,
            "model": self._model,
            "documents": self._form,
            "pages": asdict(self._rules),
            **({"options": self._options} if self._options else {}),
        }

    def rank(self, query: str, pages: Sequence[str], data: Data) -> list[Ranked]:
        """Sends the query with its pages.

        Raises:
            InvalidInput: The server refuses this request, or its answer lacks a page.
            EngineError: The server cannot be reached, or fails again and again.
        """
        begun = time.perf_counter()
        urls, bad = self._urls(pages, data)
        good = [at for at in range(len(pages)) if at not in bad]
        body: dict[str, Any] = {**self._options, "query": query, "documents": list(map(self._document, urls))}
        if self._model is not None:
            body["model"] = self._model
        sent = json.dumps(body).encode()
        prepared = time.perf_counter()
        answer = self._post(sent)
        done = time.perf_counter()
        order, scores = _results(answer, len(good), self.url)
        ms = {"pages": (prepared - begun) * 1e3, "request": (done - prepared) * 1e3, "total": (done - begun) * 1e3}
        usage = answer.get("usage")
        tokens = {
            name: usage[name]
            for name in ("total_tokens", "text_tokens", "visual_tokens", "blank_tokens", "kept_tokens")
            if isinstance(usage, dict) and isinstance(usage.get(name), int)
        }
        skipped = {pages[at]: error.reason for at, error in bad.items()}
        return [Ranked([good[at] for at in order], scores, ms, tokens, skipped=skipped)]

    def _urls(self, pages: Sequence[str], data: Data) -> tuple[list[str], dict[int, PageError]]:
        """Returns the pages that can be sent, and the others by their place. Raises PageError if none can."""
        urls, bad = [], {}
        given = candidates(data, pages, self._rules, self._on_bad_page, self._limits)
        with open_pages(given, self._rules, self._on_bad_page, limits=self._limits) as sources:
            for index, source in enumerate(sources):
                try:
                    kind, stored = _file_of(source)
                except PageError as error:
                    bad[index] = error.at(index)
                    if self._on_bad_page == "raise":
                        raise bad[index] from error
                else:
                    urls.append(f"data:image/{kind};base64,{base64.b64encode(stored).decode()}")
        if not urls:
            raise none_left(bad.values())
        return urls, bad

    def _document(self, url: str) -> Any:
        if self._form == "image":
            return {"image": url}
        if self._form == "string":
            return url
        return {"content": [{"type": "image_url", "image_url": {"url": url}}]}

    def _post(self, body: bytes) -> dict[str, Any]:
        headers = {"Content-Type": "application/json"}
        if self._key is not None:
            headers["Authorization"] = f"Bearer {self._key}"
        request = urllib.request.Request(self.url, body, headers, method="POST")
        said, code, asked_s = "", 0, 0.0
        for attempt in range(TRIES):
            if attempt:
                time.sleep(max(asked_s, _WAIT_S * 2 ** (attempt - 1)))
            try:
                with urllib.request.urlopen(request, timeout=self._timeout_s) as response:
                    return _json(response.read(), self.url)
            except urllib.error.HTTPError as error:
                code = error.code
                said = f"{code}: {_words_of(error)}"
                asked_s = _retry_after(error.headers.get("Retry-After"))
                if code not in _BUSY or asked_s > _LONGEST_WAIT_S:
                    break
            except OSError as error:  # no connection, or none any more
                said, code, asked_s = str(error), 0, 0.0
            except HTTPException as error:  # no answer, or one that breaks off
                said, code, asked_s = shortened(f"{type(error).__name__}: {str(error).strip()}"), 0, 0.0
        if 400 <= code < 500 and code not in _OF_THE_SERVER:
            raise InvalidInput(f"{self.url} answered {said}")
        if asked_s > _LONGEST_WAIT_S:
            said += f" (it asks to come back after {asked_s:,.0f} s, {_LONGEST_WAIT_S:g} is the longest wait)"
        raise EngineError(f"{self.url} does not rank: {said}; run the command again when it does, to go on")


def _words_of(error: urllib.error.HTTPError) -> str:
    """Returns what an answer says that is an error, as far as it can be read."""
    try:
        data = error.read(2000)
    except (OSError, HTTPException) as broken:
        return f"the answer breaks off ({type(broken).__name__})"
    return data.decode("utf-8", "replace").strip()


def _retry_after(value: str | None) -> float:
    """Returns the seconds that ``Retry-After`` asks to wait, as a number or a date (RFC 9110, 10.2.3); else 0."""
    if value is None:
        return 0.0
    if value.strip().isascii() and value.strip().isdigit():
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return 0.0


def _file_of(source: PageSource) -> tuple[str, bytes]:
    """Returns a page as the file of a picture, and which kind that is: as stored, if every server reads that kind."""
    if isinstance(source, ImagePage) and source.kind in _SENT:
        return source.kind.lower(), source.file.content()
    png = io.BytesIO()
    Image.fromarray(source.prepare()).save(png, "PNG")
    return "png", png.getvalue()


def _json(data: bytes, url: str) -> dict[str, Any]:
    try:
        answer = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"{url} answered no JSON: {data[:200]!r}") from error
    if not isinstance(answer, dict):
        raise InvalidInput(f"{url} answered {type(answer).__name__}, not an object with results")
    return answer


def _results(answer: dict[str, Any], count: int, url: str) -> tuple[list[int], list[float]]:
    """Returns the order of an answer, which is best first, and the scores."""
    try:
        order = [int(result["index"]) for result in answer["results"]]
        scores = [float(result["relevance_score"]) for result in answer["results"]]
        if not all(map(math.isfinite, scores)):
            raise ValueError("a relevance_score is no finite number")
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise InvalidInput(f"{url} answered no results with index and relevance_score: {error}") from error
    if sorted(order) != list(range(count)):
        raise InvalidInput(f"{url} ranked the indices {sorted(order)}, not each of {count} candidates once")
    return order, scores
