"""One JSON request to an HTTP endpoint, repeated with growing pauses while the fault may pass."""

from __future__ import annotations

import email.utils
import http.client
import json
import math
import os
import random
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urlsplit

from ziprerank.train.errors import TrainError

T = TypeVar("T")

MAY_PASS = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524, 529})
"""Statuses after which the same request may succeed."""

LARGEST_ANSWER = 1 << 24  # bytes; a ranking has some hundred


class Passing(Exception):
    """A fault that may pass: the request is worth repeating, after ``wait`` seconds if the server said so."""

    def __init__(self, message: str, wait: float | None = None) -> None:
        super().__init__(message)
        self.wait = wait


@dataclass(frozen=True, slots=True)
class Patience:
    """How long and how often a request is tried."""

    timeout: float = 120.0
    """seconds without a byte until a try is given up"""
    tries: int = 6
    first_pause: float = 1.0
    """seconds before the second try; doubles from try to try, less up to half of it at random"""
    longest_pause: float = 120.0
    """seconds; a server that asks for more ends the request"""

    def __post_init__(self) -> None:
        if self.tries < 1 or not self.timeout > 0 or not 0 <= self.first_pause <= self.longest_pause:
            raise TrainError(f"{self}: use tries >= 1, timeout > 0 and 0 <= first_pause <= longest_pause")


class Endpoint:
    """POSTs JSON to one URL, with a key from the environment, which appears in no message and no representation.

    Args:
        url: http or https.
        key_variable: environment variable that holds the API key, sent as a bearer token; None sends none.
        sleep: waits the given seconds; another one lets a test see the pauses without waiting them out.

    Raises:
        TrainError: the URL is not an http address, or the variable is not set.
    """

    def __init__(
        self, url: str, key_variable: str | None, patience: Patience, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname:
            raise TrainError(f"the endpoint is {url!r}: give an http or https address")
        if key_variable is not None and not os.environ.get(key_variable):
            raise TrainError(f"the environment variable {key_variable} is not set: put the API key there")
        self.url = url
        self.key_variable = key_variable
        self.patience = patience
        self._sleep = sleep
        # a redirect could carry the key to another host
        self._opener = urllib.request.build_opener(_NoRedirect)

    def post(self, body: Mapping[str, Any], use: Callable[[Any], T], retried: Callable[[], None]) -> T:
        """Send ``body`` until an answer can be used.

        Args:
            use: makes the result of the answer's JSON; raises `Passing` where another try may help.
            retried: called before each further try.

        Raises:
            TrainError: the fault cannot pass (named with the server's words), or did not in ``patience.tries`` tries.
        """
        data = json.dumps(body).encode()
        for attempt in range(1, self.patience.tries + 1):
            try:
                return use(self._once(data))
            except Passing as fault:
                pause = self._pause(attempt, fault)
                if attempt == self.patience.tries:
                    raise TrainError(f"{self.url}: gave up after {attempt} tries, at last: {fault}") from fault
            retried()
            self._sleep(pause)
        raise AssertionError("unreachable: the last try returns or raises")

    def _once(self, data: bytes) -> Any:
        headers = {"Content-Type": "application/json", "Accept": "application/json", "User-Agent": "ziprerank"}
        key = os.environ.get(self.key_variable, "") if self.key_variable else ""
        if key:
            headers["Authorization"] = f"Bearer {key}"
        request = urllib.request.Request(self.url, data=data, headers=headers, method="POST")
        try:
            with self._opener.open(request, timeout=self.patience.timeout) as response:
                text = response.read(LARGEST_ANSWER)
        except urllib.error.HTTPError as error:
            raise self._refusal(error, key) from None  # the chained error would hold the request, and so the key
        except TimeoutError:
            raise Passing(f"no answer in {self.patience.timeout:g} s") from None
        except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
            raise Passing(f"{type(error).__name__}: {getattr(error, 'reason', error)}") from None
        try:
            return json.loads(text)
        except ValueError:
            raise Passing(f"the answer is not JSON: {_words(text, key)}") from None

    def _refusal(self, error: urllib.error.HTTPError, key: str) -> Exception:
        try:
            said = _words(error.read(LARGEST_ANSWER), key)
        except (http.client.HTTPException, OSError):
            said = "(and the connection broke)"
        message = f"HTTP {error.code}: {said}"
        if error.code in MAY_PASS:
            return Passing(message, _retry_after(error.headers.get("Retry-After")))
        return TrainError(f"{self.url}: {message}")

    def _pause(self, attempt: int, fault: Passing) -> float:
        """What the server asks for, or else an exponential pause, jittered so that threads do not return together."""
        longest = self.patience.longest_pause
        if fault.wait is not None:
            if fault.wait > longest:
                raise TrainError(
                    f"{self.url}: asks to wait {fault.wait:.0f} s, at most {longest:g} s are waited: try later. {fault}"
                ) from fault
            return fault.wait
        pause: float = min(longest, self.patience.first_pause * 2.0 ** (attempt - 1))
        return pause * random.uniform(0.5, 1.0)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None


def _retry_after(value: str | None) -> float | None:
    """Seconds to wait: the header holds a number of them, or a date."""
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(value).timestamp() - time.time()
        except ValueError:
            return None
    return max(0.0, seconds) if math.isfinite(seconds) else None


def _words(data: bytes, key: str) -> str:
    """The beginning of what a server said, on one line, without the key that some repeat."""
    text = " ".join(data.decode("utf-8", "replace").split()) or "(nothing)"
    return (text.replace(key, "***") if key else text)[:300]
