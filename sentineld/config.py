"""Configuration: every option declared once, with type, unit, default, one sentence and an example.

The declarations validate files, environment and flags, and write the starter file and the reference. Unknown
keys are refused with the nearest name. Order: defaults, TOML file, ``SENTINELD_*`` variables, flags.
"""

import difflib
import os
import re
import stat
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta, Struct

from sentineld.errors import AccessError, ConfigError
from sentineld.instant import SECOND_US
from sentineld.integrity import Charges
from sentineld.mapping import FORMATS
from sentineld.monitor import BehavioralMonitor
from sentineld.policy import Policy
from sentineld.step import Prior

_DURATION = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|w)\s*")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604_800.0}


class Duration(float):
    """A length of time in seconds; written as a number with a unit (``"30s"``, ``"15m"``) or as seconds."""

    @property
    def us(self) -> int:
        """The duration in microseconds."""
        return round(self * SECOND_US)


def parse_duration(text: str) -> Duration:
    """Read ``250ms``, ``30s``, ``15m``, ``1h``, ``2d`` or ``1w``. Raises ``ValueError`` for anything else."""
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError(f"expected a duration such as 30s, 15m or 1h, not {text!r}")
    return Duration(float(match[1]) * _UNITS[match[2]])


class TelemetryOptions(Struct, forbid_unknown_fields=True, frozen=True):
    """Where agents write, and how it is read."""

    directories: Annotated[
        list[str],
        Meta(
            description="Directories that agents append telemetry to; searched recursively.",
            examples=[["/var/log/agents"]],
        ),
    ] = []
    format: Annotated[str, Meta(description="Format of the telemetry.", examples=["wordpress"])] = "wordpress"
    rescan_interval: Annotated[
        Duration,
        Meta(
            description="How often all directories are searched, whatever the kernel reports.",
            examples=["5s"],
        ),
    ] = Duration(5)


class StateOptions(Struct, forbid_unknown_fields=True, frozen=True):
    """The state file, which routers read."""

    file: Annotated[
        str,
        Meta(
            description="Path of the state file; empty: state.json in the runtime or state directory.",
            examples=["/run/sentineld/state.json"],
        ),
    ] = ""
    key_file: Annotated[
        str,
        Meta(
            description="File with the HMAC-SHA256 key (32 bytes or more) for signing; empty: unsigned.",
            examples=["/etc/sentineld/signing.key"],
        ),
    ] = ""
    key_id: Annotated[
        str,
        Meta(
            description="Name of the key, told to readers.",
            pattern=r"^[A-Za-z0-9._-]{1,64}$",
            examples=["2026-11a"],
        ),
    ] = "default"
    valid_for: Annotated[
        Duration,
        Meta(
            description="How long readers may rely on a state file; it is renewed after a third of that.",
            examples=["30s"],
        ),
    ] = Duration(30)
    group: Annotated[
        str,
        Meta(
            description="Group that may read the state file; empty: the daemon's own.",
            examples=["sentineld-readers"],
        ),
    ] = ""


class DetectionOptions(Struct, forbid_unknown_fields=True, frozen=True):
    """How behaviour becomes a score, and a score a tier."""

    mode: Annotated[
        Literal["activity"], Meta(description="Which detection decides.", examples=["activity"])
    ] = "activity"
    window: Annotated[Duration, Meta(description="Span of the sliding window.", examples=["5m"])] = Duration(
        BehavioralMonitor.WINDOW_SECONDS
    )
    file_weight: Annotated[
        float, Meta(description="Weight of file operations; the three weights sum to 1.", examples=[0.4])
    ] = BehavioralMonitor.FILE_WEIGHT
    network_weight: Annotated[float, Meta(description="Weight of network operations.", examples=[0.3])] = (
        BehavioralMonitor.NETWORK_WEIGHT
    )
    entropy_weight: Annotated[
        float, Meta(description="Weight of the payloads' mean entropy.", examples=[0.3])
    ] = BehavioralMonitor.ENTROPY_WEIGHT
    saturation: Annotated[
        int,
        Meta(
            description="Operations in the window at which their part of the score is full.", examples=[100]
        ),
    ] = BehavioralMonitor.SATURATION
    suspicious_threshold: Annotated[
        float, Meta(description="Score above which an agent is suspicious (tier 2).", examples=[0.5])
    ] = BehavioralMonitor.SUSPICIOUS_THRESHOLD
    anomalous_threshold: Annotated[
        float, Meta(description="Score above which an agent is anomalous (tier 3).", examples=[0.7])
    ] = BehavioralMonitor.ANOMALOUS_THRESHOLD


class RecoveryOptions(Struct, forbid_unknown_fields=True, frozen=True):
    """How a demoted agent gets back."""

    quiet_time: Annotated[
        Duration, Meta(description="Quiet time before an agent recovers by one tier.", examples=["15m"])
    ] = Duration(900)
    tier3: Annotated[
        Literal["quiet", "pardon"],
        Meta(
            description="What ends tier 3: the quiet time, or only an operator's pardon.", examples=["quiet"]
        ),
    ] = "quiet"


_Tier = Literal[1, 2, 3]


class IntegrityOptions(Struct, forbid_unknown_fields=True, frozen=True):
    """Which tier follows when telemetry itself is tampered with; 1 records it, and nothing follows."""

    gap: Annotated[
        _Tier,
        Meta(description="Telemetry was removed, cut or locked away before it could be read.", examples=[2]),
    ] = 2
    tamper: Annotated[
        _Tier, Meta(description="Telemetry that had been read was changed or exchanged.", examples=[3])
    ] = 3
    identity: Annotated[
        _Tier,
        Meta(description="An owner uses another owner's agent id, or a record id twice.", examples=[2]),
    ] = 2
    forgery: Annotated[
        _Tier,
        Meta(description="An owner uses an id that the configuration gives to another.", examples=[3]),
    ] = 3
    flood: Annotated[
        _Tier, Meta(description="An owner uses more agent ids or files than it may.", examples=[3])
    ] = 3


class LimitOptions(Struct, forbid_unknown_fields=True, frozen=True):
    """Bounds that hold whatever agents write."""

    line_bytes: Annotated[
        int,
        Meta(
            ge=1024,
            le=64 << 20,
            description="Longest line accepted, in bytes; longer ones are rejected.",
            examples=[1048576],
        ),
    ] = 1 << 20
    agents_per_owner: Annotated[
        int,
        Meta(
            ge=1,
            le=100_000_000,
            description="Agent ids that one owner (uid) may use; events of further ids count under <other>.",
            examples=[10000],
        ),
    ] = 10_000
    files: Annotated[
        int, Meta(ge=1, le=10_000_000, description="Files that are followed at most.", examples=[100000])
    ] = 100_000
    rejects_bytes: Annotated[
        int, Meta(ge=4096, description="Bytes of rejected input kept for inspection.", examples=[16777216])
    ] = 16 << 20


class LogOptions(Struct, forbid_unknown_fields=True, frozen=True):
    """The daemon's own log, on stderr."""

    level: Annotated[
        Literal["debug", "info", "warning", "error"],
        Meta(description="Least severe records that are written.", examples=["info"]),
    ] = "info"
    format: Annotated[
        Literal["auto", "json", "console"],
        Meta(description="auto: for people on a terminal, else one JSON object a line.", examples=["auto"]),
    ] = "auto"


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
        ),
    ] = ""
    telemetry: TelemetryOptions = TelemetryOptions()
    state: StateOptions = StateOptions()
    detection: DetectionOptions = DetectionOptions()
    recovery: RecoveryOptions = RecoveryOptions()
    integrity: IntegrityOptions = IntegrityOptions()
    limits: LimitOptions = LimitOptions()
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
            raise ConfigError(f"[detection]: {error}", hint="sentineld check --config FILE") from error
        integrity = self.integrity
        charges = Charges(
            integrity.gap, integrity.tamper, integrity.identity, integrity.forgery, integrity.flood
        )
        return Prior(monitor, Policy(self.recovery.quiet_time.us, self.recovery.tier3 == "pardon"), charges)

    def decision_settings(self) -> dict[str, Any]:
        """Return the options that decisions depend on, as plain data."""
        plain = msgspec.to_builtins(self, enc_hook=float)
        return {
            "detection": plain["detection"],
            "recovery": plain["recovery"],
            "integrity": plain["integrity"],
            "agents_per_owner": self.limits.agents_per_owner,
        }


@dataclass(frozen=True, slots=True)
class Option:
    """One declared option: ``key`` is ``section.name`` (or ``name``), ``unit`` empty where there is none."""

    key: str
    type_name: str
    default: object
    description: str
    example: object

    @property
    def variable(self) -> str:
        """The environment variable that overrides it."""
        return "SENTINELD_" + self.key.upper().replace(".", "_")


def options() -> Iterator[Option]:
    """Yield every option in the order of the file."""
    yield from _options_of(Config, Config(), "")


def load_config(
    path: str | None, env: Mapping[str, str], overrides: Mapping[str, Any] | None = None
) -> Config:
    """Read a file (None: defaults alone), then the environment, then ``overrides`` (key -> value).

    Raises ``ConfigError`` with file and key, ``AccessError`` where the file may not be read.
    """
    document: dict[str, Any] = {}
    where = "the configuration"
    if path is not None:
        document, where = _read_toml(path), path
    _check_keys(document, where)
    origins: dict[str, str] = {}
    for option in options():
        if option.variable in env:
            _put(document, option.key, _from_text(option, env[option.variable]))
            origins[option.key] = option.variable
    for key, value in (overrides or {}).items():
        _put(document, key, value)
        origins[key] = "the command line"
    try:
        config = msgspec.convert(document, Config, dec_hook=_decode_hook)
    except msgspec.ValidationError as error:
        key, text = _plain(str(error))
        origin = origins.get(key.partition("[")[0], where)
        raise ConfigError(f"{origin}: {key}: {text}", hint="sentineld check --config FILE") from error
    _check_values(config, where)
    return config


def key_file_path(config: Config, env: Mapping[str, str]) -> str:
    """Return the key file's path, with ``${CREDENTIALS_DIRECTORY}`` (systemd's) filled in."""
    path = config.state.key_file
    marker = "${CREDENTIALS_DIRECTORY}"
    if marker not in path:
        return path
    directory = env.get("CREDENTIALS_DIRECTORY")
    if not directory:
        raise ConfigError(
            "state.key_file names ${CREDENTIALS_DIRECTORY}, which only systemd sets",
            hint="run it as a service with LoadCredential=, or name the file itself",
        )
    return path.replace(marker, directory)


def _read_toml(path: str) -> dict[str, Any]:
    try:
        with open(path, "rb") as file:
            if os.fstat(file.fileno()).st_mode & stat.S_IWOTH:
                raise ConfigError(f"{path} may be written by everybody", hint=f"chmod o-w {path}")
            return tomllib.load(file)
    except FileNotFoundError as error:
        raise ConfigError(f"there is no configuration file {path}", hint="sentineld init") from error
    except PermissionError as error:
        raise AccessError(f"may not read the configuration file {path}", hint=f"ls -l {path}") from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path}: {error}", hint="sentineld check --config FILE") from error


def _options_of(struct: type[Struct], defaults: Struct, prefix: str) -> Iterator[Option]:
    hints = get_type_hints(struct, include_extras=True)
    for name in struct.__struct_fields__:
        default = getattr(defaults, name)
        if isinstance(default, Struct):
            yield from _options_of(type(default), default, f"{name}.")
            continue
        base, *extras = get_args(hints[name])
        meta = next(extra for extra in extras if isinstance(extra, Meta))
        yield Option(
            prefix + name, _type_name(base), default, meta.description or "", (meta.examples or [default])[0]
        )


def _type_name(base: Any) -> str:  # noqa: ANN401 (a type expression)
    if get_origin(base) is Literal:
        return " or ".join(f'"{value}"' if isinstance(value, str) else str(value) for value in get_args(base))
    names = {
        Duration: "duration",
        str: "text",
        int: "whole number",
        float: "number",
        list[str]: "list of text",
    }
    return names.get(base, str(base))


def _check_keys(document: Mapping[str, Any], where: str) -> None:
    known = [option.key for option in options()]
    sections = {key.partition(".")[0] for key in known if "." in key}
    for key, value in document.items():
        if key in sections:
            if not isinstance(value, Mapping):
                raise ConfigError(f"{where}: {key} must be a table: [{key}]", hint="sentineld init --print")
            for inner in value:
                _check_key(f"{key}.{inner}", known, where)
        else:
            _check_key(key, known, where)


def _check_key(key: str, known: list[str], where: str) -> None:
    if key in known:
        return
    leaf = key.rpartition(".")[2]
    leaves = {name.rpartition(".")[2]: name for name in known}
    near = difflib.get_close_matches(key, known, 1, 0.6)
    near = near or [leaves[name] for name in difflib.get_close_matches(leaf, leaves, 1, 0.6)]
    hint = f"did you mean {near[0]}?" if near else "sentineld init --print shows every option"
    raise ConfigError(f"{where}: unknown option {key}", hint=hint)


def _put(document: dict[str, Any], key: str, value: object) -> None:
    section, _, name = key.rpartition(".")
    (document.setdefault(section, {}) if section else document)[name] = value


def _from_text(option: Option, text: str) -> object:
    try:
        if isinstance(option.default, int) and not isinstance(option.default, bool):
            return int(text)
        if option.type_name == "number":
            return float(text)
    except ValueError:
        raise ConfigError(
            f"{option.variable}: expected a {option.type_name}, not {text!r}",
            hint=f"{option.variable}={option.example}",
        ) from None
    if option.type_name == "list of text":
        return [part for part in text.split(os.pathsep) if part]
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
    text, _, place = message.partition(" - at `$.")
    return place.rstrip("`"), text


def _check_values(config: Config, where: str) -> None:
    if config.telemetry.format not in FORMATS:
        near = difflib.get_close_matches(config.telemetry.format, FORMATS, 1)
        raise ConfigError(
            f"{where}: telemetry.format: unknown format {config.telemetry.format!r}",
            hint=f"did you mean {near[0]}?" if near else f"known formats: {', '.join(FORMATS)}",
        )
    if config.state.valid_for < 1:
        raise ConfigError(f"{where}: state.valid_for must be at least 1s", hint="the default is 30s")
    config.prior()


def starter(directories: list[str]) -> str:
    """Return the text of a starter configuration: every option with its sentence, most of them commented."""
    lines = [
        "# sentineld.toml: every option, its meaning and its default.",
        "# Test it with: sentineld check --config THIS_FILE",
        "",
        "# This file starts in observe mode: nothing is restricted, and `sentineld status` shows what would",
        '# have been. Once you trust what you see, change "observe" to "enforce".',
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
        lines.append(f"# {option.description} ({option.type_name}; {option.variable})")
        if option.key == "telemetry.directories":
            lines.append(f"directories = {_toml(directories)}")
        else:
            lines.append(f"#{name} = {_toml(option.default)}")
    return "\n".join(lines) + "\n"


def _toml(value: object) -> str:
    if isinstance(value, Duration):
        return f'"{duration_text(value)}"'
    if isinstance(value, list):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    if isinstance(value, str):
        return msgspec.json.encode(value).decode()
    return repr(value)


def duration_text(value: float) -> str:
    """Write seconds as ``parse_duration`` reads them, in the largest unit that fits."""
    for unit in ("w", "d", "h", "m", "s"):
        if value >= _UNITS[unit] and value % _UNITS[unit] == 0:
            return f"{value / _UNITS[unit]:g}{unit}"
    return f"{value * 1000:g}ms"
