"""``sentineld share grafana|alerts``: files for other programs, on stdout."""

import json

import click

from sentineld.cli.app import common, print_json
from sentineld.dashboard import dashboard, shared
from sentineld.errors import UsageError


@click.command(epilog="Example: sentineld share alerts > /etc/prometheus/rules/sentineld.yml")
@click.argument("name", required=False, metavar="{grafana|alerts}", type=click.Choice(["grafana", "alerts"]))
@common
def share(
    name: str | None,
    config_path: str | None,  # noqa: ARG001 (every command takes it)
    state_dir: str | None,  # noqa: ARG001
    as_json: bool,
) -> None:
    """Print a dashboard for Grafana, or alert rules for Prometheus.

    Both speak of the metrics that the daemon serves where [metrics] says so.
    """
    if name is None:
        raise UsageError("say what to print: grafana or alerts", hint="sentineld share alerts")
    form = {"grafana": "json", "alerts": "yaml"}[name]
    text = json.dumps(dashboard(), indent=2) + "\n" if name == "grafana" else shared("alerts.yml")
    if as_json:
        print_json({"name": name, "format": form, "text": text})
        return
    click.echo(text, nl=False)
