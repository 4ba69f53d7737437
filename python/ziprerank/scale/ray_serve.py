"""The HTTP service as a Ray Serve application: replicas by CPU or GPU share, autoscaling (extra ``ray``).

Requests come in through a deployment of its own (ray_ingress.py), which outlives the replicas.

``serve run ziprerank.scale.ray_serve:build KEY=VALUE``, or the same as ``import_path`` and ``args`` in a config file.
"""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

from pydantic import ConfigDict, Field, field_validator
from ray import serve
from ray.serve import Application
from starlette.types import Scope

from ziprerank.reranker import Reranker
from ziprerank.runtime.engine_fields import EngineFields
from ziprerank.scale.ray_ingress import HEALTH_PERIOD, MOST_REQUESTS, Answer, Ingress, run_app
from ziprerank.serve.app import create_app
from ziprerank.serve.logs import start_logging
from ziprerank.serve.settings import Settings

_KNOWN = {field.name for field in fields(Settings)}


class Options(EngineFields):
    """What an operator decides: the fields of ``EngineOptions``, the replicas, and the service's ``settings``.

    ``bundle`` and ``page_cache`` are paths that every machine has. ``threads`` 0 is as many as ``cpus``.
    """

    model_config = ConfigDict(extra="forbid")

    log_level: str = "info"

    cpus: float = Field(1, gt=0)
    gpus: float = Field(0, ge=0)
    """of each replica: 0.5 lets two share a GPU"""
    replicas: int | None = Field(None, ge=1)
    """as many always; None: between the two below, by load"""
    min_replicas: int = Field(1, ge=0)
    max_replicas: int = Field(4, ge=1)
    target_ongoing_requests: float = Field(2, gt=0)
    """a replica's, on average, over which one is added: one is ranked, the next is prepared meanwhile"""
    upscale_delay_s: float = Field(10, ge=0)
    downscale_delay_s: float = Field(300, ge=0)

    attempts: int = Field(3, ge=1)
    """replicas that a request is sent to, one after another as they die with it; 1: never to a second one"""
    ingress_replicas: int = Field(2, ge=1)
    """processes that hold requests while replicas answer them; they have no engine"""
    ingress_cpus: float = Field(0, ge=0)
    """that Ray sets aside for each of them"""

    settings: Settings = Settings()

    @field_validator("settings", mode="before")
    @classmethod
    def _known(cls, value: Any) -> Any:
        unknown = sorted(set(value) - _KNOWN) if isinstance(value, dict) else []
        if unknown:
            raise ValueError(f"settings has no {', '.join(unknown)}, known are {', '.join(sorted(_KNOWN))}")
        return value


class Replica:
    """The service around an engine of its own, called by the ingress."""

    async def __init__(self, options: Options) -> None:  # type: ignore[misc]  # Ray awaits it
        start_logging(options.log_level)
        engine = options.engine_options()
        if engine.threads == 0:
            engine = replace(engine, threads=max(1, int(options.cpus)))
        self._app = create_app(Reranker.from_options(engine), options.settings)
        self._lifespan = self._app.router.lifespan_context(self._app)
        await self._lifespan.__aenter__()

    async def __del__(self) -> None:  # Ray awaits it when the requests are done
        await self._lifespan.__aexit__(None, None, None)

    async def answer(self, scope: Scope, body: bytes) -> Answer:
        return await run_app(self._app, scope, body)


def build(options: Options) -> Application:
    """Returns the application.

    Ray keeps at most ``settings.queue`` requests in a replica and as many again waiting at each ingress; more are
    answered 503. A replica that is stopped has ``settings.drain`` seconds for those it has.
    """
    scaling: dict[str, Any] = {"num_replicas": options.replicas}
    if options.replicas is None:
        scaling = {
            "autoscaling_config": {
                "min_replicas": options.min_replicas,
                "max_replicas": options.max_replicas,
                "target_ongoing_requests": options.target_ongoing_requests,
                "upscale_delay_s": options.upscale_delay_s,
                "downscale_delay_s": options.downscale_delay_s,
            }
        }
    settings = options.settings
    replicas = serve.deployment(
        name="ziprerank",
        ray_actor_options={"num_cpus": options.cpus, "num_gpus": options.gpus},
        max_ongoing_requests=settings.queue,
        max_queued_requests=settings.queue,
        health_check_period_s=HEALTH_PERIOD,
        graceful_shutdown_timeout_s=settings.drain + 5,
        **scaling,
    )(Replica)
    ingress = serve.deployment(
        name="ingress",
        num_replicas=options.ingress_replicas,
        ray_actor_options={"num_cpus": options.ingress_cpus},
        max_ongoing_requests=MOST_REQUESTS,
        graceful_shutdown_timeout_s=settings.timeout + 5,  # by then each of its requests has an answer
    )(Ingress)
    application: Application = ingress.bind(replicas.bind(options), options.attempts, settings, options.log_level)
    return application
