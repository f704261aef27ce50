"""Options: every one declared once, with type, unit, default, one sentence and an example.

The declarations validate files, environment and flags, and write the starter file and the reference: see
``config``.
"""

import ipaddress
import re
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from sentineld.detection import DetectionSettings
from sentineld.instant import SECOND_US
from sentineld.monitor import BehavioralMonitor
from sentineld.rules import RULES

#: The format of a file is recognised.
AUTO = "auto"
_DURATION = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|w)\s*")
#: What the kernel takes, without the NUL at the end.
MAX_SOCKET_PATH = 107
#: Units of durations, in seconds.
UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604_800.0}


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
    return Duration(float(match[1]) * UNITS[match[2]])


_Tier = Literal[1, 2, 3]
#: What a declaration says of options whose values are never shown, and of those that a reload cannot change.
SECRET = {"is_secret": True}
RESTART = {"needs_restart": True}


class SourceRule(Struct, forbid_unknown_fields=True, frozen=True):
    """What is believed of some telemetry files."""

    path: Annotated[
        str,
        Meta(
            description="Which files: a glob below a telemetry directory, or an absolute one. `*` is any "
            "part of a name, `**` any number of directories, `{name}` like `*`, to be used in `agent`.",
            examples=["agents/{agent}/**"],
        ),
    ]
    identity: Annotated[
        Literal["record", "path", "owner"],
        Meta(
            description="What gives the agent's id: the record's own field, the path, or the file's owner.",
            examples=["path"],
        ),
    ] = "record"
    agent: Annotated[
        str,
        Meta(
            description="How the id is made. For path: `{name}`, or `{1}` for the first wildcard (default "
            "`{agent}`); for owner: `{user}` (default) or `{uid}`.",
            examples=["{agent}"],
        ),
    ] = ""
    owner: Annotated[
        str | int,
        Meta(
            description="The only user (name or uid) whose files are believed; empty: anybody.",
            examples=["scraper"],
        ),
    ] = ""
    agents: Annotated[
        list[str],
        Meta(
            description="For record: the only ids that may be claimed there; empty: any.",
            examples=[["research-07"]],
        ),
    ] = []
    format: Annotated[
        str, Meta(description="Format of these files; empty: it is recognised.", examples=["codex"])
    ] = ""
    role: Annotated[
        str,
        Meta(description="Role of their agents; empty: the format's.", examples=["builder"]),
    ] = ""


class TelemetryOptions(Struct, forbid_unknown_fields=True, frozen=True):
    """Where agents write, and how it is read."""

    directories: Annotated[
        list[str],
        Meta(
            description="Directories that agents append telemetry to; searched recursively. Without any, the "
            "places of known formats that belong to the user who runs it (not to root).",
            examples=[["/var/log/agents"]],
        ),
    ] = []
    format: Annotated[
        str,
        Meta(
            description="Format of all telemetry; auto: every file's path and first records tell.",
            examples=["wordpress"],
        ),
    ] = "auto"
    mappings: Annotated[
        list[str],
        Meta(
            description="Files that declare further formats (docs/mapping.md); relative paths begin at this "
            "file's directory. One with the name of a built-in format replaces it.",
            examples=[["/etc/sentineld/deploybot.toml"]],
        ),
    ] = []
    rescan_interval: Annotated[
        Duration,
        Meta(
            description="How often all directories are searched, whatever the kernel reports. While it "
            "reports all changes, a search that takes more than 2 ms of CPU time comes less often: 0.2 % of "
            "a core, at least once a minute.",
            examples=["5s"],
        ),
    ] = Duration(5)
    sources: Annotated[
        list[SourceRule],
        Meta(
            description="What is believed of which files. The first entry that matches a file counts; "
            "without one, the records' ids are believed (see `[identity.bindings]`).",
            examples=[[{"path": "agents/{agent}/**", "identity": "path"}]],
        ),
    ] = []


class TaxonomyOptions(Struct, forbid_unknown_fields=True, frozen=True):
    """Event classes of tools and commands beside the built-in ones."""

    tools: Annotated[
        dict[str, str],
        Meta(
            description="Event classes of tools by their names; `*` and `?` match, case does not count.",
            examples=[{"acme_deploy": "api_call", "acme_read_*": "file_read"}],
        ),
    ] = {}
    verbs: Annotated[
        dict[str, str],
        Meta(
            description="Event classes of shell commands, by their names and perhaps their first words.",
            examples=[{"deployctl": "network_request", "deployctl status": "file_read"}],
        ),
    ] = {}
    credential_paths: Annotated[
        list[str],
        Meta(
            description="Paths that hold credentials, beside those that are known; `*` is any text.",
            examples=[["*/vault/*.json"]],
        ),
    ] = []

    def to_plain(self) -> dict[str, Any]:
        """Return what is added to the taxonomy; empty where nothing is."""
        plain = {"tools": self.tools, "verbs": self.verbs, "credential_paths": self.credential_paths}
        return {name: value for name, value in plain.items() if value}


class StateOptions(Struct, forbid_unknown_fields=True, frozen=True):
    """The state file, which routers read."""

    file: Annotated[
        str,
        Meta(
            description="Path of the state file; empty: state.json in the runtime or state directory.",
            examples=["/run/sentineld/state.json"],
            extra=RESTART,
        ),
    ] = ""
    key_file: Annotated[
        str,
        Meta(
            description="File with the key that signs (sentineld keygen); empty: the state file is unsigned.",
            examples=["/etc/sentineld/signing.key"],
        ),
    ] = ""
    key_id: Annotated[
        str,
        Meta(
            description="Name of the key that signs, told to readers.",
            pattern=r"^[A-Za-z0-9._-]{1,64}$",
            examples=["2026-11a"],
        ),
    ] = "default"
    keys: Annotated[
        dict[str, dict[str, Any]],
        Meta(
            description="Keys that readers believe, by id: file, algorithm (optional), not_after (optional); "
            "without any, the one of state.key_file.",
            examples=[{"2026-11a": {"file": "/etc/sentineld/2026-11a.pub", "not_after": "2027-11-01"}}],
        ),
    ] = {}
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
    unlisted_tier: Annotated[
        _Tier,
        Meta(description="Tier of agents that the daemon does not know.", examples=[2]),
    ] = 1


_LEARNED = DetectionSettings()


class DetectionOptions(Struct, forbid_unknown_fields=True, frozen=True):
    """How behaviour becomes a score, and a score a tier."""

    mode: Annotated[
        Literal["activity", "learned"],
        Meta(
            description="Which detection decides: the activity score, or habits that are learned.",
            examples=["activity"],
        ),
    ] = "learned"
    false_alarms_per_session: Annotated[
        float,
        Meta(
            description="Learned: share of honest sessions that may reach tier 2.",
            examples=[0.01],
            gt=0,
            lt=1,
        ),
    ] = _LEARNED.false_alarms_per_session
    false_alarms_per_week: Annotated[
        float,
        Meta(
            description="Learned: share of an honest agent's weeks that may hold a demotion to tier 3.",
            examples=[0.05],
            gt=0,
            lt=1,
        ),
    ] = _LEARNED.false_alarms_per_week
    sessions_per_week: Annotated[
        float,
        Meta(
            description="Learned: the least sessions that an agent is taken to have a week; more count too.",
            examples=[20.0],
            ge=1,
        ),
    ] = _LEARNED.sessions_per_week
    session_gap: Annotated[
        Duration, Meta(description="Learned: silence that ends a session.", examples=["30m"])
    ] = Duration(_LEARNED.gap_us // 1_000_000)
    judge_history: Annotated[
        bool,
        Meta(
            description="Learned: judge what is there at the first start too, not only learn from it.",
            examples=[True],
        ),
    ] = False
    rules: Annotated[
        list[str], Meta(description="Learned: the rules in force, by name.", examples=[list(RULES)])
    ] = msgspec.field(default_factory=lambda: list(RULES))
    starter: Annotated[
        bool,
        Meta(
            description="Learned: let roles that have one begin with a starter: other people's habits, until "
            "their own (docs/baselines.md).",
            examples=[False],
        ),
    ] = True
    believe_prompts: Annotated[
        bool,
        Meta(
            description="Learned: take what telemetry tells of a user's prompt for what a user asked for.",
            examples=[False],
        ),
    ] = True
    max_session_tokens: Annotated[
        int,
        Meta(
            description="Learned: tokens, in and out, that one session may use (rule `spend`); 0: no limit.",
            examples=[5_000_000],
            ge=0,
        ),
    ] = 0
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
        Literal["auto", "quiet", "pardon"],
        Meta(
            description=(
                "What ends tier 3: the quiet time, or only an operator's pardon; auto: the former where the"
                " activity score decides, the latter where habits do."
            ),
            examples=["pardon"],
        ),
    ] = "auto"


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
    bypass: Annotated[
        _Tier, Meta(description="A call that the gate had denied was carried out all the same.", examples=[3])
    ] = 3


class GateOptions(Struct, forbid_unknown_fields=True, frozen=True):
    """What `sentineld gate` answers to coding agents (docs/gate.md)."""

    directory: Annotated[
        str,
        Meta(
            description="Directory that the gate writes its denials to, and the daemon reads; empty: beside "
            "the state directory, with `-gate` at its end.",
            examples=["/var/lib/sentineld-gate"],
            extra=RESTART,
        ),
    ] = ""
    tier_2: Annotated[
        Literal["ask", "deny", "pass"],
        Meta(description="What calls of agents at tier 2 get.", examples=["ask"]),
    ] = "ask"
    tier_3: Annotated[
        Literal["deny", "ask"], Meta(description="What calls of agents at tier 3 get.", examples=["deny"])
    ] = "deny"
    on_failure: Annotated[
        Literal["deny", "pass"],
        Meta(
            description="What a call gets on which nothing can be said: no state file that is in force, or "
            "input in an unknown form.",
            examples=["deny"],
        ),
    ] = "deny"
    headless: Annotated[
        Literal["auto", "yes", "no"],
        Meta(
            description="Whether nobody is there to be asked, so that a call is denied where the user would "
            "be asked; auto: no terminal, or a mode that asks nobody.",
            examples=["auto"],
        ),
    ] = "auto"


class IdentityOptions(Struct, forbid_unknown_fields=True, frozen=True):
    """Whose an agent id is."""

    allow_user_namespace: Annotated[
        bool,
        Meta(
            description="Run in a user namespace too, where owners of files cannot be told apart.",
            examples=[True],
            extra=RESTART,
        ),
    ] = False
    bindings: Annotated[
        dict[str, str | int],
        Meta(
            description="The user (name or uid) who alone may use an agent id.",
            examples=[{"research-07": "scraper"}],
        ),
    ] = {}


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
    agents_in_memory: Annotated[
        int,
        Meta(
            ge=1,
            le=100_000_000,
            description="Agents at tier 1 in memory, those that acted last; others wait in the database.",
            examples=[10000],
        ),
    ] = 10_000
    files: Annotated[
        int, Meta(ge=1, le=10_000_000, description="Files that are followed at most.", examples=[100000])
    ] = 100_000
    files_per_owner: Annotated[
        int,
        Meta(
            ge=1,
            le=10_000_000,
            description="Files of one owner (uid) that are followed; more are not read, and are a flood.",
            examples=[10000],
        ),
    ] = 10_000
    database_bytes: Annotated[
        int,
        Meta(
            ge=1 << 20,
            description="Size that the database is kept below, in bytes; docs/operations.md: what goes.",
            examples=[536870912],
        ),
    ] = 512 << 20
    decision_log_bytes: Annotated[
        int,
        Meta(
            ge=1 << 16,
            description="Size at which decisions.jsonl is rotated, in bytes.",
            examples=[67108864],
        ),
    ] = 64 << 20
    decision_log_files: Annotated[
        int,
        Meta(
            ge=1,
            le=1000,
            description="Rotated files of decisions.jsonl that are kept.",
            examples=[4],
        ),
    ] = 4
    rejects_bytes: Annotated[
        int, Meta(ge=4096, description="Bytes of rejected input kept for inspection.", examples=[16777216])
    ] = 16 << 20


class ThrottleOptions(Struct, forbid_unknown_fields=True, frozen=True):
    """How the daemon steps back while others wait for CPU, memory or I/O (docs/operations.md)."""

    enabled: Annotated[
        bool,
        Meta(description="Whether it steps back under pressure at all.", examples=[False]),
    ] = True
    cpu: Annotated[
        float,
        Meta(
            gt=0,
            le=100,
            description="Pressure of CPU at which it steps back, in percent of the time in which some task "
            "waits for it (PSI); at twice as much it steps back further.",
            examples=[40.0],
        ),
    ] = 60.0
    memory: Annotated[float, Meta(gt=0, le=100, description="The same for memory.", examples=[10.0])] = 10.0
    io: Annotated[float, Meta(gt=0, le=100, description="The same for I/O.", examples=[40.0])] = 40.0
    hold: Annotated[
        Duration,
        Meta(
            description="How long the pressure must be below half of what called for a step before it is "
            "given back.",
            examples=["30s"],
        ),
    ] = Duration(30)
    max_delay: Annotated[
        Duration,
        Meta(
            description="How long it rests at most, in all, until it has caught up: no decision comes later "
            "for it by more.",
            examples=["1m"],
        ),
    ] = Duration(10)
    pressure_dir: Annotated[
        str,
        Meta(
            description="Directory of the kernel's pressure files (`cpu` or `cpu.pressure`, ...); empty: "
            "/proc/pressure, else /sys/fs/cgroup, else load and free memory.",
            examples=["/sys/fs/cgroup/system.slice"],
        ),
    ] = ""


class PrognosticsOptions(Struct, forbid_unknown_fields=True, frozen=True):
    """Forecasts of scores, which ``status`` shows; nothing is decided by them."""

    enabled: Annotated[
        bool,
        Meta(
            description="Whether `sentineld status` forecasts scores (takes the extra `prognostics`).",
            examples=[True],
        ),
    ] = False
    engine: Annotated[
        str,
        Meta(
            description="What forecasts, as `module:name` (docs/library.md); empty: that of the extra.",
            examples=["mycompany.forecast:Engine"],
            pattern=r"^([A-Za-z_][\w.]*:[A-Za-z_]\w*)?$",
        ),
    ] = ""
    horizon: Annotated[Duration, Meta(description="How far ahead scores are forecast.", examples=["1h"])] = (
        Duration(3600)
    )
    patience: Annotated[
        Duration, Meta(description="How long `status` waits for forecasts at most.", examples=["5s"])
    ] = Duration(5)


class NotifyOptions(Struct, forbid_unknown_fields=True, frozen=True):
    """Whom `sentineld notify` tells of decisions, and when (docs/notify.md); the daemon tells nobody."""

    directory: Annotated[
        str,
        Meta(
            description="Directory in which the notifier remembers what it has told; empty: beside the state "
            "directory, with `-notify` at its end.",
            examples=["/var/lib/sentineld-notify"],
        ),
    ] = ""
    command: Annotated[
        list[str],
        Meta(
            description="Program and arguments that each message is given to, as JSON on stdin; no shell.",
            examples=[["/usr/local/bin/page-me", "--team", "agents"]],
        ),
    ] = []
    webhook: Annotated[
        str,
        Meta(
            description="URL that each message is posted to as JSON: https, or http on this machine.",
            examples=["https://hooks.example.net/sentineld"],
            extra=SECRET,
        ),
    ] = ""
    webhook_file: Annotated[
        str,
        Meta(
            description="File that holds the URL instead, where it is a secret.",
            examples=["/etc/sentineld/webhook.url"],
        ),
    ] = ""
    secret_file: Annotated[
        str,
        Meta(
            description="File with the secret that signs what is posted (docs/notify.md); empty: unsigned.",
            examples=["/etc/sentineld/webhook.secret"],
        ),
    ] = ""
    apprise: Annotated[
        list[str],
        Meta(
            description="URLs of services that Apprise knows (takes the extra `notify`).",
            examples=[["ntfys://ntfy.example.net/agents"]],
            extra=SECRET,
        ),
    ] = []
    apprise_file: Annotated[
        str,
        Meta(
            description="File with more of them, one a line, where they are secrets.",
            examples=["/etc/sentineld/apprise.urls"],
        ),
    ] = ""
    lowest_tier: Annotated[
        _Tier,
        Meta(
            description="Told is what leads to this tier or a stricter one, and away from it.", examples=[3]
        ),
    ] = 2
    causes: Annotated[
        list[str],
        Meta(
            description="Causes of decisions that are told; empty: all.", examples=[["rule", "gate_bypassed"]]
        ),
    ] = []
    agents: Annotated[
        list[str],
        Meta(
            description="Agents that are told of, by id; `*` and `?` match; empty: all.",
            examples=[["prod-*"]],
        ),
    ] = []
    digest: Annotated[
        Duration,
        Meta(description="Decisions within this time become one message.", examples=["30s"]),
    ] = Duration(5)
    cooldown: Annotated[
        Duration,
        Meta(
            description="After a message about an agent, the next one about it waits so long, unless its "
            "tier became stricter.",
            examples=["15m"],
        ),
    ] = Duration(900)
    timeout: Annotated[
        Duration, Meta(description="How long an attempt to deliver may take.", examples=["10s"])
    ] = Duration(10)
    first_retry: Annotated[
        Duration,
        Meta(
            description="Pause after the first failure; each one after it is twice as long.", examples=["1s"]
        ),
    ] = Duration(1)
    last_retry: Annotated[Duration, Meta(description="Longest pause between attempts.", examples=["5m"])] = (
        Duration(300)
    )
    give_up: Annotated[
        Duration,
        Meta(description="Age at which a message that nobody took is given up.", examples=["1d"]),
    ] = Duration(86_400)
    queue: Annotated[
        int,
        Meta(
            ge=1,
            le=100_000,
            description="Decisions that wait for one target at most; the oldest are given up.",
            examples=[5000],
        ),
    ] = 5000


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


class MetricsOptions(Struct, forbid_unknown_fields=True, frozen=True):
    """Metrics for Prometheus (docs/metrics.md); none are served or written unless a place is given."""

    socket: Annotated[
        str,
        Meta(
            description="Unix socket on which metrics are served by HTTP (mode 0660); empty: none.",
            examples=["/run/sentineld/metrics.sock"],
        ),
    ] = ""
    address: Annotated[
        str,
        Meta(
            description="Loopback address and port on which metrics are served by HTTP; every user of the "
            "machine may read them there; empty: none.",
            examples=["127.0.0.1:9464"],
        ),
    ] = ""
    textfile: Annotated[
        str,
        Meta(
            description="File for node_exporter's textfile collector, its name ends in .prom; empty: none.",
            examples=["/run/sentineld/metrics.prom"],
        ),
    ] = ""
    interval: Annotated[
        Duration, Meta(description="How often the textfile is written.", examples=["15s"])
    ] = Duration(15)
    group: Annotated[
        str,
        Meta(
            description="Group that may use the socket and read the textfile; empty: the daemon's own.",
            examples=["prometheus"],
        ),
    ] = ""
    agents: Annotated[
        int,
        Meta(
            ge=0,
            le=1000,
            description="Agents that are named in metrics at most, those above tier 1 first; 0: none is.",
            examples=[50],
        ),
    ] = 0

    @property
    def host_port(self) -> tuple[str, int]:
        """The address, split; ``ValueError`` where it is not a loopback address with a port."""
        host, _, port = self.address.rpartition(":")
        host = "127.0.0.1" if host == "localhost" else host.removeprefix("[").removesuffix("]")
        if not ipaddress.ip_address(host).is_loopback:
            raise ValueError(f"{host} is no loopback address")
        if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
            raise ValueError(f"{port!r} is no port")
        return host, int(port)
