"""The house keeps its floors: who may import whom, what the pure core may touch, what a router costs."""

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "sentineld"

#: Floor of every module. 0: vocabulary; 1: pure core; 2: edges; 3: the line; 4: faces; "island": see below.
FLOORS = {
    "": 0,
    "version": 0,
    "errors": 0,
    "tier": 0,
    "instant": 0,
    "pause": 0,
    "event": 0,
    "decision": 0,
    "proposal": 0,
    "integrity": 1,
    "decode": 1,
    "framing": 1,
    "mapping": 1,
    "selector": 1,
    "condition": 1,
    "knowledge": 1,
    "codegen": 1,
    "expression": 1,
    "dispatch": 1,
    "declaration": 1,
    "names": 1,
    "reading": 1,
    "emission": 1,
    "walk": 1,
    "shapes": 1,
    "values": 1,
    "path_glob": 1,
    "memory": 1,
    "masking": 1,
    "recognition": 1,
    "native": 1,
    "rows": 1,
    "ids": 1,
    "taxonomy": 1,
    "tools": 1,
    "arguments": 1,
    "commands": 1,
    "verbs": 1,
    "shell": 1,
    "entities": 1,
    "credentials": 1,
    "kernel": 1,
    "entropy": 1,
    "window": 1,
    "profile": 1,
    "prognostics": 1,
    "monitor": 1,
    "policy": 1,
    "step": 1,
    "numbering": 1,
    "calibration": 1,
    "e_detector": 1,
    "session": 1,
    "learned": 1,
    "habits": 1,
    "scoring": 1,
    "features": 1,
    "detectors": 1,
    "rules": 1,
    "detection": 1,
    "starter": 1,
    "baseline": 1,
    "tuning": 1,
    "trail": 1,
    "forecasts": 3,
    "forecaster": 2,
    "wishes": 1,
    "batch": 1,
    "trust": 1,
    "explain": 1,
    "visible": 1,
    "clock": 2,
    "identity": 2,
    "evidence": 2,
    "quota": 2,
    "tree": 2,
    "lines": 2,
    "stream": 2,
    "documents": 2,
    "content": 2,
    "zstd": 2,
    "compressed": 2,
    "unreadable": 2,
    "files": 2,
    "rotation": 2,
    "cuts": 2,
    "copies": 2,
    "successors": 2,
    "audit": 2,
    "isolation": 2,
    "inotify": 2,
    "watch": 2,
    "tail": 2,
    "store": 2,
    "database": 2,
    "tables": 2,
    "published_file": 2,
    "keys": 2,
    "signed_document": 2,
    "state_file": 2,
    "override": 2,
    "high_water": 2,
    "state_reader": 2,
    "keyring": 2,
    "journal": 2,
    "journal_reader": 2,
    "markup": 1,
    "telling": 1,
    "notices": 1,
    "targets": 2,
    "notifier": 3,
    "retention": 2,
    "backup": 2,
    "recovery": 2,
    "requests": 2,
    "rejects": 2,
    "mapping_files": 2,
    "formats": 2,
    "places": 2,
    "claims": 2,
    "options": 2,
    "toml_text": 1,
    "config": 2,
    "paths": 2,
    "settings": 2,
    "statedir": 2,
    "signals": 2,
    "log": 2,
    "sd_notify": 2,
    "incidents": 3,
    "gate": 2,
    "denials": 3,
    "teaching": 3,
    "operators": 3,
    "baselines": 3,
    "starters": 2,
    "roster": 3,
    "schedule": 3,
    "roots": 2,
    "glance": 2,
    "catch_up": 1,
    "throttle": 1,
    "pressure": 2,
    "governor": 2,
    "intake": 3,
    "publisher": 3,
    "meter": 2,
    "metrics": 3,
    "metrics_text": 3,
    "metrics_endpoint": 2,
    "metrics_exporter": 3,
    "dashboard": 2,
    "outlet": 3,
    "pipeline": 3,
    "quarantine": 3,
    "control": 3,
    "spool": 2,
    "archive": 3,
    "replay": 3,
    "trial": 3,
    "views": 3,
    "scoreboard": 3,
    "service": 3,
    "sentinel": 3,
    "doctor": 3,
    "demo": 4,
    "cli": 4,
    "report": 4,
    "__main__": 4,
}
#: What the router, which starts inside of other people's processes, may import of ours.
ISLANDS = {
    "router": {
        "",
        "version",
        "errors",
        "tier",
        "instant",
        "event",
        "decision",
        "proposal",
        "published_file",
        "keys",
        "signed_document",
        "state_file",
        "override",
        "high_water",
        "state_reader",
        "clock",
    }
}

#: Imports that break a rule, each with its reason.
EXCEPTIONS = {
    ("event", "sentineld.clock"): "an event made without a timestamp happened now",
    (
        "event",
        "sentineld.entropy",
    ): "BehavioralEvent.calculate_entropy; imported late, so that a router needs no numpy",
    ("proposal", "sentineld.clock"): "a proposal made without a time was made now",
    ("profile", "sentineld.clock"): "a profile made without times begins now",
    ("monitor", "sentineld.clock"): "record_event without a time, and no clock given, means now",
    ("monitor", "uuid"): "record_event gives its events ids; the pure face has none",
    ("kernel", "os"): "which of two forms runs, read once at the start; both give the same bits",
    ("", "importlib"): "public names load on first use",
}

#: The standard library that vocabulary and core may use: nothing that reads the world.
PURE = {
    "array", "ast", "bisect", "collections", "dataclasses", "datetime", "enum", "functools", "hashlib",
    "contextlib", "difflib", "fnmatch", "itertools", "json", "math", "operator", "re", "struct", "typing",
}  # fmt: skip
#: Other libraries that the core may use: they compute, and touch nothing.
COMPUTING = {"msgspec", "numpy", "unicodedata", "zlib"}

MODULES = sorted(
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix("__init__").rstrip(".")
    for path in PACKAGE.rglob("*.py")
)


def floor_of(module):
    return FLOORS.get(module, FLOORS.get(module.split(".")[0]))


def source_of(module):
    path = PACKAGE.joinpath(*module.split(".")) if module else PACKAGE
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


@cache
def imports_of(module):
    """Every module that is imported anywhere in the file, at its top or late; not those for types only."""
    tree = ast.parse(source_of(module).read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative import"
            if node.module == "sentineld":
                found |= {
                    f"sentineld.{a.name}" if source_of(a.name).exists() else "sentineld" for a in node.names
                }
            else:
                found.add(node.module)
    return found


def forbidden_imports(module, is_allowed):
    return sorted(
        name for name in imports_of(module) if not is_allowed(name) and (module, name) not in EXCEPTIONS
    )


def is_ours(name):
    return name == "sentineld" or name.startswith("sentineld.")


def inside(name):
    return name.removeprefix("sentineld").removeprefix(".")


def test_every_module_has_a_floor():
    assert [module for module in MODULES if floor_of(module) is None and module not in ISLANDS] == []


@pytest.mark.parametrize("module", [module for module in MODULES if floor_of(module) is not None])
def test_a_module_imports_from_its_own_floor_and_from_lower_ones_only(module):
    def is_allowed(name):
        return (
            not is_ours(name)
            or (inside(name) in ISLANDS and floor_of(module) >= 3)
            or (floor_of(inside(name)) is not None and floor_of(inside(name)) <= floor_of(module))
        )

    assert forbidden_imports(module, is_allowed) == []


@pytest.mark.parametrize("module", [module for module in MODULES if floor_of(module) in (0, 1)])
def test_vocabulary_and_core_import_nothing_that_reads_the_world(module):
    libraries = PURE if floor_of(module) == 0 else PURE | COMPUTING

    assert forbidden_imports(module, lambda name: is_ours(name) or name.split(".")[0] in libraries) == []


@pytest.mark.parametrize("module", [module for module in MODULES if floor_of(module) in (0, 1)])
def test_vocabulary_and_core_call_nothing_that_reads_the_world(module):
    tree = ast.parse(source_of(module).read_text())
    called = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}

    assert (
        called & {"open", "print", "input", "datetime.now", "datetime.today", "datetime.utcnow", "__import__"}
        == set()
    )


@pytest.mark.parametrize(("island", "neighbours"), ISLANDS.items())
def test_an_island_imports_its_few_neighbours_and_the_standard_library_only(island, neighbours):
    def is_allowed(name):
        return inside(name) in neighbours if is_ours(name) else name.split(".")[0] in sys.stdlib_module_names

    assert forbidden_imports(island, is_allowed) == []


@pytest.mark.parametrize("module", sorted(m for m in ISLANDS["router"] if FLOORS[m] == 2))
def test_what_an_island_stands_on_needs_the_standard_library_only(module):
    def is_allowed(name):
        if is_ours(name):
            return inside(name) in ISLANDS["router"]
        # Whether cryptography is imported late enough is tested below, by importing.
        return name.split(".")[0] in sys.stdlib_module_names or name.split(".")[0] == "cryptography"

    assert forbidden_imports(module, is_allowed) == []


def test_every_exception_is_still_needed():
    stale = [pair for pair in EXCEPTIONS if pair[1] not in imports_of(pair[0])]

    assert stale == []


def test_core_modules_do_not_import_each_other_in_a_circle():
    graph = {
        module: {
            inside(name) for name in imports_of(module) if is_ours(name) and (module, name) not in EXCEPTIONS
        }
        for module in MODULES
        if floor_of(module) in (0, 1)
    }
    while free := {module for module, others in graph.items() if not others & graph.keys() - {module}}:
        graph = {module: others for module, others in graph.items() if module not in free}

    assert graph == {}


HEAVY = (
    "click",
    "cryptography",
    "msgspec",
    "structlog",
    "numpy",
    "watchdog",
    "sqlite3",
    "rich",
    "daemon",
    "prometheus_client",
    "logging.config",
    "urllib.request",
    "sentineld.config",
    "sentineld.options",
    "curses",
)


@pytest.mark.parametrize(
    "module", ["sentineld.router", "sentineld.cli.tier", "sentineld.cli.gate", "sentineld"]
)
def test_a_router_and_the_tier_command_start_without_the_daemons_libraries(module):
    program = f"import sys, {module}; print(*[name for name in {HEAVY!r} if name in sys.modules])"

    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert loaded.stdout.split() == []


def test_asking_for_a_tier_router_by_its_public_name_costs_no_more():
    program = (
        "import sys, sentineld; sentineld.TierRouter(); "
        f"print(*[name for name in {HEAVY!r} if name in sys.modules])"
    )

    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert loaded.stdout.split() == []
