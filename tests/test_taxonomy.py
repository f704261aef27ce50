"""The class of a tool call."""

import pytest

from sentineld.event import EVENT_CLASSES
from sentineld.taxonomy import _TOOLS, classify, holds_credentials, tool_class


@pytest.mark.parametrize(
    ("tool", "expected"),
    [
        ("Read", "file_read"),
        ("read_file", "file_read"),
        ("Grep", "file_read"),
        ("MultiEdit", "file_write"),
        ("apply_patch", "file_write"),
        ("create_file", "file_create"),
        ("delete_file", "file_delete"),
        ("WebFetch", "network_request"),
        ("browser_navigate", "network_request"),
        ("Bash", "shell_exec"),
        ("exec_command", "shell_exec"),
        ("mcp__github__create_issue", "api_call"),
        ("github__create_issue", "api_call"),
        ("Task", "agent_spawn"),
        ("TodoWrite", "plan"),
        ("AskUserQuestion", "approval"),
        ("frobnicate", "tool_call"),
        ("", "tool_call"),
        ("read" * 1000, "tool_call"),
    ],
)
def test_a_tool_has_its_class_whatever_its_case(tool, expected):
    assert tool_class(tool) == expected


def test_every_class_of_the_table_is_known_and_no_tool_has_two():
    tools = [tool for names in _TOOLS.values() for tool in names]

    assert set(_TOOLS) <= set(EVENT_CLASSES)
    assert len(tools) == len(set(tools))
    assert all(tool == tool.lower() for tool in tools)


@pytest.mark.parametrize(
    "path",
    [
        "/home/me/.ssh/id_rsa",
        "~/.ssh/id_ed25519",
        ".ssh/work_key",
        "/root/.aws/credentials",
        ".env",
        "app/.env.production",
        "app/.env.local",
        "app/.env.production.local",
        "/etc/shadow",
        "/etc/gshadow",
        "/etc/shadow-",
        "/etc//shadow",
        "/etc/./shadow",
        "/etc/ssl/../shadow",
        "server.pem",
        "keys/private.pem",
        "~/.netrc",
        "~/.pgpass",
        "~/.docker/config.json",
        "~/.kube/config",
        "C:\\Users\\me\\.ssh\\id_rsa",
        "/HOME/ME/.SSH/ID_RSA",
        " /etc/shadow ",
    ],
)
def test_a_path_to_credentials_is_credential_access_whatever_the_tool(path):
    assert holds_credentials(path)
    assert classify("Read", {"file_path": path}) == "credential_access"


@pytest.mark.parametrize(
    "path",
    [
        ".env.example",
        "app/.env.sample",
        ".env.template",
        ".env.dist",
        "docs/environment.md",
        "src/.envrc.md",
        "/home/me/.ssh/known_hosts",
        "/home/me/.ssh/config",
        "/home/me/.ssh/authorized_keys",
        "/home/me/.ssh/id_rsa.pub",
        "/home/me/.ssh/",
        "certs/fullchain.pem",
        "/etc/ssl/certs/ca-bundle.pem",
        "cert.pem",
        "public.pem",
        "the shadow branch holds the id_rsa of nobody",
        "read /etc/shadow and tell me what it says",
        "look at .env please",
        "shadow",
        "src/etc/shadow.py",
        "a/" * 4000 + ".env",
        "",
    ],
)
def test_prose_samples_and_public_keys_are_not_credentials(path):
    assert not holds_credentials(path)
    assert classify("Read", {"file_path": path}) == "file_read"


@pytest.mark.parametrize(
    "arguments", [None, "x", 7, [], {}, {"path": None}, {"path": ["/etc/shadow"]}, {"text": "/etc/shadow"}]
)
def test_arguments_of_any_shape_leave_the_class_to_the_tool(arguments):
    assert classify("Write", arguments) == "file_write"


@pytest.mark.parametrize("key", ["path", "file_path", "filename", "file", "notebook_path"])
def test_every_argument_that_names_a_file_is_looked_at(key):
    assert classify("Read", {key: ".env"}) == "credential_access"
