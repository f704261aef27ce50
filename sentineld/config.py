"""Configuration: files, environment and flags, checked against the declared ``options``.

The declarations validate files, environment and flags, and write the starter file and the reference. Unknown
keys are refused with the nearest name. Order: defaults, TOML file, ``SENTINELD_*`` variables, flags.
"""

import difflib
import json
import os
import pwd
import re
import stat
import textwrap
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from shlex import quote
from typing import Annotated, Any, Literal, NamedTuple, get_args, get_origin, get_type_hints
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta, Struct

from sentineld.decision import CAUSES
from sentineld.detection import Detection, DetectionSettings, no_starter
from sentineld.errors import AccessError, ConfigError
from sentineld.features import Features
from sentineld.integrity import Charges
from sentineld.keys import parse_key_table, with_credentials
from sentineld.mapping_files import all_mappings
from sentineld.monitor import BehavioralMonitor
from sentineld.native import name_of
from sentineld.options import (
    AUTO,
    MAX_SOCKET_PATH,
    RESTART,
    UNITS,
    DetectionOptions,
    Duration,
    GateOptions,
    IdentityOptions,
    IntegrityOptions,
    LimitOptions,
    LogOptions,
    MetricsOptions,
    NotifyOptions,
    PrognosticsOptions,
    RecoveryOptions,
    SourceRule,
    StateOptions,
    TaxonomyOptions,
    TelemetryOptions,
    ThrottleOptions,
    parse_duration,
)
from sentineld.policy import Policy
from sentineld.recognition import Formats
from sentineld.rows import is_agent_id
from sentineld.rules import RULES
from sentineld.starters import SHIPPED
from sentineld.step import Prior
from sentineld.taxonomy import Taxonomy
from sentineld.toml_text import line_of, lines_of, place_of, syntax_hint
from sentineld.trust import Rule, RuleError, Trust

_BEFORE_URL = r":(?=[A-Za-z][\w+.-]*://)"
_EVERY_OPTION = "sentineld init --print shows every option"
#: How msgspec says that a type is wrong, and what its types are called here.
_MISSING = re.compile("Object missing required field `([^`]*)`")
_TYPES = re.compile("Expected `([^`]*)`, got `([^`]*)`")
_WORDS = {
    "str": "text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "array": "a list",
    "object": "a table",
}
#: Columns of the starter file.
_COMMENT_WIDTH = 80
#: What is shown in place of a secret.
MASK = "***"


class Config(Struct, forbid_unknown_fields=True, frozen=True):
    """sentineld's configuration."""

    mode: Annotated[
        Literal["enforce", "observe"],
        Meta(
            description="enforce publishes tiers; observe changes nothing and says what would have been.",
            examples=["observe"],
        ),
    ] = "enforce"
    state_dir: Annotated[
        str,
        Meta(
            description="Directory of everything that the daemon writes; empty: the usual place.",
            examples=["/var/lib/sentineld"],
            extra=RESTART,
        ),
    ] = ""
    telemetry: TelemetryOptions = TelemetryOptions()
    taxonomy: TaxonomyOptions = TaxonomyOptions()
    state: StateOptions = StateOptions()
    detection: DetectionOptions = DetectionOptions()
    recovery: RecoveryOptions = RecoveryOptions()
    identity: IdentityOptions = IdentityOptions()
    integrity: IntegrityOptions = IntegrityOptions()
    gate: GateOptions = GateOptions()
    limits: LimitOptions = LimitOptions()
    throttle: ThrottleOptions = ThrottleOptions()
    prognostics: PrognosticsOptions = PrognosticsOptions()
    metrics: MetricsOptions = MetricsOptions()
    notify: NotifyOptions = NotifyOptions()
    log: LogOptions = LogOptions()

    def prior(self) -> Prior:
        """Build the inputs that all agents share. Raises ``ConfigError`` for values that contradict."""
        detection = self.detection
        try:
            monitor = BehavioralMonitor(
                file_weight=detection.file_weight,
                network_weight=detection.network_weight,
                entropy_weight=detection.entropy_weight,
                saturation=detection.saturation,
                suspicious_threshold=detection.suspicious_threshold,
                anomalous_threshold=detection.anomalous_threshold,
                window_seconds=float(detection.window),
            )
        except ValueError as error:
            raise ConfigError(f"[detection]: {error}", hint=_EVERY_OPTION) from error
        integrity = self.integrity
        charges = Charges(
            integrity.gap,
            integrity.tamper,
            integrity.identity,
            integrity.forgery,
            integrity.flood,
            integrity.bypass,
        )
        needs_pardon = self.recovery.tier3 == "pardon"
        if detection.mode == "activity":
            return Prior(monitor, Policy(self.recovery.quiet_time.us, needs_pardon), charges)
        # The window is counted and shown, and calls for nothing.
        monitor.suspicious_threshold = monitor.anomalous_threshold = 1.0
        unknown = sorted(set(detection.rules) - set(RULES))
        if unknown:
            raise ConfigError(f"[detection] rules: there is no rule {unknown[0]!r}", hint=", ".join(RULES))
        settings = DetectionSettings(
            detection.false_alarms_per_session,
            detection.false_alarms_per_week,
            detection.sessions_per_week,
            detection.session_gap.us,
            tuple(detection.rules),
            detection.judge_history,
            detection.max_session_tokens,
            detection.believe_prompts,
        )
        policy = Policy(self.recovery.quiet_time.us, needs_pardon or self.recovery.tier3 == "auto")
        starter = SHIPPED if detection.starter else no_starter
        return Prior(monitor, policy, charges, Detection(settings, starter=starter))

    def trust(self, directories: Sequence[str] | None = None) -> Trust:
        """Build the trust rules over these (absolute) telemetry directories, else over the configured ones.

        Raises ``ConfigError`` for a user that does not exist.
        """
        rules = [
            rule(source, None if source.owner == "" else _uid(source.owner, f"telemetry.sources[{n}].owner"))
            for n, source in enumerate(self.telemetry.sources)
        ]
        bindings = {
            agent: _uid(owner, f"identity.bindings.{agent}")
            for agent, owner in self.identity.bindings.items()
        }
        # Names as they are now: what a name means must not change while nobody looks.
        needs_users = any("{user}" in item.template for item in rules)
        users = {user.pw_uid: user.pw_name for user in reversed(pwd.getpwall())} if needs_users else {}
        if directories is None:
            directories = [os.path.abspath(path) for path in self.telemetry.directories]
        return Trust(rules, directories, bindings, users)

    def formats(self) -> Formats:
        """Build the formats that are known, and the one that is forced.

        Raises ``ConfigError`` for a mapping that cannot be read or means nothing, and for unknown formats.
        """
        taxonomy = self.classes()
        features = Features(taxonomy) if self.detection.mode == "learned" else None
        classify = taxonomy.classify if features is None else features.describe
        mappings = all_mappings(self.telemetry.mappings, classify)
        formats = Formats(mappings)
        named = [("telemetry.format", self.telemetry.format if self.telemetry.format != AUTO else "")]
        named += [
            (f"telemetry.sources[{number}].format", source.format)
            for number, source in enumerate(self.telemetry.sources)
        ]
        for key, given in named:
            name = name_of(given)
            if name and name not in formats.names:
                near = difflib.get_close_matches(name, formats.names, 1)
                raise ConfigError(
                    f"{key}: unknown format {name!r}",
                    hint=f"did you mean {near[0]}?" if near else f"known: {', '.join(formats.names)}",
                    key=key,
                )
        return Formats(mappings, named[0][1], taxonomy, self.taxonomy.to_plain(), features)

    def classes(self) -> Taxonomy:
        """Build the taxonomy. Raises ``ConfigError`` for classes and patterns that there are not."""
        return _taxonomy(json.dumps(self.taxonomy.to_plain()))

    def decision_settings(self) -> dict[str, Any]:
        """Return the options that decisions depend on, as plain data."""
        plain = msgspec.to_builtins(self, enc_hook=float)
        return {
            "detection": plain["detection"],
            "recovery": plain["recovery"],
            "integrity": plain["integrity"],
            "agents_per_owner": self.limits.agents_per_owner,
            "trust": self.trust().to_plain(),
        }


@lru_cache(4)
def _taxonomy(extra: str) -> Taxonomy:
    # The same one each time: mappings are compiled for it.
    return Taxonomy(json.loads(extra))


def rule(source: SourceRule, owner: int | None) -> Rule:
    """Return an entry of ``telemetry.sources`` as the rule that it states; its owner is resolved."""
    return Rule(
        source.path,
        source.identity,
        source.agent,
        owner,
        tuple(source.agents),
        name_of(source.format),
        source.role,
    )


def _uid(owner: str | int, key: str) -> int:
    if isinstance(owner, int) or (owner.isascii() and owner.isdigit()):
        uid = int(owner)
        if 0 <= uid < 0xFFFF_FFFF:
            return uid
        raise ConfigError(f"{key}: {uid} is no uid", hint="0 to 4294967294", key=key)
    try:
        return pwd.getpwnam(owner).pw_uid
    except (KeyError, ValueError):
        near = difflib.get_close_matches(owner, [user.pw_name for user in pwd.getpwall()], 1)
        raise ConfigError(
            f"{key}: there is no user {owner!r}",
            hint=f"did you mean {near[0]}?" if near else f"getent passwd {owner}, or give the uid",
            key=key,
        ) from None


@dataclass(frozen=True, slots=True)
class Option:
    """One declared option: ``key`` is ``section.name`` (or ``name``).

    ``choices``: the only values that it may have, where it is one of a few.
    ``is_secret``: its value is never shown. ``needs_restart``: a reload cannot change it.
    """

    key: str
    type_name: str
    default: object
    description: str
    example: object
    choices: tuple[str | int, ...] = ()
    is_secret: bool = False
    needs_restart: bool = False

    @property
    def variable(self) -> str:
        """The environment variable that overrides it."""
        return "SENTINELD_" + self.key.upper().replace(".", "_")


def options() -> Iterator[Option]:
    """Yield every option in the order of the file."""
    yield from _options_of(Config, Config(), "")


@dataclass(frozen=True, slots=True)
class Table:
    """Options that a file gives as a table of its own: ``options`` are the keys of each entry.

    Without ``options`` the keys are names of the operator's. ``example`` is TOML.
    """

    key: str
    description: str
    options: tuple[Option, ...]
    example: str


def tables() -> Iterator[Table]:
    """Yield every option that is a table; environment and flags cannot give these."""
    yield from _tables_of(Config, Config(), "")


def load_config(
    path: str | None, env: Mapping[str, str], overrides: Mapping[str, Any] | None = None
) -> Config:
    """Read a file (None: defaults alone), then the environment, then ``overrides`` (key -> value).

    Raises ``ConfigError`` with file and key, and with all other faults that were found; ``AccessError`` where
    the file may not be read.
    """
    document: dict[str, Any] = {}
    where = _Where(path, {})
    if path is not None:
        text = _read_text(path)
        document, where = _read_toml(path, text), _Where(path, lines_of(text))
        _place_mappings(document, os.path.dirname(os.path.abspath(path)))
    found = [where.error(fault) for fault in _without_strangers(document)]
    for option in options():
        if option.variable in env:
            try:
                _put(document, option.key, _from_text(option, env[option.variable]))
                where.origins[option.key] = option.variable
            except ConfigError as error:
                found.append(error)
    for key, value in (overrides or {}).items():
        _put(document, key, value)
        where.origins[key] = "the command line"
    config, refused = _converted(document, where)
    found += refused
    if config is not None:
        # Of a section with a fault it is not known what was meant.
        sections = {error.key.partition(".")[0] for error in found}
        found += [where.error(fault) for fault in _contradictions(config, sections)]
    if config is None or found:
        first, *others = sorted(found, key=lambda error: error.line)
        first.others = others
        raise first
    return config


class _Fault(NamedTuple):
    """What is wrong with an option: ``text`` says it, with the key in it."""

    key: str
    text: str
    hint: str


class _Where:
    """What set each option: a file, with the line; a variable; the command line."""

    def __init__(self, path: str | None, lines: dict[str, int]) -> None:
        self.path = path
        self.lines = lines
        #: What set an option instead of the file.
        self.origins: dict[str, str] = {}

    def origin(self, key: str) -> str:
        """Return what set an option, as errors begin."""
        origin = self.origins.get(key.partition("[")[0])
        if origin is not None:
            return origin
        line = line_of(key, self.lines)
        return "the configuration" if self.path is None else f"{self.path}:{line}" if line else self.path

    def error(self, fault: _Fault) -> ConfigError:
        """Return the error that says of a fault where it is."""
        is_of_file = self.path is not None and fault.key.partition("[")[0] not in self.origins
        return ConfigError(
            f"{self.origin(fault.key)}: {fault.text}",
            hint=fault.hint,
            key=fault.key,
            file=(self.path or "") if is_of_file else "",
            line=line_of(fault.key, self.lines) if is_of_file else 0,
        )


def _converted(document: dict[str, Any], where: _Where) -> tuple[Config | None, list[ConfigError]]:
    """Return the configuration, with defaults for what was refused; None where there is no telling what."""
    found: list[ConfigError] = []
    while True:
        try:
            return msgspec.convert(document, Config, dec_hook=_decode_hook), found
        except msgspec.ValidationError as error:
            key, text = _plain(str(error))
            # Where a part was taken out, it is missing.
            if not any(fault.key.startswith(f"{key}.") for fault in found):
                found.append(where.error(_refusal(key, text, where.origin(key))))
            if not _take_out(document, key):
                return None, found


def _take_out(document: dict[str, Any], key: str) -> bool:
    """Remove an option, or what stands at a key of an entry of a table; say whether there was one."""
    entry: Any = document
    *path, last = re.findall(r"[^.\[\]]+", key) or [""]
    for place, part in enumerate(path):
        inner = entry[int(part)] if isinstance(entry, list) and part.isdigit() else entry.get(part)
        rest = [*path[place + 1 :], last]
        if not isinstance(inner, dict | list) or (rest == [last] and isinstance(inner, list)):
            # An element is not taken out by itself: those behind it would have other numbers then.
            last = part
            break
        entry = inner
    return isinstance(entry, dict) and entry.pop(last, None) is not None


def check_owner(path: str | None, uid: int) -> None:
    """Raise ``ConfigError`` where a daemon of ``uid`` would obey a file that another user can change.

    None, or a file that is missing: there is nothing to obey. Root is trusted by everybody.
    """
    if path is None:
        return
    try:
        owner = os.stat(path).st_uid
    except OSError:
        return
    if owner not in (0, uid):
        raise ConfigError(
            f"{path} belongs to uid {owner}, who could change what the daemon does",
            hint=f"chown {'root' if uid == 0 else uid} {quote(path)}",
        )


def key_file_path(config: Config, env: Mapping[str, str]) -> str:
    """Return the key file's path, with ``${CREDENTIALS_DIRECTORY}`` (systemd's) filled in."""
    return with_credentials(config.state.key_file, env.get("CREDENTIALS_DIRECTORY"))


def _read_text(path: str) -> str:
    try:
        with open(path, "rb") as file:
            if os.fstat(file.fileno()).st_mode & stat.S_IWOTH:
                raise ConfigError(f"{path} may be written by everybody", hint=f"chmod o-w {quote(path)}")
            return file.read().decode()
    except FileNotFoundError as error:
        raise ConfigError(f"there is no configuration file {path}", hint="sentineld init") from error
    except PermissionError as error:
        raise AccessError(
            f"may not read the configuration file {path}", hint=f"ls -l {quote(path)}"
        ) from error
    except OSError as error:
        raise ConfigError(f"{path}: {error}", hint=f"ls -ld {quote(path)}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: {error}", hint="write the file as UTF-8 text") from error


def _read_toml(path: str, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        line, message = place_of(str(error))
        raise ConfigError(
            f"{path}:{line}: {message}" if line else f"{path}: {message}",
            hint=syntax_hint(text, str(error)),
            file=path,
            line=line,
        ) from error


def _place_mappings(document: dict[str, Any], directory: str) -> None:
    """Make the paths of mappings absolute: a file names them from where it stands itself."""
    telemetry = document.get("telemetry")
    if not isinstance(telemetry, dict):
        return
    paths = telemetry.get("mappings")
    if isinstance(paths, list):
        telemetry["mappings"] = [
            os.path.join(directory, os.path.expanduser(item)) if isinstance(item, str) else item
            for item in paths
        ]


def _options_of(struct: type[Struct], defaults: Struct, prefix: str) -> Iterator[Option]:
    hints = get_type_hints(struct, include_extras=True)
    for name in struct.__struct_fields__:
        default = getattr(defaults, name)
        if isinstance(default, Struct):
            yield from _options_of(type(default), default, f"{name}.")
            continue
        base, meta = _declaration(hints[name])
        if _entry_of(base) is None:
            example = (meta.examples or [default])[0]
            marks = meta.extra or {}
            choices = get_args(base) if get_origin(base) is Literal else ()
            description = meta.description or ""
            yield Option(prefix + name, _type_name(base), default, description, example, choices, **marks)


def _tables_of(struct: type[Struct], defaults: Struct, prefix: str) -> Iterator[Table]:
    hints = get_type_hints(struct, include_extras=True)
    for name in struct.__struct_fields__:
        default = getattr(defaults, name)
        if isinstance(default, Struct):
            yield from _tables_of(type(default), default, f"{name}.")
            continue
        base, meta = _declaration(hints[name])
        entry = _entry_of(base)
        if entry is not None:
            inner = () if entry is dict else tuple(_options_of(entry, entry(path=""), ""))
            example = _toml_table(prefix + name, (meta.examples or [default])[0])
            yield Table(prefix + name, meta.description or "", inner, example)


def _declaration(hint: Any) -> tuple[Any, Meta]:  # noqa: ANN401 (a type expression)
    base, *extras = get_args(hint)
    return base, next(extra for extra in extras if isinstance(extra, Meta))


def _entry_of(base: Any) -> Any:  # noqa: ANN401 (a type expression)
    """Return what an entry of a table is: a struct, or dict where keys are free; None for no table."""
    if get_origin(base) is dict:
        return dict
    inner = get_args(base)[0] if get_origin(base) is list else None
    return inner if isinstance(inner, type) and issubclass(inner, Struct) else None


def _type_name(base: Any) -> str:  # noqa: ANN401 (a type expression)
    if get_origin(base) is Literal:
        return " or ".join(f'"{value}"' if isinstance(value, str) else str(value) for value in get_args(base))
    names = {
        Duration: "duration",
        str: "text",
        int: "whole number",
        float: "number",
        bool: "true or false",
        list[str]: "list of text",
        str | int: "text or whole number",
    }
    return names.get(base, str(base))


def _without_strangers(document: dict[str, Any]) -> Iterator[_Fault]:
    """Take out of a document what no option or table has room for, and yield what is wrong with it."""
    known = [option.key for option in options()]
    by_key = {table.key: table for table in tables()}
    known += by_key
    sections = {key.partition(".")[0] for key in known if "." in key}
    for key, value in [*document.items()]:
        if key not in sections:
            if key not in known:
                yield _unknown_section(key, sections) or _unknown(key, known)
                del document[key]
        elif not isinstance(value, dict):
            yield _Fault(key, f"{key} must be a table: [{key}]", "sentineld init --print")
            del document[key]
        else:
            for inner, content in [*value.items()]:
                name = f"{key}.{inner}"
                if name not in known:
                    yield _unknown(name, known)
                    del value[inner]
                elif name in by_key:
                    table = by_key[name]
                    if not _has_form(table, content):
                        form = "a list of tables" if table.options else "a table"
                        hint = f"[[{name}]]" if table.options else table.example
                        yield _Fault(name, f"{name}: must be {form}", hint)
                        del value[inner]
                    elif table.options:
                        yield from _strangers_in(table, content)


def _has_form(table: Table, content: object) -> bool:
    if not table.options:
        return isinstance(content, dict)
    return isinstance(content, list) and all(isinstance(entry, dict) for entry in content)


def _strangers_in(table: Table, entries: list[dict[str, Any]]) -> Iterator[_Fault]:
    names = [option.key for option in table.options]
    for number, entry in enumerate(entries):
        for name in [*entry]:
            if name not in names:
                near = difflib.get_close_matches(name, names, 1)
                yield _Fault(
                    f"{table.key}[{number}].{name}",
                    f"unknown option {table.key}[{number}].{name}",
                    f"did you mean {near[0]}?" if near else f"known: {', '.join(names)}",
                )
                del entry[name]


def _unknown_section(key: str, sections: set[str]) -> _Fault | None:
    near = difflib.get_close_matches(key, sections, 1, 0.75)
    return _Fault(key, f"unknown option {key}", f"did you mean [{near[0]}]?") if near else None


def _unknown(key: str, known: list[str]) -> _Fault:
    leaf = key.rpartition(".")[2]
    leaves = {name.rpartition(".")[2]: name for name in known}
    near = difflib.get_close_matches(key, known, 1, 0.6)
    near = near or [leaves[name] for name in difflib.get_close_matches(leaf, leaves, 1, 0.6)]
    hint = f"did you mean {near[0]}?" if near else _EVERY_OPTION
    return _Fault(key, f"unknown option {key}", hint)


def _put(document: dict[str, Any], key: str, value: object) -> None:
    section, _, name = key.rpartition(".")
    (document.setdefault(section, {}) if section else document)[name] = value


def _from_text(option: Option, text: str) -> object:
    try:
        if isinstance(option.default, int) and not isinstance(option.default, bool):
            return int(text)
        if isinstance(option.default, bool):
            return {"true": True, "false": False}[text.strip().lower()]
        if option.type_name == "number":
            return float(text)
    except (ValueError, KeyError):
        raise ConfigError(
            f"{option.variable}: expected a {option.type_name}, not {text!r}",
            hint=f"{option.variable}={option.example}",
            key=option.key,
        ) from None
    if option.type_name == "list of text":
        # A URL holds colons of its own; between two of them stands one before a scheme.
        separator = _BEFORE_URL if "://" in text else os.pathsep
        return [part for part in re.split(separator, text) if part]
    return text


def _decode_hook(kind: type, value: object) -> object:
    if kind is Duration:
        if isinstance(value, str):
            duration = parse_duration(value)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            duration = Duration(value)
        else:
            raise ValueError(f"expected a duration such as 30s, not {value!r}")
        if not 0 < duration < 10 * 365 * 86400:
            raise ValueError(f"a duration must be above zero and below ten years, not {value!r}")
        return duration
    raise NotImplementedError(kind)


def _plain(message: str) -> tuple[str, str]:
    """Return the key that an error of msgspec names, and what it says, in the words of the reference."""
    text, _, place = message.partition(" - at `$.")
    text = _MISSING.sub(r"\1 is missing", text)
    types = _TYPES.fullmatch(text)
    if types:
        wanted, got = (
            " or ".join(_WORDS.get(name, name) for name in part.split(" | ")) for part in types.groups()
        )
        text = f"expected {wanted}, not {got}"
    return place.rstrip("`"), text


def _refusal(key: str, text: str, origin: str) -> _Fault:
    """Say what is wrong with a value that an option cannot have; the hint is a value that it can."""
    declared = {option.key: option for option in options()}
    declared |= {f"{table.key}.{option.key}": option for table in tables() for option in table.options}
    option = declared.get(re.sub(r"\[[^]]*\]", "", key))
    if option is None:
        return _Fault(key, f"{key}: {text}", _EVERY_OPTION)
    example = option.example
    if option.choices:
        by_text = {str(choice): choice for choice in option.choices}
        wrong = text.removeprefix("Invalid enum value ")
        allowed = list(option.choices)
        if wrong != text:
            # Without a cutoff this sorts all of them, the nearest first.
            near = difflib.get_close_matches(wrong.strip("'"), by_text, len(by_text), 0.0)
            allowed = [by_text[name] for name in near]
            example = allowed[0]
            text = f"{wrong} is not allowed"
        text += f"; allowed: {', '.join(map(_toml, allowed))}"
    shown = example if isinstance(example, str) else _toml(example)
    is_variable = origin == option.variable
    name = option.key.rpartition(".")[2]
    hint = f"{option.variable}={shown}" if is_variable else f"{name} = {_toml(example)}"
    return _Fault(key, f"{key}: {text}", hint)


def _contradictions(config: Config, without: set[str]) -> Iterator[_Fault]:
    """Yield what is wrong with values that their types allow, but for the sections ``without``."""
    for section, check in (
        ("state", _check_state),
        ("throttle", _check_throttle),
        ("telemetry", _check_sources),
        ("identity", _check_bindings),
        ("metrics", _check_metrics),
        ("notify", _check_notify),
        ("taxonomy", _check_taxonomy),
        ("detection", _check_detection),
    ):
        if section not in without:
            yield from check(config)


def _check_state(config: Config) -> Iterator[_Fault]:
    if config.state.valid_for < 1:
        yield _Fault("state.valid_for", "state.valid_for must be at least 1s", "the default is 30s")
    try:
        parse_key_table(config.state.keys)
    except ConfigError as error:
        yield _Fault("state.keys", str(error), error.hint)


def _check_throttle(config: Config) -> Iterator[_Fault]:
    if config.throttle.hold < 1:
        yield _Fault("throttle.hold", "throttle.hold must be at least 1s", "the default is 30s")


def _check_sources(config: Config) -> Iterator[_Fault]:
    for number, source in enumerate(config.telemetry.sources):
        try:
            rule(source, None).check()
        except RuleError as error:
            key = f"telemetry.sources[{number}].{error.key}"
            yield _Fault(key, f"{key}: {error}", error.hint)


def _check_bindings(config: Config) -> Iterator[_Fault]:
    for agent in config.identity.bindings:
        if not is_agent_id(agent):
            yield _Fault(
                "identity.bindings",
                f"identity.bindings: {agent!r} cannot be an agent's id",
                "1 to 128 of A-Z a-z 0-9 . _ : / @ + ~ -",
            )


def _check_taxonomy(config: Config) -> Iterator[_Fault]:
    try:
        config.classes()
    except ConfigError as error:
        yield _Fault(str(error).partition(":")[0], str(error), error.hint)


def _check_detection(config: Config) -> Iterator[_Fault]:
    try:
        config.prior()
    except ConfigError as error:
        yield _Fault("detection", str(error), error.hint)


def _check_metrics(config: Config) -> Iterator[_Fault]:
    metrics = config.metrics
    if metrics.address:
        try:
            metrics.host_port  # noqa: B018 (it is what is checked)
        except ValueError as error:
            yield _Fault(
                "metrics.address",
                f"metrics.address: {error}",
                'address = "127.0.0.1:9464"; for other machines: docs/metrics.md',
            )
    if len(os.fsencode(metrics.socket)) > MAX_SOCKET_PATH:
        yield _Fault(
            "metrics.socket",
            f"metrics.socket: the path of a socket has at most {MAX_SOCKET_PATH} bytes",
            'socket = "/run/sentineld/metrics.sock"',
        )
    if metrics.textfile and not metrics.textfile.endswith(".prom"):
        yield _Fault(
            "metrics.textfile",
            "metrics.textfile: node_exporter reads only files whose names end in .prom",
            'textfile = "/run/sentineld/metrics.prom"',
        )
    if metrics.interval < 1:
        yield _Fault("metrics.interval", "metrics.interval must be at least 1s", "the default is 15s")


def _check_notify(config: Config) -> Iterator[_Fault]:
    notify = config.notify
    # The URL itself may hold a token, and is not shown.
    if notify.webhook and not is_safe_url(notify.webhook):
        yield _Fault(
            "notify.webhook",
            "notify.webhook: it must be an https URL, or http to this machine (127.0.0.1)",
            'webhook = "https://hooks.example.net/sentineld"',
        )
    for cause in notify.causes:
        if cause not in CAUSES:
            near = difflib.get_close_matches(cause, CAUSES, 1)
            yield _Fault(
                "notify.causes",
                f"notify.causes: there is no cause {cause!r}",
                f"did you mean {near[0]}?" if near else ", ".join(CAUSES),
            )


def is_safe_url(url: str) -> bool:
    """Say whether what is sent to a URL stays secret and whole: https, or http on this machine."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        _ = parts.port
    except ValueError:
        return False
    if not host or not url.isascii() or not url.isprintable() or " " in url:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and host in ("localhost", "127.0.0.1", "::1"))


def masked(config: Config) -> dict[str, Any]:
    """Return a configuration as plain data in which secrets that are set read ``***``."""
    plain: dict[str, Any] = msgspec.to_builtins(config, enc_hook=float)
    for option in options():
        if option.is_secret:
            section, _, name = option.key.rpartition(".")
            values = plain[section] if section else plain
            values[name] = (
                [MASK] * len(values[name]) if isinstance(values[name], list) else MASK * bool(values[name])
            )
    return plain


@dataclass(frozen=True, slots=True)
class Change:
    """An option that two configurations differ in: values as plain data, of secrets only that they are."""

    key: str
    old: object
    new: object
    needs_restart: bool


def changes(old: Config, new: Config) -> Iterator[Change]:
    """Yield the options and tables that differ, in the order of the file."""
    masked_old, masked_new = masked(old), masked(new)
    declared = [(option.key, option.needs_restart) for option in options()]
    for key, needs_restart in [*declared, *((table.key, False) for table in tables())]:
        if _value(old, key) != _value(new, key):
            yield Change(key, _item(masked_old, key), _item(masked_new, key), needs_restart)


def _value(config: Config, key: str) -> object:
    value: object = config
    for name in key.split("."):
        value = getattr(value, name)
    return value


def _item(plain: Mapping[str, Any], key: str) -> object:
    value: Any = plain
    for name in key.split("."):
        value = value[name]
    return value


def starter(directories: list[str], *, is_found: bool = False) -> str:
    """Return the text of a starter configuration: every option with its sentence, most of them commented.

    ``is_found``: the directories need not be configured, for they are found without that.
    Where there is none, they are left to be found.
    """
    lines = [
        "# sentineld.toml: every option, its meaning and its default.",
        "# Test it with: sentineld check --config THIS_FILE",
        "",
        "# This file starts in observe mode: nothing is restricted, and `sentineld",
        "# status` shows what would have been. Once you trust what you see, change",
        '# "observe" to "enforce".',
        'mode = "observe"',
        "",
    ]
    section = ""
    for option in options():
        head, _, name = option.key.rpartition(".")
        if option.key == "mode":
            continue
        if head != section:
            section = head
            lines += ["", f"[{section}]"]
        lines += _comment(f"{option.description} ({option.type_name}; {option.variable})")
        if option.key == "telemetry.directories":
            if is_found:
                lines.append("# Found now; without this line they are found anew at every start:")
            elif not directories:
                lines.append("# None was found; without this line they are looked for at every start:")
            is_named = directories and not is_found
            lines.append(f"{'' if is_named else '#'}directories = {_toml(directories)}")
        else:
            lines.append(f"#{name} = {_toml(option.default)}")
    for table in tables():
        lines += ["", *_comment(table.description), *(f"# {line}" for line in table.example.splitlines())]
    return "\n".join(lines) + "\n"


def _comment(text: str) -> list[str]:
    return textwrap.wrap(
        text,
        _COMMENT_WIDTH,
        initial_indent="# ",
        subsequent_indent="# ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def _toml_table(key: str, example: Any) -> str:  # noqa: ANN401 (plain data)
    if isinstance(example, Mapping):
        head = f"[{key}]"
        return "\n".join([head, *(f"{_toml(name)} = {_toml(value)}" for name, value in example.items())])
    blocks = [
        "\n".join([f"[[{key}]]", *(f"{name} = {_toml(value)}" for name, value in entry.items())])
        for entry in example
    ]
    return "\n\n".join(blocks)


def _toml(value: object) -> str:
    if isinstance(value, Duration):
        return f'"{duration_text(value)}"'
    if isinstance(value, list):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{name} = {_toml(inner)}" for name, inner in value.items()) + "}"
    if isinstance(value, str):
        return msgspec.json.encode(value).decode()
    return repr(value)


def duration_text(value: float) -> str:
    """Write seconds as ``parse_duration`` reads them, in the largest unit that fits."""
    for unit in ("w", "d", "h", "m", "s"):
        if value >= UNITS[unit] and value % UNITS[unit] == 0:
            return f"{value / UNITS[unit]:g}{unit}"
    return f"{value * 1000:g}ms"
