"""Configuration: every option declared once, valid by default, read by something, refused when wrong."""

import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from sentineld.config import (
    Change,
    Config,
    Option,
    changes,
    check_owner,
    duration_text,
    key_file_path,
    load_config,
    masked,
    options,
    starter,
    tables,
)
from sentineld.decode import Decoded
from sentineld.errors import AccessError, ConfigError
from sentineld.options import Duration, TelemetryOptions, parse_duration

ROOT = Path(__file__).parent.parent
OPTIONS = list(options())
WRONG = {"text": "5", "whole number": '"many"', "number": '"much"', "duration": '"soon"', "list of text": "5"}


def value_of(config: Config, key: str) -> object:
    value: object = config
    for name in key.split("."):
        value = getattr(value, name)
    return value


def toml(option: Option, value: str) -> str:
    section, _, name = option.key.rpartition(".")
    return (f"[{section}]\n" if section else "") + f"{name} = {value}\n"


def example(option: Option) -> str:
    text = option.example
    if isinstance(text, bool):
        return str(text).lower()
    if isinstance(text, list):
        return "[" + ", ".join(f'"{item}"' for item in text) + "]"
    return f'"{text}"' if isinstance(text, str) else str(text)


@pytest.fixture
def write(tmp_path):
    def make(text: str) -> str:
        path = tmp_path / "sentineld.toml"
        path.write_text(text)
        return str(path)

    return make


def test_the_defaults_are_valid_and_no_file_is_needed():
    assert load_config(None, {}) == Config()


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.key)
def test_every_option_has_a_sentence_and_an_example_that_is_accepted(option, write):
    assert option.description.endswith(".")
    load_config(write(toml(option, example(option))), {})


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.key)
def test_every_option_refuses_a_wrong_type_and_names_file_and_key(option, write):
    path = write(toml(option, WRONG.get(option.type_name, "5")))
    with pytest.raises(ConfigError) as caught:
        load_config(path, {})

    line = 2 if "." in option.key else 1
    assert str(caught.value).startswith(f"{path}:{line}: {option.key}: ")
    assert caught.value.hint


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.key)
def test_every_option_refuses_a_misspelt_name_and_tells_the_right_one(option, write):
    section, _, name = option.key.rpartition(".")
    path = write((f"[{section}]\n" if section else "") + f"{name}x = 1\n")
    with pytest.raises(ConfigError) as caught:
        load_config(path, {})

    assert re.search(f"^{re.escape(path)}:[12]: unknown option {option.key}x$", str(caught.value))
    assert caught.value.hint == f"did you mean {option.key}?"


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.key)
def test_the_environment_overrides_the_file_and_flags_override_that(option, write):
    values = option.example if isinstance(option.example, list) else [str(option.example)]
    by_environment = load_config(write(""), {option.variable: os.pathsep.join(values)})
    by_file = load_config(write(toml(option, example(option))), {})
    assert value_of(by_environment, option.key) == value_of(by_file, option.key)

    by_flag = load_config(write(""), {option.variable: os.pathsep.join(values)}, {option.key: option.default})
    assert value_of(by_flag, option.key) == option.default


@cache
def names_that_are_read():
    """Return what the source reads of anything that holds options."""
    code = "\n".join(path.read_text() for path in (ROOT / "sentineld").rglob("*.py"))
    tables = "config|detection|state|telemetry|recovery|identity|limits|"
    tables += "log|gate|metrics|options|chosen|prognostics|self"
    # Matches overlap: self.config.mode is two.
    return {*re.findall(rf"(?=(?:{tables})\.(\w+))", code)}


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.key)
def test_every_option_is_read_by_something(option):
    assert option.key.rpartition(".")[2] in names_that_are_read(), option.key


def test_urls_in_the_environment_keep_their_colons():
    env = {"SENTINELD_NOTIFY_APPRISE": "json://u:p@host:8080/x:ntfys://host/y"}

    assert load_config(None, env).notify.apprise == ["json://u:p@host:8080/x", "ntfys://host/y"]


@pytest.mark.parametrize(
    ("env", "name"),
    [
        ({"SENTINELD_MODE": "maybe"}, "SENTINELD_MODE"),
        ({"SENTINELD_LIMITS_FILES": "many"}, "SENTINELD_LIMITS_FILES"),
    ],
)
def test_an_error_in_the_environment_names_the_variable(write, env, name):
    with pytest.raises(ConfigError, match=f"^{name}"):
        load_config(write(""), env)


@pytest.mark.parametrize(
    ("text", "words", "hint"),
    [
        ("mode = 'enforced'", 'allowed: "enforce", "observe"', 'mode = "enforce"'),
        ("mode = 'observed'", 'allowed: "observe", "enforce"', 'mode = "observe"'),
        ("mode = observe", ":1: ", 'text needs quotes: mode = "..."'),
        ("[state]\nvalid_for = 30s", ":2: ", 'text needs quotes: valid_for = "..."'),
        ("[telemetry]\ndirectories = [/a]", ":2: ", 'text needs quotes: directories = ["..."]'),
        ("[telemetry]\ndirectories = [\n/a]", ":3: ", 'text needs quotes: "..."'),
        ('mode = "observe\n', ":1: ", "close the quotes in line 1"),
        ("[detection]\nstarter = True", ":2: ", "starter = true"),
    ],
)
def test_a_value_that_is_refused_is_answered_with_one_that_is_not(write, text, words, hint):
    with pytest.raises(ConfigError) as caught:
        load_config(write(text), {})

    assert words in str(caught.value)
    assert caught.value.hint == hint


FAULTY = """
mode = "observ"
[[telemetry.sources]]
path = "**"
[[telemetry.sources]]
path = "a/*"
identty = "path"
[limits]
files = "many"
file = 5
[notfy]
webhook = "x"
[throttle]
hold = "20ms"
"""


def test_every_fault_is_told_at_once_by_line_with_what_is_right(write):
    path = write(FAULTY)
    with pytest.raises(ConfigError) as caught:
        load_config(path, {"SENTINELD_STATE_VALID_FOR": "1ms"})

    first = caught.value
    assert [(fault.line, fault.key, fault.hint) for fault in (first, *first.others)] == [
        (0, "state.valid_for", "the default is 30s"),
        (2, "mode", 'mode = "observe"'),
        (7, "telemetry.sources[1].identty", "did you mean identity?"),
        (9, "limits.files", "files = 100000"),
        (10, "limits.file", "did you mean limits.files?"),
        (11, "notfy", "did you mean [notify]?"),
        (14, "throttle.hold", "the default is 30s"),
    ]
    assert [fault.file for fault in first.others] == [path] * 6
    assert str(first).startswith("SENTINELD_STATE_VALID_FOR: state.valid_for must be")
    assert str(first.others[3]) == f"{path}:10: unknown option limits.file"


def test_a_wrong_type_is_told_in_the_words_of_the_reference(write):
    with pytest.raises(ConfigError, match=r"state\.valid_for: expected a duration such as 30s"):
        load_config(write("[state]\nvalid_for = []"), {})
    with pytest.raises(ConfigError, match=r"limits\.files: expected a whole number, not text"):
        load_config(write('[limits]\nfiles = "many"'), {})


def test_an_error_in_a_list_names_the_element(write):
    with pytest.raises(ConfigError, match=r"telemetry\.directories\[1\]"):
        load_config(write('[telemetry]\ndirectories = ["/a", 5]'), {})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[detection]\nfile_weight = 0.9", "detection"),
        ("[detection]\nfile_weight = nan", "detection"),
        ("[detection]\nsuspicious_threshold = 0.9", "detection"),
        ("[detection]\nwindow = '-5s'", "detection.window"),
        ("[recovery]\nquiet_time = 0", "recovery.quiet_time"),
        ("[recovery]\nquiet_time = inf", "recovery.quiet_time"),
        ("[recovery]\nquiet_time = true", "recovery.quiet_time"),
        ("[state]\nvalid_for = '500ms'", "state.valid_for"),
        ("[state]\nkey_id = 'a b'", "state.key_id"),
        ("[limits]\nline_bytes = 10", "limits.line_bytes"),
        ("[notify]\nwebhook = 'http://elsewhere.example/x'", "notify.webhook"),
        ("[notify]\nwebhook = 'https://'", "notify.webhook"),
        ("[notify]\nwebhook = 'https://a.example:x/'", "notify.webhook"),
        ("[notify]\ncauses = ['detcted']", "notify.causes"),
        ("telemetry = 5", "must be a table"),
        ("[nonsense]\nx = 1", "unknown option nonsense"),
        ("mode = \nx = 1", ":1: "),
        ("mode = 'observe'\nmode = 'enforce'\n\n", ":2: "),
    ],
)
def test_values_that_make_no_sense_are_refused_with_their_place(write, text, words):
    path = write(text)
    with pytest.raises(ConfigError) as caught:
        load_config(path, {})

    assert words in str(caught.value)
    assert path in str(caught.value) or words == "detection"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("250ms", 0.25), ("30s", 30), ("15m", 900), ("1.5h", 5400), ("2d", 172_800), (" 1w ", 604_800)],
)
def test_durations_are_read(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "5", "s", "5 parsecs", "-5s", "1e3s", "5s5m", "infs"])
def test_what_is_no_duration_is_refused(text):
    with pytest.raises(ValueError, match="expected a duration"):
        parse_duration(text)


def test_a_number_is_a_duration_in_seconds(write):
    config = load_config(write("[state]\nvalid_for = 45"), {})

    assert config.state.valid_for == Duration(45)
    assert config.state.valid_for.us == 45_000_000


@pytest.mark.parametrize("seconds", [0.25, 1, 30, 90, 900, 3600, 5400, 86_400, 604_800])
def test_durations_are_written_as_they_are_read(seconds):
    assert parse_duration(duration_text(seconds)) == seconds


def test_the_starter_file_says_nothing_but_the_defaults_and_observes(write):
    config = load_config(write(starter(["/var/log/agents"])), {})

    assert config.mode == "observe"
    assert config.telemetry.directories == ["/var/log/agents"]
    assert [item for item in OPTIONS if value_of(config, item.key) != item.default] == [
        item for item in OPTIONS if item.key in ("mode", "telemetry.directories")
    ]


def test_the_starter_file_fits_80_columns():
    assert [line for line in starter(["/var/log/agents"]).splitlines() if len(line) > 80] == []


def test_the_commented_lines_of_the_starter_file_are_the_defaults(write):
    text = re.sub(r"^#([a-z0-9_]+ = )", r"\1", starter([]), flags=re.MULTILINE)
    config = load_config(write(text.replace('mode = "observe"', "", 1)), {})

    assert config == Config()
    assert all(f"\n{item.key.rpartition('.')[2]} = " in text for item in OPTIONS)


def test_the_system_service_configuration_is_valid():
    config = load_config(str(ROOT / "etc" / "sentineld.toml"), {})

    assert config.telemetry.directories == ["/var/log/agents"]
    text = (ROOT / "etc" / "sentineld.toml").read_text()
    keys = re.findall(r"^(?:# )?([a-z_]+) = ", text, re.MULTILINE)
    assert set(keys) <= {item.key.rpartition(".")[2] for item in OPTIONS}


def test_a_missing_file_is_told_with_a_next_step(tmp_path):
    with pytest.raises(ConfigError, match="there is no configuration file"):
        load_config(str(tmp_path / "none.toml"), {})


def test_a_file_that_everybody_may_write_is_refused(write):
    path = write("")
    os.chmod(path, 0o666)
    with pytest.raises(ConfigError, match="written by everybody"):
        load_config(path, {})


def test_a_daemon_does_not_obey_a_file_of_another_user(write):
    path = write("")
    owner = os.stat(path).st_uid
    check_owner(path, owner)
    check_owner(None, owner)
    check_owner(path + ".none", owner)
    if owner != 0:
        with pytest.raises(ConfigError, match=f"belongs to uid {owner}"):
            check_owner(path, 0)
    else:
        os.chown(path, 1234, -1)
        with pytest.raises(ConfigError, match="belongs to uid 1234"):
            check_owner(path, 0)
        check_owner(path, 1234)
        os.chown(path, 0, -1)
        check_owner(path, 1234)


def test_a_file_that_may_not_be_read_is_an_access_error(write, as_mortal):
    path = write("")
    os.chmod(path, 0)
    program = f"""
from sentineld.config import load_config
from sentineld.errors import AccessError
try:
    load_config({path!r}, {{}})
except AccessError as error:
    print("refused", error)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=120, **as_mortal
    )

    assert done.stdout.startswith("refused"), done.stderr
    assert AccessError.exit_code == 77


def test_two_configurations_differ_in_options_and_tables_by_their_values(write):
    old = load_config(write('[detection]\nwindow = "5m"\n'), {})
    new = load_config(
        write('mode = "observe"\nstate_dir = "/s"\n[detection]\nwindow = 301\n[identity.bindings]\na = 0\n'),
        {},
    )

    assert list(changes(old, old)) == []
    assert list(changes(old, new)) == [
        Change("mode", "enforce", "observe", needs_restart=False),
        Change("state_dir", "", "/s", needs_restart=True),
        Change("detection.window", 300.0, 301.0, needs_restart=False),
        Change("identity.bindings", {}, {"a": 0}, needs_restart=False),
    ]


def test_secrets_are_never_shown_and_a_change_of_one_is(write):
    old = load_config(
        write('[notify]\nwebhook = "https://a.example/s3cret"\napprise = ["json://s3cret"]\n'), {}
    )
    new = load_config(write('[notify]\nwebhook = "https://a.example/s3cret2"\n'), {})
    found = list(changes(old, new))

    assert [(item.key, item.old, item.new) for item in found] == [
        ("notify.webhook", "***", "***"), ("notify.apprise", ["***"], []),
    ]  # fmt: skip
    assert "s3cret" not in f"{masked(old)}{masked(new)}{found}"
    assert masked(Config())["notify"]["webhook"] == ""
    assert {option.key for option in OPTIONS if option.is_secret} == {"notify.webhook", "notify.apprise"}


def test_the_credentials_directory_is_filled_in_or_asked_for():
    config = load_config(None, {}, {"state.key_file": "${CREDENTIALS_DIRECTORY}/signing.key"})

    assert key_file_path(config, {"CREDENTIALS_DIRECTORY": "/run/c"}) == "/run/c/signing.key"
    with pytest.raises(ConfigError, match="CREDENTIALS_DIRECTORY"):
        key_file_path(config, {})


RULE = '[[telemetry.sources]]\npath = "agents/{agent}/**"\nidentity = "path"\n'


@pytest.mark.parametrize("table", list(tables()), ids=lambda table: table.key)
def test_every_table_has_a_sentence_and_an_example_that_is_accepted(table, write):
    assert table.description.endswith((".", ")."))
    assert all(option.description.endswith(".") for option in table.options)
    config = load_config(write(table.example), {})

    assert value_of(config, table.key) != value_of(Config(), table.key)
    assert all(f"# {line}" in starter([]) for line in table.example.splitlines())


def test_trust_is_built_from_the_file_with_users_resolved(write):
    text = RULE + 'owner = "root"\n[identity.bindings]\n"a/b" = 4711\nc = "root"\nd = "4712"\n'
    config = load_config(write('[telemetry]\ndirectories = ["/t"]\n' + text), {})
    trust = config.trust()

    assert trust.bindings == {"a/b": 4711, "c": 0, "d": 4712}
    assert [rule.owner for rule in trust.rules] == [0]
    assert trust.belief("/t/agents/x/1.jsonl", 0).agent == "x"
    assert config.trust(["/other"]).belief("/other/agents/x/1.jsonl", 0).agent == "x"
    assert config.decision_settings()["trust"] == trust.to_plain()


def test_users_are_named_where_a_rule_asks_for_names(write):
    rule = '[[telemetry.sources]]\npath = "**"\nidentity = "owner"\n'
    config = load_config(write(f'[telemetry]\ndirectories = ["/t"]\n{rule}'), {})

    assert config.trust().belief("/t/x.jsonl", 0).agent == "root"
    assert load_config(write(rule + 'agent = "u{uid}"\n'), {}).trust().users == {}


@pytest.mark.parametrize(
    ("text", "words", "hint"),
    [
        ("[telemetry]\nsources = 5", "telemetry.sources: must be a list of tables", "[[telemetry.sources]]"),
        ("[telemetry]\nsources = [5]", "telemetry.sources: must be a list", "[[telemetry.sources]]"),
        ("[[telemetry.sources]]\nidentity = 'path'", "telemetry.sources[0]: path is missing", "init --print"),
        (RULE + "[[telemetry.sources]]\npath = 5", "telemetry.sources[1].path: ", "path = "),
        (RULE + "ident = 5", "unknown option telemetry.sources[0].ident", "did you mean identity?"),
        (RULE + "agent = '{agnet}'", "telemetry.sources[0].agent: there is no {agnet}", "{agent}"),
        (RULE + RULE.replace("{agent}", "*"), "telemetry.sources[1].agent: ", "{1}"),
        (RULE.replace("'path'", "'paht'").replace('"path"', '"paht"'), "telemetry.sources[0].identity: ", ""),
        (RULE + "owner = true", "telemetry.sources[0].owner: ", ""),
        ("[identity]\nbindings = 5", "identity.bindings: must be a table", "[identity.bindings]"),
        ("[identity.bindings]\n'a b' = 5", "identity.bindings: 'a b' cannot be an agent's id", "1 to 128"),
        ("[identity.bindings]\n'<other>' = 5", "identity.bindings: '<other>' cannot be", "1 to 128"),
        ("[identity.bindings]\na = 1.5", "identity.bindings", ""),
        ("[identity]\nbinding = 5", "unknown option identity.binding", "identity.bindings"),
        ("[state]\nunlisted_tier = 4", "state.unlisted_tier: ", ""),
    ],
)
def test_tables_that_make_no_sense_are_refused_with_file_and_key(write, text, words, hint):
    path = write(text)
    with pytest.raises(ConfigError) as caught:
        load_config(path, {})

    assert re.match(f"{re.escape(path)}:[0-9]+: ", str(caught.value))
    assert words in str(caught.value)
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    ("text", "words", "hint"),
    [
        (
            RULE + "owner = 'roto'",
            "telemetry.sources[0].owner: there is no user 'roto'",
            "did you mean root?",
        ),
        ("[identity.bindings]\na = 'roto'", "identity.bindings.a: there is no user", "did you mean root?"),
        ("[identity.bindings]\na = -1", "identity.bindings.a: -1 is no uid", "4294967294"),
        ("[identity.bindings]\na = 4294967295", "identity.bindings.a: 4294967295 is no uid", "0 to"),
    ],
)
def test_users_that_do_not_exist_are_told_with_the_key_and_the_nearest_name(write, text, words, hint):
    with pytest.raises(ConfigError) as caught:
        load_config(write(text), {}).trust()

    assert words in str(caught.value)
    assert hint in caught.value.hint


def test_the_examples_of_trust_in_the_documentation_are_accepted(write):
    blocks = re.findall(r"```toml\n(.*?)```", (ROOT / "docs" / "telemetry.md").read_text(), re.DOTALL)
    config = load_config(write("\n".join(blocks)), {})

    assert [source.identity for source in config.telemetry.sources] == ["path", "path", "owner", "record"]
    assert config.identity.bindings == {"research-07": "scraper"}


def test_an_unknown_format_is_refused_with_the_nearest_name(write):
    for text, key in (
        ("[telemetry]\nformat = 'wordpres'", "telemetry.format"),
        ("[[telemetry.sources]]\npath = '**'\nformat = 'wordpres'", "telemetry.sources[0].format"),
    ):
        with pytest.raises(ConfigError, match="unknown format 'wordpres'") as caught:
            load_config(write(text), {}).formats()
        assert caught.value.hint == "did you mean wordpress?"
        assert str(caught.value).startswith(key)


def test_a_mapping_that_means_nothing_is_refused_with_file_and_key(tmp_path):
    path = tmp_path / "bot.toml"
    path.write_text('[[source]]\nname = "bot"\n[[source.event]]\ntoll = "name"\n')
    config = Config(telemetry=TelemetryOptions(mappings=[str(path)]))
    with pytest.raises(ConfigError) as caught:
        config.formats()
    assert str(caught.value).startswith(f"{path}: source[0].event[0].toll: ")
    assert caught.value.hint == "did you mean tool?"


def test_mappings_are_found_from_where_the_file_stands(write, tmp_path, monkeypatch):
    (tmp_path / "own.toml").write_text('[[source]]\nname = "own"\n[[source.event]]\ntype = "=plan"\n')
    monkeypatch.chdir("/")

    config = load_config(write('[telemetry]\nmappings = ["own.toml"]\n'), {})

    assert config.telemetry.mappings == [str(tmp_path / "own.toml")]
    assert "own" in config.formats().names


@pytest.mark.parametrize(
    ("text", "key", "near"),
    [
        ('[taxonomy.tools]\nacme = "file_raed"', "taxonomy.tools.acme", "did you mean file_read?"),
        ('[taxonomy.verbs]\nacme = "shel_exec"', "taxonomy.verbs.acme", "did you mean shell_exec?"),
        ('[taxonomy]\ncredential_paths = ["*"]', "taxonomy.credential_paths", ""),
        ('[taxonomy]\ntool = {a = "plan"}', "taxonomy.tool", "did you mean taxonomy.tools?"),
    ],
)
def test_a_taxonomy_that_means_nothing_names_file_key_and_nearest_class(write, text, key, near):
    path = write(text)

    with pytest.raises(ConfigError) as caught:
        load_config(path, {})

    assert re.match(f"{re.escape(path)}:2: ", str(caught.value)) or ":1: " in str(caught.value)
    assert key in str(caught.value)
    assert near in caught.value.hint


def test_the_taxonomy_is_extended_for_every_format_and_a_replay_can_tell(write):
    plain = load_config(None, {}).formats()
    config = load_config(
        write(
            '[taxonomy]\ncredential_paths = ["*/vault/*"]\n'
            '[taxonomy.tools]\nacme = "agent_spawn"\n[taxonomy.verbs]\nacmectl = "network_request"\n'
        ),
        {},
    )
    formats = config.formats()

    def kinds(known, *calls):
        records = [{"type": "tool_call", "source": "a", "data": {"tool": t, "args": a}} for t, a in calls]
        return known.native.rows(Decoded(records, list(range(len(records))), [], []))[0].event_types

    calls = [("acme", {}), ("Bash", {"command": "acmectl x"}), ("Read", {"file_path": "/x/vault/y"})]
    assert kinds(formats, *calls) == ["agent_spawn", "network_request", "credential_access"]
    assert not {"agent_spawn", "network_request", "credential_access"} & set(kinds(plain, *calls))
    assert config.classes().classify("acme", {}).event_class == "agent_spawn"
    assert formats.to_plain()["digest"] != plain.to_plain()["digest"]
    assert formats.force("codex").to_plain()["digest"] == formats.to_plain()["digest"]
