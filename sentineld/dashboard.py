"""Dashboard: a document for Grafana, made of ``share/dashboard.toml``, which says what it draws.

Grafana asks where to get the data when the dashboard is imported; two variables choose job and instance.
"""

import tomllib
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

#: The labels that the dashboard's variables choose.
WHERE = 'job=~"$job", instance=~"$instance"'
_DATASOURCE = {"type": "prometheus", "uid": "${DS_PROMETHEUS}"}
_GRID = 24
_HEIGHTS = {"stat": 4, "table": 6}


def shared(name: str) -> str:
    """Return the text of a file that is shipped to be shared."""
    return files("sentineld").joinpath("share", name).read_text(encoding="utf-8")


def dashboard() -> dict[str, Any]:
    """Return the document that Grafana imports (schema version 39, Grafana 10 and later)."""
    told = tomllib.loads(shared("dashboard.toml"))
    panels: list[dict[str, Any]] = []
    y = 0
    for row in told["row"]:
        panels.append(
            {
                "id": len(panels) + 1,
                "type": "row",
                "title": row["title"],
                "collapsed": False,
                "gridPos": {"x": 0, "y": y, "w": _GRID, "h": 1},
                "panels": [],
            }
        )
        x, y, height = 0, y + 1, 0
        for item in row["panel"]:
            if x + item["width"] > _GRID:
                x, y, height = 0, y + height, 0
            height = max(height, _HEIGHTS.get(item["kind"], 8))
            panels.append(_panel(item, len(panels) + 1, x, y))
            x += item["width"]
        y += height
    return {
        "__inputs": [
            {
                "name": "DS_PROMETHEUS",
                "label": "Prometheus",
                "type": "datasource",
                "pluginId": "prometheus",
                "pluginName": "Prometheus",
            }
        ],
        "title": told["title"],
        "uid": told["uid"],
        "description": told["description"],
        "tags": ["sentineld"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "timezone": "browser",
        "templating": {"list": [_variable("job", ""), _variable("instance", '{job=~"$job"}')]},
        "panels": panels,
    }


def _panel(item: Mapping[str, Any], number: int, x: int, y: int) -> dict[str, Any]:
    kind, unit = item["kind"], item.get("unit", "short")
    steps = [{"color": "green", "value": None}]
    steps += [{"color": step["color"], "value": step["at"]} for step in item.get("thresholds", ())]
    custom: dict[str, Any] = {}
    options: dict[str, Any] = {}
    if kind == "timeseries":
        custom = {"fillOpacity": 20 if item.get("stack") else 5, "showPoints": "never"}
        custom["stacking"] = {"mode": "normal" if item.get("stack") else "none"}
        legend = {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []}
        options = {"tooltip": {"mode": "multi", "sort": "desc"}, "legend": legend}
    elif kind == "stat":
        options = {
            "textMode": item.get("text", "auto"),
            "colorMode": "value",
            "graphMode": "none",
            "justifyMode": "auto",
            "orientation": "auto",
            "reduceOptions": {"calcs": ["lastNotNull"]},
        }
    elif kind == "heatmap":
        options = {
            "calculate": False,
            "yAxis": {"unit": unit},
            "color": {
                "mode": "scheme",
                "scheme": "Oranges",
                "fill": "orange",
                "exponent": 0.5,
                "steps": 64,
                "reverse": False,
            },
            "exemplars": {"color": "orange"},
            "legend": {"show": True},
            "showValue": "never",
        }
    elif kind == "table":
        options = {"frameIndex": 0, "showHeader": True}
    return {
        "id": number,
        "type": kind,
        "title": item["title"],
        "description": item.get("description", ""),
        "datasource": _DATASOURCE,
        "gridPos": {"x": x, "y": y, "w": item["width"], "h": _HEIGHTS.get(kind, 8)},
        "fieldConfig": {
            "defaults": {
                "unit": unit,
                "min": 0,
                "custom": custom,
                "thresholds": {"mode": "absolute", "steps": steps},
            },
            "overrides": [
                {
                    "matcher": {"id": "byFrameRefID", "options": _letter(number)},
                    "properties": [{"id": "unit", "value": query["unit"]}],
                }
                for number, query in enumerate(item["queries"])
                if "unit" in query
            ],
        },
        "options": options,
        "targets": [
            {
                "refId": _letter(number),
                "datasource": _DATASOURCE,
                "expr": query["expr"].replace("$where", WHERE),
                "legendFormat": query["legend"],
                "instant": kind in ("stat", "table"),
                "range": kind not in ("stat", "table"),
                "format": {"heatmap": "heatmap", "table": "table"}.get(kind, "time_series"),
            }
            for number, query in enumerate(item["queries"])
        ],
    }


def _letter(number: int) -> str:
    return "ABCDEFGH"[number]


def _variable(label: str, among: str) -> dict[str, Any]:
    query = f"label_values(sentineld_build_info{among}, {label})"
    return {
        "name": label,
        "type": "query",
        "datasource": _DATASOURCE,
        "query": {"query": query, "refId": label},
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": ["All"], "value": ["$__all"]},
    }
