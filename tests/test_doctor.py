"""The doctor, on real directories, files, keys and processes: what is to be mended is found, and no more."""

import contextlib
import os
import sqlite3
import time
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
from schemas import check

from sentineld import kernel
from sentineld.config import load_config
from sentineld.doctor import (
    Examined,
    clock,
    daemon,
    directories,
    disk,
    inotify,
    keys,
    software,
    telemetry,
    unit,
)
from sentineld.doctor.base import FIX, NOTE, OK, groups_of, look, may
from sentineld.inotify import CREATE, Inotify
from sentineld.instant import SECOND_US
from sentineld.keys import generate_pair, generate_secret
from sentineld.statedir import prepare, resolve_paths
from sentineld.store import Store
from sentineld.tables import Commit

ROOT = Path(__file__).parents[1]
DAY_US = 86_400 * SECOND_US
SOMEBODY = 54_321


@pytest.fixture
def examined(tmp_path):
    """Make a state directory and a telemetry directory with one file, as they should be."""
    tmp_path.chmod(0o755)
    watched = tmp_path / "telemetry"
    watched.mkdir(mode=0o755, exist_ok=True)
    (watched / "a.jsonl").write_text("{}\n")

    def make(**options):
        given = {"state_dir": str(tmp_path / "state"), "telemetry.directories": [str(watched)]}
        config = load_config(None, {}, given | {key.replace("__", "."): it for key, it in options.items()})
        paths = resolve_paths(config, {}, os.geteuid())
        prepare(paths)
        return Examined(config, paths, {}, time.time_ns() // 1000)

    return make


def levels(found):
    return [(item.check, item.level) for item in found]


def to_mend(found):
    return [item for item in found if item.level == FIX]


def test_directories_as_the_daemon_makes_them_are_fine(examined):
    found = directories.check(directories.read(examined()))

    assert levels(found) == [("state directory", OK), ("requests", OK)]


@pytest.mark.parametrize(
    ("name", "mode", "message"),
    [
        ("requests", 0o777, "everybody may pardon"),
        ("requests", 0o770, "may pardon and pin"),
        ("rejects", 0o755, "others may look at"),
        ("", 0o777, "others may put files there"),
    ],
)
def test_directories_that_others_may_use_are_told_with_a_mode(examined, name, mode, message):
    place = examined()
    path = os.path.join(place.paths.state_dir, name)
    os.chmod(path, mode)

    (found,) = to_mend(directories.check(directories.read(place)))

    assert message in found.message
    assert found.fix.startswith("chmod ")


def test_what_agents_could_change_is_told(examined, tmp_path):
    place = examined()
    if os.geteuid() == 0:
        # Another user writes telemetry, and owns where the daemon's state is.
        os.chown(tmp_path / "telemetry" / "a.jsonl", SOMEBODY, SOMEBODY)
        os.chown(tmp_path, SOMEBODY, SOMEBODY)
    reading = directories.read(place)
    exposed = [item for item in directories.check(reading) if item.check == "isolation"]

    assert [item.path for item in reading.exposed] == ([str(tmp_path)] if os.geteuid() == 0 else [])
    assert len(exposed) == len(reading.exposed)


def test_a_state_directory_of_somebody_else_is_told_and_one_that_is_missing_is_no_fault(examined):
    reading = directories.read(examined())

    (found,) = to_mend(directories.check(reading._replace(uid=SOMEBODY)))
    assert found.fix.startswith("sudo -u ")
    assert levels(directories.check(reading._replace(state=None))) == [("state directory", NOTE)]
    assert "not the daemon's" in to_mend(directories.check(reading._replace(owner=SOMEBODY)))[0].message


def test_telemetry_that_the_daemon_may_not_read_is_told(examined, tmp_path):
    place = examined()
    reading = telemetry.read(place)
    assert levels(telemetry.check(reading)) == [("telemetry", OK)]

    (tmp_path / "telemetry" / "a.jsonl").chmod(0o600)
    stranger = telemetry.read(place)._replace(uid=SOMEBODY, groups=frozenset())
    closed = [
        item.message for item in to_mend(telemetry.check(stranger)) if "may not read it" in item.message
    ]
    assert len(closed) == 1
    assert str(tmp_path / "telemetry" / "a.jsonl") in closed[0]
    # Whom an access list lets in is not known: nothing is said.
    listed = frozenset(item.path for item in (*stranger.names, *stranger.parents))
    assert to_mend(telemetry.check(stranger._replace(acls=listed))) == []


def test_a_pipe_in_the_place_of_the_lock_is_not_waited_for(examined):
    place = examined()
    os.mkfifo(place.paths.lock)

    assert place.pid == 0


def test_what_is_to_be_typed_runs_nothing_that_a_name_says(examined, tmp_path):
    evil = tmp_path / "telemetry" / "a; touch x;"
    evil.mkdir(mode=0o777)
    evil.chmod(0o777)
    place = examined(telemetry__directories=[str(evil), f"{evil}/none"])
    fixes = [item.fix for item in to_mend(telemetry.check(telemetry.read(place)))]

    assert len(fixes) == 2
    assert all(f"'{evil}" in fix for fix in fixes)


def test_telemetry_directories_that_are_missing_or_everybodys_are_told(examined, tmp_path):
    place = examined(telemetry__directories=[str(tmp_path / "telemetry"), str(tmp_path / "none")])
    (tmp_path / "telemetry").chmod(0o777)

    missing, open_to_all = to_mend(telemetry.check(telemetry.read(place)))

    assert missing.fix == f"mkdir -p {tmp_path / 'none'}"
    assert "remove and rename" in open_to_all.message
    (tmp_path / "telemetry").chmod(0o1777)
    assert len(to_mend(telemetry.check(telemetry.read(place)))) == 1
    nothing = telemetry.read(place)._replace(problem=("nothing is watched", "sentineld init"))
    assert levels(telemetry.check(nothing)) == [("telemetry", FIX)]


def test_who_may_what_goes_by_owner_group_and_mode(tmp_path):
    tmp_path.chmod(0o750)
    entry = look(str(tmp_path))._replace(uid=1, gid=2)

    assert may(entry, 1, frozenset(), 7)
    assert may(entry, 3, frozenset({2}), 5)
    assert not may(entry, 3, frozenset({2}), 2)
    assert not may(entry, 3, frozenset({4}), 1)
    # The first class that fits counts, as for the kernel.
    assert not may(entry._replace(mode=0o40077), 1, frozenset({2}), 1)
    assert may(entry, 0, frozenset(), 7)
    assert groups_of(os.geteuid(), os.getpid()) == {os.getegid(), *os.getgroups()}


def test_limits_of_inotify_are_compared_with_what_is_watched_and_what_is_used(examined, tmp_path):
    place = examined()
    before = inotify.read(place)
    for name in "abc":
        (tmp_path / "telemetry" / name).mkdir()
    queue = Inotify()
    queue.add(str(tmp_path), CREATE)
    try:
        reading = inotify.read(place)
    finally:
        queue.close()

    assert reading.needed == before.needed + 3
    assert reading.used_instances >= 1
    assert reading.used_watches >= 1
    room = reading._replace(max_watches=100, max_instances=10, used_watches=5, used_instances=9)
    assert levels(inotify.check(room)) == [("inotify", OK)]
    (found,) = to_mend(inotify.check(room._replace(max_watches=6)))
    assert "sysctl fs.inotify.max_user_watches=" in found.fix
    (found,) = to_mend(inotify.check(room._replace(used_instances=10)))
    assert "max_user_instances=20" in found.fix
    assert levels(inotify.check(room._replace(max_watches=0))) == [("inotify", NOTE)]


def test_a_clock_that_is_behind_is_told(examined, tmp_path):
    place = examined()
    assert to_mend(clock.check(clock.read(place))) == []
    ahead = time.time() + 3600
    os.utime(tmp_path / "telemetry" / "a.jsonl", (ahead, ahead))
    reading = clock.read(place)

    (found,) = to_mend(clock.check(reading))
    assert "a.jsonl" in found.message
    (found,) = to_mend(clock.check(reading._replace(newest_us=0, published_us=reading.now_us + DAY_US)))
    assert "yet to come" in found.message
    good = reading._replace(newest_us=0, is_synchronised=True)
    assert levels(clock.check(good)) == [("clock", OK)]
    assert levels(clock.check(good._replace(is_synchronised=False))) == [("clock", NOTE)]


MOUNTS = """\
25 0 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
40 25 0:51 / /srv/a\\040b rw - nfs4 host:/a rw
41 25 0:52 / /run rw shared:3 master:2 - tmpfs tmpfs rw
42 41 0:53 /x /run rw - btrfs /dev/sdb rw
"""


def test_file_systems_are_read_as_the_kernel_lists_them(examined):
    mounts = disk.mount_points(MOUNTS)
    for path, kind in (("/srv", "ext4"), ("/srv/a b/c", "nfs4"), ("/srv/a bc", "ext4"), ("/run/x", "btrfs")):
        assert disk.kind_at(path, mounts) == kind
    assert disk.kind_at("/srv", []) == ""
    found = disk.read(examined())
    assert {item.use for item in found} == {disk.STATE, disk.PUBLISHED, disk.TELEMETRY}
    assert all(item.kind and item.free_bytes > 0 for item in found)


DISK = disk.Disk(disk.STATE, "/d", "ext4", is_readonly=False, free_bytes=1 << 34, free_inodes=10_000)


@pytest.mark.parametrize(
    ("change", "level", "message"),
    [
        ({}, OK, "ext4"),
        ({"free_inodes": None}, OK, "ext4"),
        ({"free_bytes": 1 << 20}, FIX, "1 MiB left"),
        ({"free_inodes": 3}, FIX, "3 inodes left"),
        ({"is_readonly": True}, FIX, "read-only"),
        ({"kind": "nfs4"}, FIX, "not to be relied on"),
        ({"kind": "tmpfs"}, NOTE, "ends with the machine"),
        ({"kind": "tmpfs", "use": disk.PUBLISHED}, OK, "tmpfs"),
        ({"kind": "cifs", "use": disk.TELEMETRY}, NOTE, "only found by searching"),
        ({"free_bytes": 0, "is_readonly": True, "use": disk.TELEMETRY}, OK, "telemetry"),
    ],
)
def test_disks_that_are_full_closed_or_of_the_wrong_kind_are_told(change, level, message):
    (found,) = disk.check([DISK._replace(**change)])

    assert found.level == level
    assert message in found.message


def test_keys_are_told_by_kind_mode_and_end(examined, tmp_path):
    assert levels(keys.check(keys.read(examined()))) == [("keys", NOTE)]
    private, public = generate_pair()
    (tmp_path / "k").write_bytes(private)
    (tmp_path / "k.pub").write_bytes(public)
    (tmp_path / "secret").write_bytes(generate_secret())
    for name in ("k", "secret"):
        (tmp_path / name).chmod(0o600)

    signed = {"state__key_file": str(tmp_path / "k"), "state__key_id": "a"}
    assert levels(keys.check(keys.read(examined(**signed)))) == [("keys", OK)]
    ending = {"a": {"file": str(tmp_path / "k.pub"), "not_after": "2100-01-01"}}
    reading = keys.read(examined(**signed, state__keys=ending))
    assert levels(keys.check(reading)) == [("keys", OK)]
    soon = reading._replace(now_us=reading.signer.not_after_us - DAY_US)
    assert "expires" in to_mend(keys.check(soon))[0].message
    shared = keys.read(examined(state__key_file=str(tmp_path / "secret")))
    assert levels(keys.check(shared)) == [("keys", NOTE)]
    credential = {
        "state__key_file": "${CREDENTIALS_DIRECTORY}/k",
        "state__key_id": "a",
        "state__keys": ending,
    }
    hidden = keys.read(examined(**credential))
    assert levels(keys.check(hidden)) == [("keys", OK)]
    assert len(to_mend(keys.check(hidden._replace(now_us=soon.now_us)))) == 1
    (tmp_path / "k").chmod(0o644)
    (found,) = to_mend(keys.check(keys.read(examined(**signed))))
    assert str(tmp_path / "k") in found.message
    assert found.fix
    assert to_mend(keys.check(keys.read(examined(state__key_file=str(tmp_path / "none")))))


SHIPPED = (ROOT / "systemd" / "sentineld.service").read_text()
WELL = {"LoadState": "loaded", "UnitFileState": "enabled", "ActiveState": "active", "NeedDaemonReload": "no"}
UNIT = unit.Reading(is_system=True, properties=WELL, shipped=SHIPPED, fragment=SHIPPED)


@pytest.mark.parametrize(
    ("change", "fix"),
    [
        ({"UnitFileState": "disabled"}, "systemctl enable sentineld"),
        ({"ActiveState": "failed", "Result": "exit-code"}, "systemctl status sentineld"),
        ({"NeedDaemonReload": "yes"}, "systemctl daemon-reload"),
    ],
)
def test_a_unit_that_will_not_run_is_told(change, fix):
    assert levels(unit.check(UNIT)) == [("unit", OK)]
    (found,) = to_mend(unit.check(UNIT._replace(properties=WELL | change)))
    assert found.fix.startswith(fix)
    (found,) = to_mend(unit.check(UNIT._replace(properties=WELL | change, is_system=False)))
    assert "systemctl --user " in found.fix


def test_a_unit_that_is_more_open_than_the_shipped_one_is_told():
    opened = SHIPPED.replace("ProtectHome=yes", "ProtectHome=no").replace("PrivateNetwork=yes\n", "")
    moved = SHIPPED.replace("/opt/sentineld", "/usr")

    (found,) = to_mend(unit.check(UNIT._replace(fragment=opened)))
    assert "ProtectHome, PrivateNetwork" in found.message
    assert [name for name in ("ExecPaths", "ExecStart") if name in unit.directives(moved)] == ["ExecPaths"]
    drop_in = {"/etc/systemd/system/sentineld.service.d/override.conf": "[Service]\nProtectHome=tmpfs\n"}
    told = list(unit.check(UNIT._replace(drop_ins=drop_in)))
    assert levels(told) == [("unit", NOTE), ("unit", OK)]
    assert "changes ProtectHome" in told[0].message


def test_without_systemd_or_a_unit_nothing_is_to_be_mended(examined):
    assert levels(unit.check(UNIT._replace(properties=None))) == [("unit", NOTE)]
    assert levels(unit.check(UNIT._replace(properties={"LoadState": "not-found"}))) == [("unit", NOTE)]
    assert list(unit.check(unit.read(examined())))


def test_software_that_is_missing_is_told_and_the_extras_are_those_of_the_project(examined):
    reading = software.read(examined().config)
    assert next(software.check(reading)).level == OK
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    bare = reading._replace(
        versions={}, python=(3, 11, 0), kernel="compiled", wanted=frozenset({"prognostics"})
    )

    found = [item for item in (*software.check(bare), *software.check_extras(bare)) if item.level != OK]

    assert {item.fix for item in found[1:]} == {
        f"pip install 'sentineld[{name}]'" for name in project["optional-dependencies"]
    }
    assert [item.fix for item in found if item.level == FIX][1:] == ["pip install 'sentineld[prognostics]'"]
    needed = {item.partition(">")[0] for item in project["dependencies"]}
    assert set(found[0].fix.removeprefix("pip install ").split()) == needed


@pytest.mark.parametrize(("name", "level"), [("compiled", OK), ("reference", NOTE)])
def test_it_says_whether_the_compiled_kernel_is_in_use(examined, name, level):
    reading = software.read(examined().config)
    assert reading.kernel == kernel.name()

    found = [item for item in software.check(reading._replace(kernel=name)) if "kernel" in item.message]

    assert [item.level for item in found] == [level]


def test_a_daemon_that_runs_needs_no_doctor_and_one_that_was_stopped_does(place):
    place.telemetry.fill()
    watched = ["doctor", "--telemetry", place.telemetry.directory]
    began = place.start()
    document = place.json(*watched, code=None)
    check("doctor", document)

    told = {(item["check"], item["level"]) for item in document["findings"]}
    # How this machine's disks, clock and libraries are is not for this test.
    assert told >= {("daemon", OK), ("state directory", OK), ("requests", OK), ("telemetry", OK)}
    assert not {name for name, level in told if level == FIX} - {"disk", "inotify", "clock", "unit"}
    began.stop()
    done = place.command(*watched)
    assert done.returncode == 1
    assert done.stdout.startswith("FIX ")
    assert "FIX   daemon: it was stopped: routers use tier 3 for every agent from 20" in done.stdout
    assert "try: sentineld run" in done.stdout
    place.env["COLUMNS"] = "80"
    lines = place.command(*watched).stdout.splitlines()
    assert [line for line in lines if len(line) > 80 and str(place.base) not in line] == []
    order = [line[:4] for line in lines if line[:2].strip()]
    assert order[:-1] == sorted(order[:-1], key=["FIX ", "note", "ok  "].index)


def test_a_state_file_of_another_version_and_a_database_that_is_none_are_told(place, examined):
    place.once()
    here = examined(state_dir=str(place.state_dir))
    reading = daemon.read(here)._replace(is_running=True)
    assert to_mend(daemon.check(reading)) == []
    view = reading.report.view
    old = replace(reading.report, view=view._replace(writer="sentineld/0.0.1", faults=("journal",)))
    assert [item.check for item in to_mend(daemon.check(reading._replace(report=old)))] == [
        "daemon",
        "state file",
    ]
    path = place.state_dir / "sentineld.db"
    with contextlib.closing(sqlite3.connect(path)) as db:
        (root,) = db.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'meta'").fetchone()
        (page,) = db.execute("PRAGMA page_size").fetchone()
    data = bytearray(path.read_bytes())
    data[(root - 1) * page : root * page] = b"\xff" * page
    for content in (data, b"no database" * 100):
        path.write_bytes(content)
        assert [item.check for item in to_mend(daemon.check(daemon.read(here)))] == ["database", "daemon"]


def test_a_directory_that_has_just_appeared_is_not_one_that_the_daemon_does_not_find(examined, tmp_path):
    there, appears = tmp_path / "telemetry", tmp_path / "later"
    here = examined(telemetry__directories=[str(there), str(appears)])
    now = time.time_ns() // 1000
    with Store.open(here.paths.database, now) as store:
        store.commit(Commit("publish", now, troubles={"missing_directory": 1}))

    assert daemon.read(here).waits_for <= 0
    appears.mkdir()
    assert daemon.read(here).waits_for <= 0
    # That one was there when the daemon looked: it was started with another.
    later = here.config.telemetry.rescan_interval.us + 1_000_000
    assert daemon.read(replace(here, now_us=time.time_ns() // 1000 + later)).waits_for == 1
