"""The dashboard by Grafana's own types, which npm has for each of its versions; needs npm and a network."""

import json
import shutil
import subprocess

import pytest

from sentineld.dashboard import dashboard

pytestmark = [
    pytest.mark.install,
    pytest.mark.skipif(
        shutil.which("npm") is None, reason="npm is not installed (Debian: apt-get install npm)"
    ),
]

#: A type of which JSON can be: an enumeration is one of its texts.
JSON_OF = (
    "type Json<T> = T extends string ? `${T}` : T extends number | boolean | null | undefined ? T "
    ": T extends object ? { [K in keyof T]: Json<T[K]> } : T;"
)


def source(document, package):
    """Return TypeScript that says of every part of a dashboard what it is; what is not known is an error."""
    lines = ["import type { Dashboard, Panel, RowPanel, VariableModel } from '@grafana/schema';", JSON_OF]
    kinds = {panel["type"] for panel in document["panels"]} - {"row"}
    for kind in sorted(kinds):
        # Packages hold the same types for each way of importing.
        types, *_ = package.glob(f"dist/**/composable/{kind}/panelcfg/x/*types.gen.d.ts")
        lines.append(f"import type * as {kind} from '{str(types).removesuffix('.d.ts')}';")

    def say(name, kind, value):
        lines.append(f"export const {name}: {kind} = {json.dumps(value)};")

    # Grafana asks by these when it imports, and keeps them not.
    say("whole", "Json<Dashboard>", {key: value for key, value in document.items() if key != "__inputs"})
    for panel in document["panels"]:
        number, kind = panel["id"], panel["type"]
        say(f"panel{number}", "Json<RowPanel>" if kind == "row" else "Json<Panel>", panel)
        if kind != "row":
            say(f"options{number}", f"Partial<Json<{kind}.Options>>", panel["options"])
            if custom := panel["fieldConfig"]["defaults"]["custom"]:
                say(f"custom{number}", f"Partial<Json<{kind}.FieldConfig>>", custom)
    for variable in document["templating"]["list"]:
        say(variable["name"], "Json<VariableModel>", variable)
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("version", ["12.0.0", "13.2.3"])
def test_the_dashboard_is_what_the_types_of_grafana_say(tmp_path, version):
    wanted = [f"@grafana/schema@{version}", "typescript@5.9.3"]
    subprocess.run(["npm", "init", "-y"], cwd=tmp_path, check=True, capture_output=True)
    install = ["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", *wanted]
    subprocess.run(install, cwd=tmp_path, check=True, capture_output=True)

    def problems(document):
        package = tmp_path / "node_modules" / "@grafana" / "schema"
        (tmp_path / "check.ts").write_text(source(document, package))
        options = ["--noEmit", "--strict", "--skipLibCheck", "--module", "esnext"]
        options += ["--moduleResolution", "bundler"]
        command = ["node_modules/.bin/tsc", *options, "check.ts"]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False).stdout

    assert problems(dashboard()) == ""
    slip, nonsense = dashboard(), dashboard()
    slip["panels"][1]["gridPosition"] = {}
    assert "gridPosition" in problems(slip)
    nonsense["panels"][1]["options"]["textMode"] = "loud"
    assert "loud" in problems(nonsense)
