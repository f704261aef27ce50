"""The shipped units do what their comments say, as far as it can be told without a running systemd."""

import os
import re
import shutil
import stat
import struct
import subprocess
import tomllib
from pathlib import Path
from typing import NamedTuple

import pytest
from journals import numbered

from sentineld.errors import AccessError, ConfigError, LockedError, UsageError
from sentineld.journal import Journal

REPOSITORY = Path(__file__).parents[2]
SYSTEM_UNIT = REPOSITORY / "systemd" / "sentineld.service"
NOTIFY_UNIT = REPOSITORY / "systemd" / "sentineld-notify.service"
NOTIFY_USER_UNIT = REPOSITORY / "systemd" / "user" / "sentineld-notify.service"
USER_UNIT = REPOSITORY / "systemd" / "user" / "sentineld.service"
SYSUSERS = REPOSITORY / "systemd" / "sysusers.d" / "sentineld.conf"
TMPFILES = REPOSITORY / "systemd" / "tmpfiles.d" / "sentineld.conf"
NOTIFY_SYSUSERS = REPOSITORY / "systemd" / "sysusers.d" / "sentineld-notify.conf"
NOTIFY_TMPFILES = REPOSITORY / "systemd" / "tmpfiles.d" / "sentineld-notify.conf"
EXAMPLE = REPOSITORY / "etc" / "sentineld.toml"
INSTALL = REPOSITORY / "docs" / "install-systemd.md"

#: The system unit may be exposed by 1.5 of 10 at most; the tool compares tenths.
EXPOSURE = ("--offline=true", "--threshold=15", "--no-pager")

#: Options that a user manager can only carry out in a user namespace, where owner uids are lost:
#: systemd.exec(5), "only available for system services, or for services running in per-user instances ...".
NEEDS_A_USER_NAMESPACE = re.compile(
    r"Private\w+|Proc\w+|Protect\w+|Bind\w+|Mount\w+|Root\w+|Extension\w+|TemporaryFileSystem|DynamicUser"
    r"|(ReadOnly|ReadWrite|Inaccessible|Exec|NoExec)Paths|(Network|IPC)NamespacePath"
    r"|CapabilityBoundingSet|AmbientCapabilities"
)

#: A user that nobody is, in place of the notifier's, which this machine need not have.
STRANGER = 64_999

needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed"
)


class Directive(NamedTuple):
    """One ``Name=value`` of a unit and the words that explain it."""

    section: str
    name: str
    value: str
    reason: str


def directives(unit):
    """Read a unit. The reason of a line is the comment that opens its block of lines without a blank one."""
    section, reason, found = "", "", []
    for line in unit.read_text(encoding="utf-8").splitlines():
        if not line:
            reason = ""
        elif line.startswith("# ---"):
            continue
        elif line.startswith("#"):
            reason += line.removeprefix("#").strip() + " "
        elif line.startswith("["):
            section = line.strip("[]")
        else:
            name, _, value = line.partition("=")
            found.append(Directive(section, name, value, reason.strip()))
    return found


def values(unit, name):
    return [directive.value for directive in directives(unit) if directive.name == name]


def words(unit, name):
    """All words of an option that may stand on several lines."""
    return " ".join(values(unit, name)).split()


def seconds(span):
    """Read the one form of time span that units and example use."""
    return int(re.fullmatch(r"(\d+)s", span)[1])


def run(*command, **environment):
    """Run one of systemd's tools on files; none of them talks to a running systemd here."""
    env = {**os.environ, "SYSTEMD_PAGER": "cat", **environment}
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, env=env)


def with_existing_program(unit, directory):
    """Copy a unit and put a program that is on every machine where sentineld would be."""
    text = re.sub(r"(/opt/sentineld|%h/\.local)/bin/sentineld", "/bin/true", unit.read_text(encoding="utf-8"))
    copy = directory / unit.name
    copy.write_text(text, encoding="utf-8")
    return copy


def as_myself(lines):
    """Give what tmpfiles.d lines make to whoever runs the tests: only root may give files to others.

    The group in an ACL is looked up on this machine, which need not have it, so it becomes a number too.
    """
    lines = re.sub(r"(?m)^([dz] +\S+ \d+) \S+ \S+ ", rf"\1 {os.getuid()} {os.getgid()} ", lines)
    lines = lines.replace("user:sentineld-notify:", f"user:{STRANGER}:")
    return lines.replace("group:agent-telemetry:", f"group:{os.getgid()}:")


@pytest.fixture
def tmpfiles(tmp_path):
    """Carry out tmpfiles.d lines in an otherwise empty system tree, which is returned."""

    def create(lines):
        configuration = tmp_path / "lines.conf"
        configuration.write_text(as_myself(lines), encoding="utf-8")
        verdict = run("systemd-tmpfiles", "--create", f"--root={tmp_path}", str(configuration))
        assert (verdict.returncode, verdict.stderr) == (0, "")
        return tmp_path

    return create


# --- what systemd's tools say ---


@needs_systemd
@pytest.mark.parametrize(
    ("unit", "manager"),
    [
        (SYSTEM_UNIT, "--system"),
        (USER_UNIT, "--user"),
        (NOTIFY_UNIT, "--system"),
        (NOTIFY_USER_UNIT, "--user"),
    ],
)
def test_systemd_accepts_every_line(unit, manager, tmp_path):
    copy = with_existing_program(unit, tmp_path)
    verdict = run("systemd-analyze", "verify", "--man=no", manager, str(copy), XDG_RUNTIME_DIR=str(tmp_path))

    assert unit.name not in verdict.stderr
    assert verdict.returncode == 0, verdict.stderr


@needs_systemd
def test_the_check_of_lines_finds_a_misspelt_option(tmp_path):
    unit = with_existing_program(SYSTEM_UNIT, tmp_path)
    unit.write_text(unit.read_text().replace("ProtectSystem=", "ProtectSytem="))

    assert "ProtectSytem" in run("systemd-analyze", "verify", "--man=no", str(unit)).stderr


@needs_systemd
@pytest.mark.parametrize("unit", [SYSTEM_UNIT, NOTIFY_UNIT])
def test_the_system_units_expose_little(unit):
    verdict = run("systemd-analyze", "security", *EXPOSURE, str(unit))

    assert verdict.returncode == 0, verdict.stdout + verdict.stderr


@needs_systemd
def test_the_check_of_exposure_finds_a_unit_without_hardening(tmp_path):
    bare = tmp_path / "bare.service"
    bare.write_text("[Service]\nExecStart=/bin/true\n")

    assert run("systemd-analyze", "security", *EXPOSURE, str(bare)).returncode != 0


@needs_systemd
def test_sysusers_makes_the_user_and_the_groups(tmp_path):
    verdict = run("systemd-sysusers", "--dry-run", f"--root={tmp_path}", str(SYSUSERS))

    assert verdict.returncode == 0, verdict.stderr
    for name in ("sentineld-readers", "agent-telemetry", "user 'sentineld'"):
        assert name in verdict.stdout + verdict.stderr


@needs_systemd
def test_tmpfiles_makes_configuration_and_telemetry_directories(tmpfiles, tmp_path):
    (tmp_path / "etc" / "sentineld").mkdir(parents=True)
    (tmp_path / "etc" / "sentineld" / "sentineld.toml").touch(mode=0o666)
    tree = tmpfiles(TMPFILES.read_text(encoding="utf-8"))

    expected = {"etc/sentineld": 0o750, "etc/sentineld/sentineld.toml": 0o640, "var/log/agents": 0o751}
    assert {path: stat.S_IMODE((tree / path).stat().st_mode) for path in expected} == expected


@needs_systemd
@pytest.mark.parametrize("source", [TMPFILES, INSTALL])
def test_the_lines_for_one_agent_work_as_they_are_printed(source, tmpfiles):
    text = source.read_text(encoding="utf-8")
    lines = re.findall(r"^[# ]*(\S+\s+/var/log/agents/research-07 .*)$", text, re.MULTILINE)
    directory = tmpfiles("\n".join(lines) + "\n") / "var" / "log" / "agents" / "research-07"

    assert [line.split()[0] for line in lines] == ["d", "a+"]
    assert stat.S_IMODE(directory.stat().st_mode) == 0o2750
    assert "system.posix_acl_default" in os.listxattr(directory)


# --- what the units promise ---


@pytest.mark.parametrize("unit", [SYSTEM_UNIT, USER_UNIT, NOTIFY_UNIT, NOTIFY_USER_UNIT])
def test_every_line_has_its_reason(unit):
    unexplained = [
        directive.name
        for directive in directives(unit)
        if len(directive.reason.split()) < 4 and directive.name != "Description"
    ]

    assert unexplained == []


def test_owner_uids_stay_what_they_are():
    """In a user namespace each agent's file reads as uid 65534: with the owner goes the agent's identity."""
    assert values(SYSTEM_UNIT, "PrivateUsers") == ["no"]
    names = [directive.name for directive in directives(USER_UNIT)]
    assert [name for name in names if NEEDS_A_USER_NAMESPACE.fullmatch(name)] == []


def test_the_boot_id_stays_readable():
    """ProcSubset=pid would hide it, and readers would fall back from the boot clock to the wall clock."""
    assert values(SYSTEM_UNIT, "ProcSubset") == ["all"]


@pytest.mark.parametrize("unit", [SYSTEM_UNIT, USER_UNIT, NOTIFY_UNIT, NOTIFY_USER_UNIT])
def test_restarts_stop_only_where_a_person_must_help(unit):
    given_up = {int(status) for status in words(unit, "RestartPreventExitStatus")}

    assert {error.exit_code for error in (UsageError, AccessError, ConfigError)} == given_up
    assert LockedError.exit_code not in given_up
    assert values(unit, "Restart") == ["always"]
    assert values(unit, "StartLimitIntervalSec") == ["0"]


def test_a_failed_check_does_not_keep_the_watcher_down():
    """RestartPreventExitStatus= does not see ExecStartPre=: without "-" a bad configuration never stops."""
    (check,) = values(SYSTEM_UNIT, "ExecStartPre")
    assert check.startswith("-/opt/sentineld/bin/sentineld check ")


@pytest.mark.parametrize("unit", [SYSTEM_UNIT, USER_UNIT])
def test_a_reload_checks_before_it_signals(unit):
    check, signal = values(unit, "ExecReload")

    assert re.search(r"/sentineld check( |$)", check)
    assert not check.startswith("-")
    assert signal == "/bin/kill -HUP $MAINPID"


@pytest.mark.parametrize("unit", [SYSTEM_UNIT, USER_UNIT])
def test_a_hang_is_over_before_the_state_file_expires(unit):
    valid_for = seconds(tomllib.loads(EXAMPLE.read_text(encoding="utf-8"))["state"]["valid_for"])
    (watchdog,) = values(unit, "WatchdogSec")

    assert 2 * seconds(watchdog) <= valid_for


@pytest.mark.parametrize("unit", [SYSTEM_UNIT, USER_UNIT])
def test_the_filter_lets_the_state_file_be_given_to_its_readers(unit):
    """@chown is a part of @privileged, so it has to come back after that was taken out."""
    filters = values(unit, "SystemCallFilter")

    assert filters[0] == "@system-service"
    assert "@privileged" in filters[1]
    assert filters[-1] == "@chown"


def test_nothing_runs_from_where_the_daemon_can_write():
    """Bind mounts do not inherit NoExecPaths=/, so each writable directory has to be named."""
    named = words(SYSTEM_UNIT, "NoExecPaths")
    places = {"StateDirectory": "/var/lib/", "RuntimeDirectory": "/run/", "LogsDirectory": "/var/log/"}
    writable = [base + name for option, base in places.items() for name in words(SYSTEM_UNIT, option)]

    assert {"/", *writable, "/tmp", "/var/tmp", "/dev/shm"} <= set(named)
    assert values(SYSTEM_UNIT, "ReadWritePaths") == []


def test_the_unit_runs_as_what_sysusers_makes():
    lines = SYSUSERS.read_text(encoding="utf-8").splitlines()
    made = [line.split()[:3] for line in lines if line and not line.startswith("#")]
    memberships = {group for kind, user, group in made if kind == "m" and user == "sentineld"}

    assert values(SYSTEM_UNIT, "User") == ["sentineld"]
    assert ["u", "sentineld", "-"] in made
    assert set(words(SYSTEM_UNIT, "SupplementaryGroups")) == memberships

    lines = TMPFILES.read_text(encoding="utf-8").splitlines()
    owners = {tuple(line.split()[3:5]) for line in lines if line and not line.startswith("#")}
    assert owners == {("root", "sentineld-readers"), ("root", "agent-telemetry")}
    assert {group for _, group in owners} <= memberships


def test_only_the_daemon_enters_the_state_directory_and_readers_pass_to_the_state_file():
    # The group is the daemon's own: for a directory with an ACL it is the mask, without which none counts.
    assert values(SYSTEM_UNIT, "StateDirectoryMode") == ["0750"]
    assert values(SYSTEM_UNIT, "Group") == ["sentineld"]
    assert values(SYSTEM_UNIT, "RuntimeDirectoryMode") == ["0755"]
    assert values(SYSTEM_UNIT, "RuntimeDirectoryPreserve") == ["yes"]


def test_the_user_unit_keeps_state_out_of_the_configuration_directory():
    """StateDirectory= of a user unit is ~/.config before systemd 254, and may be linked to it afterwards."""
    assert values(USER_UNIT, "StateDirectory") == []


def test_the_user_unit_names_its_configuration():
    """A host's own configuration comes first where none is named, and it may not even be readable."""
    start, check = values(USER_UNIT, "ExecStart")[0], values(USER_UNIT, "ExecReload")[0]
    named = "--config %E/sentineld/sentineld.toml"

    assert start.endswith(f"/sentineld run {named}")
    assert check.endswith(f"/sentineld check {named}")
    assert "init --config ~/.config/sentineld/sentineld.toml" in INSTALL.read_text(encoding="utf-8")


# --- the notifier ---


def test_the_notifier_alone_has_a_network_and_is_nobody_who_may_change_or_see_more():
    assert values(SYSTEM_UNIT, "PrivateNetwork") == ["yes"]
    assert "AF_INET" in words(NOTIFY_UNIT, "RestrictAddressFamilies")
    assert values(NOTIFY_UNIT, "User") == values(NOTIFY_UNIT, "Group") == ["sentineld-notify"]
    assert values(NOTIFY_UNIT, "StateDirectory") == ["sentineld-notify"]
    assert values(NOTIFY_UNIT, "ReadWritePaths") == []
    lines = NOTIFY_SYSUSERS.read_text(encoding="utf-8").splitlines()
    made = [line.split()[:3] for line in lines if line and not line.startswith("#")]

    assert made == [["u", "sentineld-notify", "-"], ["m", "sentineld-notify", "sentineld-readers"]]
    assert words(NOTIFY_UNIT, "SupplementaryGroups") == ["sentineld-readers"]


def test_the_notifier_names_the_state_directory_that_is_not_its_own():
    (start,) = values(NOTIFY_UNIT, "ExecStart")

    assert start.endswith(" --state-dir /var/lib/sentineld")
    assert start.startswith("/opt/sentineld/bin/sentineld notify --config /etc/sentineld/sentineld.toml")


@needs_systemd
def test_the_notifier_may_read_the_decision_log_and_not_the_database(tmpfiles, tmp_path):
    tree = tmp_path / "var" / "lib" / "sentineld"
    tree.mkdir(parents=True)
    (tree / "decisions.1.jsonl").touch(mode=0o600)
    tmpfiles(NOTIFY_TMPFILES.read_text(encoding="utf-8"))
    assert stat.S_IMODE(tree.stat().st_mode) == 0o750
    umask = os.umask(0o077)
    try:
        Journal(str(tree / "decisions.jsonl")).append([numbered(1)])
        (tree / "sentineld.db").touch(mode=0o600)
        (tree / "requests").mkdir(mode=0o700)
    finally:
        os.umask(umask)

    # With an ACL, the group's bits are its mask: what the notifier's entry is worth.
    def worth(name):
        path = tree / name
        acl = os.getxattr(path, "system.posix_acl_access")
        # A version, then tag (2: a user by name), permissions (4: read) and uid: linux/posix_acl_xattr.h.
        return (2, 4, STRANGER) in struct.iter_unpack("<HHI", acl[4:]) and path.stat().st_mode & 0o040

    for name in ("decisions.jsonl", "decisions.1.jsonl"):
        assert worth(name), name
    for name in ("sentineld.db", "requests"):
        assert not (tree / name).stat().st_mode & 0o070, name


# --- the example configuration and the guide ---


def test_the_example_is_toml_with_each_optional_line_too():
    text = EXAMPLE.read_text(encoding="utf-8")
    optional = re.findall(r"^# \w+ = .+$", text, re.MULTILINE)

    assert len(optional) > 0
    assert tomllib.loads(text)["mode"] == "observe"
    for line in optional:
        name, value = tomllib.loads(line.removeprefix("# ")).popitem()
        parsed = tomllib.loads(text.replace(line, line.removeprefix("# ")))
        tables = [parsed, *(table for table in parsed.values() if isinstance(table, dict))]
        assert value in [table.get(name) for table in tables]


def test_the_example_tells_every_reader_where_the_unit_publishes():
    """Without the line, the commands of a user who is not root look among that user's own files."""
    example = tomllib.loads(EXAMPLE.read_text(encoding="utf-8"))
    (directory,) = values(SYSTEM_UNIT, "RuntimeDirectory")

    assert "state_dir" not in example
    assert example["state"]["file"] == f"/run/{directory}/state.json"


def test_readers_of_the_state_file_may_read_the_configuration():
    """A reader that cannot read it does not know whether to ask for a signature: strictest tier for all."""
    example = tomllib.loads(EXAMPLE.read_text(encoding="utf-8"))
    group = example["state"]["group"]
    lines = [line.split() for line in TMPFILES.read_text(encoding="utf-8").splitlines()]
    modes = {line[1]: line[2:5] for line in lines if line and line[0] in {"d", "z"}}

    assert modes["/etc/sentineld"] == ["0750", "root", group]
    assert modes["/etc/sentineld/sentineld.toml"] == ["0640", "root", group]
    assert f"-g {group} etc/sentineld.toml" in INSTALL.read_text(encoding="utf-8")


def test_the_check_of_a_reload_finds_the_credentials():
    """On systemd 252 a reload's commands do not see them; the daemon's own view of /run has them."""
    check, _ = values(SYSTEM_UNIT, "ExecReload")

    assert " CREDENTIALS_DIRECTORY=/proc/${MAINPID}/root/run/credentials/%n /opt/sentineld/" in check


def test_the_service_is_set_up_in_at_most_five_commands():
    (block, *_) = re.findall(r"```sh\n(.*?)```", INSTALL.read_text(encoding="utf-8"), re.DOTALL)
    commands = block.strip().splitlines()

    assert len(commands) <= 5
    for shipped in re.findall(r"(?:systemd|etc)/[\w./-]+", re.sub(r"/etc/\S*", "", block)):
        assert (REPOSITORY / shipped).exists(), shipped
