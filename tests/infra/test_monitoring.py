"""The dashboard is one that Grafana reads; Prometheus reads the rules, and each alert comes when it should."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import external_data
import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard
from promql import DASHBOARD, INFRA, RULES, names_in

from anon_batch.cluster.metrics import METRICS

UNIT_TESTS = Path(__file__).with_name("anon-batch.rules.test.yaml")
promtool = external_data.needs_tool("promtool", "prometheus")


@pytest.fixture(scope="module")
def dashboard() -> dict[str, Any]:
    return json.loads(DASHBOARD.read_text())


def _panels(dashboard: dict[str, Any]) -> list[dict[str, Any]]:
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def test_grafanas_own_types_know_every_key_of_the_dashboard(dashboard: dict[str, Any]) -> None:
    register_default_plugins()
    read = Dashboard.from_json(json.loads(DASHBOARD.read_text()))  # from_json changes what it gets
    written = json.loads(JSONEncoder().encode(read))
    assert dashboard == _common(written, dashboard), "a key that Grafana does not know is lost"


def _common(written: Any, ours: Any) -> Any:
    """Return `written` without the keys that `ours` does not have, because defaults are added."""
    if isinstance(ours, dict):
        return {key: _common(written[key], value) for key, value in ours.items() if key in written}
    if isinstance(ours, list):
        return [_common(one, other) for one, other in zip(written, ours, strict=True)]
    return written


def test_every_panel_has_a_title_a_unit_and_the_chosen_data_source(dashboard: dict[str, Any]) -> None:
    assert (dashboard["title"], dashboard["uid"]) == ("anon-batch", "anon-batch")
    panels = _panels(dashboard)
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
    for panel in panels:
        assert panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert panel["targets"]
        assert {target["datasource"]["uid"] for target in panel["targets"]} == {"${datasource}"}


def test_no_panel_lies_on_another(dashboard: dict[str, Any]) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert at["x"] + at["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells


def test_every_metric_is_on_the_dashboard(dashboard: dict[str, Any]) -> None:
    shown = {name for panel in _panels(dashboard) for target in panel["targets"] for name in names_in(target["expr"])}
    endings = {"counter": "_total", "histogram": "_bucket", "gauge": ""}
    assert {f"ray_anon_batch_{name}{endings[metric.kind]}" for name, metric in METRICS.items()} <= shown


def test_legends_name_labels_of_their_expression(dashboard: dict[str, Any]) -> None:
    for panel in _panels(dashboard):
        for target in panel["targets"]:
            for label in re.findall(r"{{(\w+)}}", target["legendFormat"]):
                assert label == "instance" or re.search(rf"\b{label}\b", target["expr"]), panel["title"]


def test_every_alert_has_a_unit_test() -> None:
    alerts = {rule["alert"] for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]}
    tested = {
        case["alertname"]
        for test in yaml.safe_load(UNIT_TESTS.read_text())["tests"]
        for case in test["alert_rule_test"]
        if case["exp_alerts"]
    }
    assert tested == alerts


@promtool
@pytest.mark.parametrize(
    "arguments",
    [
        ("check", "rules", str(RULES)),
        ("check", "config", str(INFRA / "prometheus/prometheus.yaml")),
        ("test", "rules", str(UNIT_TESTS)),
    ],
)
def test_prometheus_reads_the_rules_and_each_alert_comes_when_it_should(arguments: tuple[str, ...]) -> None:
    done = subprocess.run(["promtool", *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "SUCCESS" in done.stdout + done.stderr


def test_the_prometheus_operator_finds_the_pods_of_the_shipped_job_and_may_reach_them() -> None:
    monitor = yaml.safe_load((INFRA / "prometheus/podmonitor.yaml").read_text())
    documents = list(yaml.safe_load_all((INFRA / "rayjob.yaml").read_text()))
    [policy] = [own for own in documents if own["kind"] == "NetworkPolicy"]
    [job] = [own for own in documents if own["kind"] == "RayJob"]
    cluster = job["spec"]["rayClusterSpec"]
    selected = monitor["spec"]["selector"]["matchLabels"].items()
    assert monitor["metadata"]["namespace"] == job["metadata"]["namespace"]
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        assert selected <= group["template"]["metadata"]["labels"].items()
        for container in group["template"]["spec"]["containers"]:
            ports = {port["name"] for port in container.get("ports", [{"name": "metrics"}])}
            assert monitor["spec"]["podMetricsEndpoints"][0]["port"] in ports, (
                "KubeRay adds it only where no port is named"
            )
    assert any({"port": 8080} in rule.get("ports", ()) for rule in policy["spec"]["ingress"])
