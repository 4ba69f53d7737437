"""The HTTP service as a Ray Serve application, with autoscaled replicas on CPUs or shares of a GPU (extra ``ray``).

Requests arrive at a separate deployment (ray_ingress.py), which outlives the replicas.

Start it with ``serve run ziprerank.scale.ray_serve:build KEY=VALUE``, or with ``import_path`` and ``args`` in a config
file.
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

# Ray's proxy holds the connections of clients, with options of its own.
_OF_CONNECTIONS = {
    "max_connections",
    "max_connections_per_address",
    "header_timeout",
    "answer_timeout",
    "keep_alive",
    "uds",
    "ssl_certfile",
    "ssl_keyfile",
}
_OF_DOCUMENTS = {"max_stored_bytes", "max_stored_bytes_per_key", "keep_stored"}
_KNOWN = {field.name for field in fields(Settings)} - _OF_CONNECTIONS - _OF_DOCUMENTS - {"root_path"}


class Options(EngineFields):
    """The operator's options: those of ``EngineOptions``, of the replicas, and the service's ``settings``.

    ``bundle`` and ``page_cache`` are paths that must exist on every machine. ``threads`` 0 means as many as ``cpus``.
    """

    model_config = ConfigDict(extra="forbid")

    log_level: str = Field("info", description="'debug', 'info', 'warning' or 'error'.")

    cpus: float = Field(1, gt=0, description="CPUs of each replica.")
    gpus: float = Field(0, ge=0, description="GPUs of each replica; 0.5 lets two replicas share one.")
    replicas: int | None = Field(None, ge=1, description="Fixed number of replicas; null scales them by load.")
    min_replicas: int = Field(1, ge=0, description="Fewest replicas when they scale by load.")
    max_replicas: int = Field(4, ge=1, description="Most replicas when they scale by load.")
    target_ongoing_requests: float = Field(
        2,
        gt=0,
        description="Average requests per replica above which Ray adds one; of 2, one is ranked and one prepared.",
    )
    upscale_delay_s: float = Field(10, ge=0, description="Seconds of high load before Ray adds a replica.")
    downscale_delay_s: float = Field(300, ge=0, description="Seconds of low load before Ray removes a replica.")

    attempts: int = Field(
        3, ge=1, description="Most replicas that a request is sent to, one after another as they die; 1 never repeats."
    )
    ingress_replicas: int = Field(
        2, ge=1, description="Processes without an engine that hold requests while the replicas answer them."
    )
    ingress_cpus: float = Field(0, ge=0, description="CPUs that Ray reserves for each of these processes.")

    settings: Settings = Field(Settings(), description="Limits and options of the service.")

    @field_validator("settings", mode="before")
    @classmethod
    def _known(cls, value: Any) -> Any:
        given = set(value) if isinstance(value, dict) else set()
        if of_connections := sorted(given & _OF_CONNECTIONS):
            raise ValueError(
                f"settings: {', '.join(of_connections)} would do nothing here, since Ray's proxy holds the connections "
                "of clients: set Ray Serve's http_options"
            )
        if of_documents := sorted(given & _OF_DOCUMENTS):
            raise ValueError(
                f"settings: {', '.join(of_documents)} would do nothing here, since no replica knows what another one "
                "keeps: leave it out, and have clients send files with each request"
            )
        if "root_path" in given:
            raise ValueError("settings: root_path would do nothing here: set the application's route_prefix")
        unknown = sorted(given - _KNOWN)
        if unknown:
            raise ValueError(f"settings has no {', '.join(unknown)}: known settings are {', '.join(sorted(_KNOWN))}")
        return value


class Replica:
    """The service with its own engine, called by the ingress."""

    async def __init__(self, options: Options) -> None:  # type: ignore[misc]  # Ray awaits it
        start_logging(options.log_level)
        engine = options.engine_options()
        if engine.threads == 0:
            engine = replace(engine, threads=max(1, int(options.cpus)))
        settings = replace(options.settings, max_stored_bytes=0)  # the next request may meet another replica
        self._app = create_app(Reranker.from_options(engine), settings)
        self._lifespan = self._app.router.lifespan_context(self._app)
        await self._lifespan.__aenter__()

    async def __del__(self) -> None:  # Ray awaits it when the requests are done
        await self._lifespan.__aexit__(None, None, None)

    async def answer(self, scope: Scope, body: bytes) -> Answer:
        """Answers one HTTP request."""
        return await run_app(self._app, scope, body)


def build(options: Options) -> Application:
    """Builds the Ray Serve application.

    Ray keeps at most ``settings.queue`` requests in a replica and as many again waiting at each ingress, and answers
    503 to more. A replica that is stopped has ``settings.drain`` seconds to answer its requests.

    Args:
        options: The engine, the replicas and the service's settings.

    Returns:
        The application, for ``serve run`` or ``ray.serve.run``.
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
        graceful_shutdown_timeout_s=settings.longest + 5,  # by then it has answered all its requests
    )(Ingress)
    application: Application = ingress.bind(replicas.bind(options), options.attempts, settings, options.log_level)
    return application
