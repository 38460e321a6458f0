"""Names in PromQL expressions, as far as the dashboard and the rules use the language."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import yaml

INFRA = Path(__file__).parents[1] / "infra"
DASHBOARD, RULES = INFRA / "grafana/anon-batch.json", INFRA / "prometheus/anon-batch.rules.yaml"
_SELECTOR = re.compile(r"\b(ray_\w+)(?:\{([^}]*)\})?")
_MATCHER = re.compile(r"(\w+)\s*(?:=~|!~|!=|=)")
_GROUPING = re.compile(r"\b(?:by|without|on|ignoring)\s*\(([^)]*)\)")


def names_in(expression: str) -> dict[str, set[str]]:
    """Return metric -> labels that the expression needs of it; labels that it groups by are needed of each."""
    grouping = {name.strip() for found in _GROUPING.findall(expression) for name in found.split(",")}
    names: dict[str, set[str]] = {}
    for metric, matchers in _SELECTOR.findall(expression):
        names.setdefault(metric, set(grouping)).update(_MATCHER.findall(matchers))
    return names


def expressions() -> list[str]:
    """Return all expressions of dashboard and rules."""
    dashboard: dict[str, Any] = json.loads(DASHBOARD.read_text())
    rules = yaml.safe_load(RULES.read_text())
    found = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ())]
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            selector, label = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["query"]["query"]).groups()
            found.append(f"count by ({label}) ({selector})")
    return found + [rule["expr"] for group in rules["groups"] for rule in group["rules"]]
