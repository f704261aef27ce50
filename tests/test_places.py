"""Where agents write by default, for one user."""

import os
from types import SimpleNamespace

import pytest

from sentineld.errors import ConfigError
from sentineld.mapping_files import parse_mappings
from sentineld.places import expand, find_places, inner_path
from sentineld.recognition import Formats

EVENT = "[[source.event]]\ntype = '=plan'\n"


def formats(forced="", **places):
    text = "".join(
        f"[[source]]\nname = '{name}'\nplaces = {found}\n{EVENT}" for name, found in places.items()
    )
    call = SimpleNamespace(event_class="plan", entities=(), features=())
    return Formats(parse_mappings(text.encode(), "x.toml", lambda *_: call), forced)


@pytest.mark.parametrize(
    ("place", "env", "path"),
    [
        ("~/.a/b", {}, "/home/u/.a/b"),
        ("${A_HOME:-~/.a}/b", {}, "/home/u/.a/b"),
        ("${A_HOME:-~/.a}/b", {"A_HOME": "/x/../y"}, "/y/b"),
        ("${A_HOME:-~/.a}/b", {"A_HOME": ""}, "/home/u/.a/b"),
        ("${A_HOME:-~/.a}/b", {"A_HOME": "relative"}, "/home/u/.a/b"),
        ("${A_HOME}/b", {"A_HOME": "/x"}, "/x/b"),
        ("${A_HOME}/b", {}, None),
        ("relative/b", {}, None),
        ("/var/log/a/", {}, "/var/log/a"),
        ("~/.a/*/chats", {}, "/home/u/.a"),
    ],
)
def test_variables_and_the_home_are_filled_in(place, env, path):
    assert expand(place, env, "/home/u") == path


@pytest.mark.parametrize(
    ("place", "inner"),
    [
        ("~/.a/b", ".a/b"),
        ("${A_HOME:-~/.a}/b", ".a/b"),
        ("~/.a/*/b", ".a"),
        ("/var/log/a", None),
        ("${A}/b", None),
    ],
)
def test_a_place_has_a_name_below_any_home(place, inner):
    assert inner_path(place) == inner


def test_what_exists_and_is_the_users_is_found_once(tmp_path):
    for name in ("a/b/c", "d"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "file.log").touch()
    os.mkfifo(tmp_path / "pipe")
    known = formats(
        one=["~/a", "~/missing", "~/pipe"],
        two=["~/a/b/c", "~/d"],
        three=["~/file.log", "~/d"],
        four=["/proc/1/cwd/x"],
    )

    places = find_places(known, {"HOME": str(tmp_path)}, os.geteuid())

    assert places.directories == [str(tmp_path / name) for name in ("a", "d", "file.log")]
    assert [(place.format, os.path.basename(place.path)) for place in places.found] == [
        ("one", "a"), ("two", "c"), ("two", "d"), ("three", "file.log"), ("three", "d")
    ]  # fmt: skip
    assert {os.path.basename(place.path) for place in places.missing} >= {"missing", "pipe"}


def test_what_belongs_to_another_user_is_not_found(tmp_path):
    (tmp_path / "a").mkdir()

    places = find_places(formats(one=["~/a"]), {"HOME": str(tmp_path)}, os.geteuid() + 1)

    assert (places.directories, [place.format for place in places.foreign]) == ([], ["one"])


def test_where_one_format_is_forced_only_its_places_are_looked_for(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "d").mkdir()
    env = {"HOME": str(tmp_path)}

    assert find_places(formats("two", one=["~/a"], two=["~/d"]), env, os.geteuid()).directories == [
        str(tmp_path / "d")
    ]
    assert find_places(formats("wordpress", one=["~/a"]), env, os.geteuid()).directories == []


def test_a_user_without_a_home_is_told(tmp_path):
    with pytest.raises(ConfigError, match="no home directory"):
        find_places(formats(one=["~/a"]), {}, 4_000_000_001)
