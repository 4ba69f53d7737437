"""Tests of the chart, rendered by Helm's own library: Kubernetes accepts its output, and the pod is as documented."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import helm_python
import kubernetes_validate
import pytest
import yaml
from prometheus_client import generate_latest
from ziprerank.cli.serve import serve
from ziprerank.reranker import Reranker
from ziprerank.runtime.engine import parse_size
from ziprerank.serve.app import create_app
from ziprerank.serve.settings import Settings

CHART = Path(__file__).parents[2] / "deploy" / "helm" / "ziprerank"
CASES: dict[str, dict[str, Any]] = {
    "defaults": {},
    "keda": {"autoscaling": {"kind": "keda", "queueDepth": 3}, "podDisruptionBudget": {"enabled": True}},
    "hpa": {"autoscaling": {"kind": "hpa", "maxReplicas": 9}, "serviceMonitor": {"enabled": True}},
    "gpu": {"gpus": 1, "bundle": {"existingClaim": "models", "path": "8b"}, "settings": {"provider": "cuda"}},
    "all": {
        "apiKeys": {"existingSecret": "keys"},
        "serviceMonitor": {"enabled": True, "keySecret": "prometheus"},
        "drain": {"unlisted": 20, "accepted": 120},
        "settings": {"guard-metrics": True, "max-pages": 200, "max-image-pixels": 40000000, "log-level": "debug"},
        "image": {"pullSecrets": [{"name": "registry"}]},
        "nodeSelector": {"disk": "ssd"},
        "tolerations": [{"operator": "Exists"}],
        "podAnnotations": {"team": "search"},
        "service": {"type": "LoadBalancer", "port": 8080},
        "pageCache": {"size": "10Gi"},
    },
}
CUSTOM = ("ScaledObject", "ServiceMonitor")  # of KEDA and the Prometheus operator, so Kubernetes' schemas lack them

Manifests = dict[str, dict[str, Any]]


def render(values: dict[str, Any]) -> Manifests:
    """Renders the chart and returns its manifests by kind."""
    with helm_python.Chart.load(CHART) as chart:
        rendered = chart.render(values=values, name="docs", namespace="search")
    manifests = [yaml.safe_load(text) for name, text in rendered.items() if name.endswith(".yaml") and text.strip()]
    return {manifest["kind"]: manifest for manifest in manifests}


def pod(manifests: Manifests) -> dict[str, Any]:
    spec: dict[str, Any] = manifests["Deployment"]["spec"]["template"]["spec"]
    return spec


def variables(manifests: Manifests) -> dict[str, Any]:
    return {entry["name"]: entry.get("value", entry) for entry in pod(manifests)["containers"][0]["env"]}


@pytest.mark.parametrize("case", CASES)
def test_lint(case: str) -> None:
    report = helm_python.lint(CHART, CASES[case], strict=True)
    assert report["total_charts_linted"] == 1
    assert not report["errors"]
    assert [message for message in report["messages"] if message["severity"] >= 2] == []


@pytest.mark.parametrize("version", ["1.27.0", "1.37.0"])
@pytest.mark.parametrize("case", CASES)
def test_kubernetes_takes_the_manifests(case: str, version: str) -> None:
    manifests = render(CASES[case])
    assert {"Deployment", "Service"} <= set(manifests)
    for kind, manifest in manifests.items():
        if kind not in CUSTOM:
            kubernetes_validate.validate(manifest, version, strict=True)


def test_the_validation_can_fail() -> None:
    deployment = render({})["Deployment"]
    deployment["spec"]["template"]["spec"]["containers"][0]["readynessProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(deployment, "1.37.0", strict=True)


@pytest.mark.parametrize(
    "values",
    [
        {"replica": 2},
        {"autoscaling": {"kind": "vpa"}},
        {"settings": {"drain": 5}},
        {"settings": {"uds": "/tmp/http"}},  # the chart's probes and its service ask a port, without TLS
        {"settings": {"ssl-certfile": "cert.pem"}},
        {"drain": {"unlisted": -1}},
    ],
)
def test_values_that_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(helm_python.HelmError):
        render(values)


@pytest.mark.parametrize("case", CASES)
def test_the_pod(case: str) -> None:
    manifests = render(CASES[case])
    spec, (container,) = pod(manifests), pod(manifests)["containers"]
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert {"name": "scratch", "mountPath": "/tmp"} in container["volumeMounts"]
    assert "emptyDir" in next(volume for volume in spec["volumes"] if volume["name"] == "scratch")
    assert container["readinessProbe"]["httpGet"]["path"] == "/ready"
    assert container["livenessProbe"]["httpGet"]["path"] == "/health"
    (_, unlisted) = container["lifecycle"]["preStop"]["exec"]["command"]
    # the server gives up by itself when its time to drain is over and exits within 5 s, so it is never killed
    assert spec["terminationGracePeriodSeconds"] >= int(unlisted) + int(variables(manifests)["ZIPRERANK_DRAIN"]) + 5
    selector = manifests["Deployment"]["spec"]["selector"]["matchLabels"].items()
    assert selector <= manifests["Deployment"]["spec"]["template"]["metadata"]["labels"].items()
    assert manifests["Service"]["spec"]["selector"].items() == selector


@pytest.mark.parametrize("case", CASES)
def test_every_variable_is_one_of_the_command(case: str) -> None:
    known = {
        option.envvar
        for hint in get_type_hints(serve, include_extras=True).values()
        if get_origin(hint) is Annotated
        for option in get_args(hint)[1:]
    }
    assert "ZIPRERANK_QUEUE" in known
    assert len(known) == len(inspect.signature(serve).parameters)
    assert set(variables(render(CASES[case]))) <= known


def test_numbers_are_written_out() -> None:
    assert variables(render(CASES["all"]))["ZIPRERANK_MAX_IMAGE_PIXELS"] == "40000000"


def test_prometheus_sends_a_key_where_metrics_need_one() -> None:
    (plain,), (guarded,) = (render(CASES[case])["ServiceMonitor"]["spec"]["endpoints"] for case in ("hpa", "all"))
    assert "authorization" not in plain
    assert guarded["authorization"] == {"credentials": {"name": "prometheus", "key": "api-key"}}
    assert variables(render(CASES["all"]))["ZIPRERANK_GUARD_METRICS"] == "true"


def test_page_cache() -> None:
    manifests = render(CASES["all"])
    given = variables(manifests)
    assert parse_size(given["ZIPRERANK_PAGE_CACHE_SIZE"]) == 10 << 30
    assert {"name": "cache", "mountPath": given["ZIPRERANK_PAGE_CACHE"]} in pod(manifests)["containers"][0][
        "volumeMounts"
    ]
    assert {"name": "cache", "emptyDir": {}} in pod(manifests)["volumes"]


def test_gpus_and_bundles() -> None:
    manifests = render(CASES["gpu"])
    (container,) = pod(manifests)["containers"]
    assert container["resources"]["limits"] == {"memory": "4Gi", "nvidia.com/gpu": "1"}
    assert variables(manifests)["ZIPRERANK_BUNDLE"] == "/bundle/8b"
    assert {"name": "bundle", "mountPath": "/bundle", "readOnly": True} in container["volumeMounts"]


def test_scaling_by_queue_depth() -> None:
    service = create_app(Reranker.from_bundle(), Settings()).state.service
    exposed = generate_latest(service.metrics.registry).decode()
    hpa = render(CASES["hpa"])
    (metric,) = hpa["HorizontalPodAutoscaler"]["spec"]["metrics"]
    assert f"\n{metric['pods']['metric']['name']} " in exposed
    assert metric["pods"]["target"] == {"type": "AverageValue", "averageValue": "2"}
    keda = render(CASES["keda"])["ScaledObject"]["spec"]
    (trigger,) = keda["triggers"]
    name = trigger["metadata"]["query"].removeprefix("sum(").partition("{")[0]
    assert f"\n{name} " in exposed
    assert trigger["metadata"]["threshold"] == "3"
    assert keda["scaleTargetRef"]["name"] == hpa["Deployment"]["metadata"]["name"] == "docs-ziprerank"
    for manifests in (hpa, render(CASES["keda"])):
        assert "replicas" not in manifests["Deployment"]["spec"]  # an upgrade must not undo autoscaling
    assert render({})["Deployment"]["spec"]["replicas"] == 1
