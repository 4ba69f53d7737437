"""Clients of other servers and documented requests, each against our own ranking of the same documents.

A row of docs/clients.md stands for each. ``ZIPRERANK_CLIENTS=1 pytest tests/serve/test_clients.py`` writes the rows of
what ran; packages that are not installed are skipped, and their rows stay as they are.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import httpx
import pytest
from client_calls import CLIENTS, QUERY, Client, Pairs
from documented_bodies import BODIES, Body
from server_process import Server

PAGE = Path(__file__).parents[2] / "docs" / "clients.md"
TEXTS = ["Soup is served at noon.", "Dividends are paid to shareholders in May.", "The board of directors meets."]
TOP = 2
KINDS = ("texts", "images")
_passed: dict[str, dict[str, str]] = {}  # row -> texts or images -> version


@pytest.fixture(scope="module")
def open_server(bundle_path: Path) -> Iterator[Server]:
    """A server for clients of texts."""
    os.environ["AWS_EC2_METADATA_DISABLED"] = "true"  # boto3 would look for credentials in the network
    with Server("--bundle", bundle_path, "--render-text") as server:
        yield server
        assert server.stop() == 0


@pytest.fixture(scope="module")
def documents(images: list[bytes]) -> dict[str, list[str]]:
    pages = ["data:image/png;base64," + base64.b64encode(image).decode() for image in images[:3]]
    return {"texts": TEXTS, "images": pages}


@dataclass(frozen=True)
class Asked:
    """What every client is asked to rank: ``wanted`` are our own results, which test_dialects.py compares."""

    url: str
    documents: list[str]
    wanted: list[dict[str, Any]]


@pytest.fixture(scope="module")
def asked(open_server: Server, documents: dict[str, list[str]]) -> dict[str, Asked]:
    """The question in words and in images."""
    found = {}
    for kind, sent in documents.items():
        body = {"query": QUERY, "documents": sent, "include": ["logit"]}
        answer = httpx.post(f"{open_server.url}/v1/rerank", json=body, timeout=60).raise_for_status()
        found[kind] = Asked(open_server.url, sent, answer.json()["results"])
    return found


def check(found: Pairs, wanted: list[dict[str, Any]], logits: bool) -> None:
    assert [index for index, _ in found] == [one["index"] for one in wanted]
    right = [one["logit" if logits else "relevance_score"] for one in wanted]
    assert [score for _, score in found] == pytest.approx(right, abs=1e-4)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.name)
def test_client(client: Client, kind: str, asked: dict[str, Asked]) -> None:
    try:
        version = metadata.version(client.package)
    except metadata.PackageNotFoundError:
        pytest.skip(f"{client.package} is not installed")
    if kind == "images" and not client.images:
        pytest.skip("this client sends words only")
    one = asked[kind]
    check(client.call(one.url, one.documents, TOP), one.wanted[:TOP], client.logits)
    _passed.setdefault(client.name, {})[kind] = version


@pytest.mark.parametrize(
    ("body", "kind"),
    [(body, kind) for body in BODIES for kind in KINDS if getattr(body, kind)],
    ids=lambda value: value if isinstance(value, str) else value.name,
)
def test_documented_body(body: Body, kind: str, asked: dict[str, Asked]) -> None:
    sent = body.make(asked[kind].documents, TOP)
    answer = httpx.post(f"{asked[kind].url}{body.path}", json=sent, timeout=60)
    assert answer.status_code == 200, answer.text
    right = asked[kind].wanted[: TOP if str(TOP) in map(str, top_values(sent)) else len(TEXTS)]
    right = right if body.sorted else sorted(right, key=lambda one: one["index"])
    check(body.read(answer.json()), right, body.logits)
    _passed.setdefault(body.name, {})[kind] = ""


def top_values(body: Any) -> list[Any]:
    """The numbers of results that a body asks for, at any level, whatever the field's name."""
    if not isinstance(body, dict):
        return []
    names = ("top_n", "top_k", "numberOfResults")
    here = [int(float(value)) for name, value in body.items() if name in names]
    return here + [value for inner in body.values() for value in top_values(inner)]


def row(one: Client | Body, passed: dict[str, str]) -> str:
    cells = [one.name]
    if isinstance(one, Client):
        cells.append(f"{one.package} {next(iter(passed.values()))}")
    else:
        cells.append(f"[`{one.path}`](https://{one.source})")
    for kind in KINDS:
        cells.append("yes" if kind in passed else "no field for it")
    scores = "logit" if one.logits else "probability"
    return f"| {' | '.join([*cells, scores, one.note])} |"


def rows_of(page: str) -> dict[str, str]:
    """The rows of the page's two written tables by their first cell."""
    lines = [line for part in page.split(": written by ")[1:] for line in part.partition("<!-- /")[0].splitlines()]
    rows = [line for line in lines if line.startswith("| ") and not line.startswith(("| client |", "| request |"))]
    return {line.split(" | ")[0].removeprefix("| "): line for line in rows}


def test_the_page_has_a_row_for_each() -> None:
    if os.environ.get("ZIPRERANK_CLIENTS"):
        write()
    kept = rows_of(PAGE.read_text(encoding="utf-8"))
    assert list(kept) == [one.name for one in (*CLIENTS, *BODIES)]
    assert len(kept) >= 40
    for one in BODIES:  # of clients the versions differ
        if one.name in _passed:
            assert kept[one.name] == row(one, _passed[one.name])


def write() -> None:
    """Writes the rows of what ran into the page, between its marks."""
    page = PAGE.read_text(encoding="utf-8")
    kept = rows_of(page)
    for ones, mark in ((CLIENTS, "clients"), (BODIES, "bodies")):
        lines = [row(one, _passed[one.name]) if one.name in _passed else kept[one.name] for one in ones]
        head, _, rest = page.partition(f"<!-- {mark}: written by tests/serve/test_clients.py -->\n")
        table, end, tail = rest.partition(f"<!-- /{mark} -->")
        assert end, f"{PAGE} has no marks for {mark}"
        titles = table.strip("\n").splitlines()[:2]
        middle = "\n".join(["", *titles, *lines, "", ""])
        page = f"{head}<!-- {mark}: written by tests/serve/test_clients.py -->\n{middle}{end}{tail}"
    PAGE.write_text(page, encoding="utf-8")
