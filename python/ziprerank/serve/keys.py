"""The API keys of requests, and who sends them."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Collection, Mapping

from ziprerank.serve.failures import Refused

KEY_HEADERS = ("api-key", "x-api-key")  # besides Authorization: of Azure's clients and of many gateways


def sender_of(headers: Mapping[str, str], keys: Collection[str]) -> str:
    """Checks the API key in a request's headers, where the service has keys.

    Args:
        headers: With lower-case names: ``authorization`` (``Bearer KEY``), ``api-key`` or ``x-api-key``.
        keys: Those of the service.

    Returns:
        Who sends the request: a digest of the key; empty where the service has no keys.

    Raises:
        Refused: No header carries a key of the service (401).
    """
    if not keys:
        return ""
    scheme, _, bearer = headers.get("authorization", "").partition(" ")
    sent = [bearer if scheme.lower() == "bearer" else "", *(headers.get(name, "") for name in KEY_HEADERS)]
    given = [key.strip().encode() for key in sent]
    known = [key for key in given if _is_known(key, keys)]
    if not known:
        names = " or ".join(f"{name}: KEY" for name in KEY_HEADERS)
        message = f"an API key is needed: send it as Authorization: Bearer KEY, {names}"
        raise Refused(401, message, headers={"WWW-Authenticate": "Bearer"})
    return hashlib.blake2b(known[0], digest_size=16).hexdigest()


def _is_known(key: bytes, keys: Collection[str]) -> bool:
    same = [hmac.compare_digest(key, right.encode()) for right in keys]  # of all: time tells
    return any(same)
