"""Tests with valid and invalid requests generated from the OpenAPI document: none may crash the server."""

from __future__ import annotations

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.schemas import APIOperation
from server_process import Server


def ask(operation: APIOperation, mode: GenerationMode, url: str, examples: int) -> set[int]:
    """Sends generated requests and returns the statuses of the answers."""
    statuses: set[int] = set()

    @settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(mode))
    def send(case: schemathesis.Case) -> None:
        statuses.add(case.call_and_validate(base_url=url, checks=[not_a_server_error]).status_code)

    send()
    return statuses


@pytest.mark.parametrize("most", [4, pytest.param(40, marks=pytest.mark.slow)])
def test_no_request_out_of_the_schema_is_a_5xx(server: Server, client: httpx.Client, most: int) -> None:
    schema = schemathesis.openapi.from_dict(client.get("/openapi.json").json())
    statuses: dict[str, set[int]] = {}
    for found in schema.get_all_operations():
        operation = found.ok()
        examples = most if operation.path in ("/rerank", "/v1/rerank/files") else 4  # the other routes share their code
        right = ask(operation, GenerationMode.POSITIVE, server.url, examples)
        wrong = ask(operation, GenerationMode.NEGATIVE, server.url, examples) if "rerank" in operation.path else set()
        statuses[operation.path] = right | wrong
    assert {"/rerank", "/v1/rerank", "/v2/rerank", "/v1/rerank/files"} < set(statuses)
    for path in ("/rerank", "/v1/rerank/files"):
        assert 422 in statuses[path]
    assert statuses["/health"] == {200}
