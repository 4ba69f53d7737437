"""Options of the application for Ray Serve, without a cluster."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import ValidationError
from ziprerank.reranker import Reranker
from ziprerank.scale import ray_serve
from ziprerank.scale.ray_serve import Options, Replica, build


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"replica": 2}, "replica"),
        ({"settings": {"max_page": 3}}, "settings has no max_page: known settings are"),
        ({"settings": {"keep_alive": 9}}, "keep_alive would do nothing here.*http_options"),
        ({"settings": {"uds": "/run/socket"}}, "uds would do nothing here.*http_options"),
        ({"settings": {"keep_stored": 60}}, "keep_stored would do nothing here.*with each request"),
        ({"settings": {"root_path": "/ranker"}}, "root_path would do nothing here.*route_prefix"),
        ({"settings": {"queue": 0}}, "queue 0: must be at least 1"),
        ({"gpus": -1}, "gpus"),
    ],
)
def test_options_that_are_refused(options: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        Options(**options)


def test_autoscaling() -> None:
    application = build(Options(min_replicas=1, max_replicas=7, gpus=0.5, cpus=2, target_ongoing_requests=3))
    deployment = application._bound_deployment.init_args[0]._bound_deployment
    scaling = deployment._deployment_config.autoscaling_config
    assert scaling is not None
    assert (scaling.min_replicas, scaling.max_replicas, scaling.target_ongoing_requests) == (1, 7, 3)
    assert deployment.ray_actor_options is not None
    assert deployment.ray_actor_options["num_cpus"] == 2
    assert deployment.ray_actor_options["num_gpus"] == 0.5
    assert deployment.max_ongoing_requests == 16


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_replicas_keep_no_documents(
    reranker: Reranker, bundle_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    """The next request may meet another replica; what they answer is true where no option has been given."""
    monkeypatch.setattr(ray_serve, "start_logging", lambda _: None)  # it would take pytest's handlers away
    monkeypatch.setattr(ray_serve, "Reranker", SimpleNamespace(from_options=lambda _: reranker))

    async def run() -> ray_serve.Answer:
        replica: Any = SimpleNamespace()
        await Replica.__init__(replica, Options(bundle=str(bundle_path)))
        headers = [(b"host", b"testserver")]
        scope = {"type": "http", "method": method, "path": "/v1/documents/doc_0", "query_string": b"", "state": {}}
        try:
            return await Replica.answer(replica, {**scope, "headers": headers, "http_version": "1.1"}, b"")
        finally:
            await Replica.__del__(replica)

    answer = asyncio.run(run())
    error = json.loads(answer.body)["error"]
    assert (answer.status, error["type"]) == (404, "documents_off")
    assert error["message"] == "this server keeps no documents: send the file with each request"
