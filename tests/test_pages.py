"""The documentation: what it shows is there, and is what the program understands."""

import ast
import json
import tomllib

import click
import pytest
from pages import PAGES, ROOT, blocks, invocations

from sentineld.cli.app import COMMANDS, cli
from sentineld.cli.gate import make_parser as gate_parser
from sentineld.cli.tier import make_parser as tier_parser

BLOCKS = [block for page in PAGES for block in blocks(page)]


def of(*languages):
    return [block for block in BLOCKS if block.language in languages]


COMMANDS_SHOWN = [
    pytest.param(words, id=f"{block} {' '.join(words)[:60]}")
    for block in of("sh", "console")
    for words in invocations(block)
]


def test_the_pages_show_what_is_looked_for():
    assert len(COMMANDS_SHOWN) > 30
    assert {"README.md", "tutorial.md", "operations.md"} <= {block.page.name for block in of("sh", "console")}


@pytest.mark.parametrize("words", COMMANDS_SHOWN)
def test_every_command_that_is_shown_is_one(words):
    early = {"tier": tier_parser, "gate": gate_parser}
    if words[:1] and words[0] in early:
        early[words[0]]().parse_args(words[1:])
        return
    with click.Context(cli) as context:
        command, rest = cli, words
        while isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
            assert command is not cli or rest[0] in COMMANDS
            found = command.get_command(context, rest[0])
            assert found is not None, f"there is no command {rest[0]}"
            command, rest = found, rest[1:]
        with pytest.raises(click.exceptions.Exit) if "--help" in rest else context.scope():
            command.make_context(" ".join(words), list(rest), parent=context)


@pytest.mark.parametrize("block", of("json"), ids=str)
def test_json_that_is_shown_is_some(block):
    try:
        json.loads(block.text)
    except ValueError:
        for line in block.text.splitlines():
            json.loads(line)


@pytest.mark.parametrize("block", of("toml"), ids=str)
def test_toml_that_is_shown_is_some(block):
    assert tomllib.loads(block.text)


@pytest.mark.parametrize("block", of("python"), ids=str)
def test_python_that_is_shown_is_some(block):
    assert ast.parse(block.text).body


def test_every_page_of_the_site_is_in_its_contents():
    contents = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    listed = {line.strip() for line in contents.splitlines()}
    assert {page.stem for page in PAGES if page.parent.name == "docs"} - {"index"} <= listed
