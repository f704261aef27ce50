"""Tree: how telemetry directories are searched."""

import os
import tracemalloc

import pytest

from sentineld import tree


def search(directory):
    """Return the entries below a directory, and what could not be searched."""
    troubles = []
    return [entry.path for entry in tree.walk(str(directory), troubles.append)], troubles


def fill(directory, files, prefix="f"):
    directory.mkdir(exist_ok=True)
    fd = os.open(directory, os.O_RDONLY)
    try:
        for number in range(files):
            os.close(os.open(f"{prefix}{number:05}", os.O_CREAT | os.O_WRONLY, 0o644, dir_fd=fd))
    finally:
        os.close(fd)
    return [str(directory / f"{prefix}{number:05}") for number in range(files)]


def test_files_come_in_the_order_of_their_names(tmp_path):
    names = fill(tmp_path / "a", 50)
    below = fill(tmp_path / "a" / "sub", 5)

    assert search(tmp_path / "a") == ([*names, *below], [])


def test_each_file_of_a_large_directory_is_met_once(tmp_path, monkeypatch):
    monkeypatch.setattr(tree, "_LISTED", 8)
    names = fill(tmp_path / "a", 100)
    for number in range(30):
        names += fill(tmp_path / "a" / f"d{number}", number)
    names += fill(tmp_path / "a" / "d7" / "deeper", 20)
    found, troubles = search(tmp_path / "a")

    assert sorted(found) == sorted(names)
    assert not troubles


def test_a_large_directory_takes_little_memory(tmp_path, monkeypatch):
    fill(tmp_path / "a", 3000)

    def peak():
        tracemalloc.start()
        try:
            for _ in tree.walk(str(tmp_path / "a"), list.append):
                pass
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    whole = peak()
    monkeypatch.setattr(tree, "_LISTED", 64)

    assert peak() < whole / 5


def test_a_directory_of_many_directories_takes_little_memory(tmp_path, monkeypatch):
    for number in range(1000):
        (tmp_path / f"d{number}").mkdir()

    def peak():
        tracemalloc.start()
        try:
            assert search(tmp_path) == ([], [])
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    whole = peak()
    monkeypatch.setattr(tree, "_LISTED", 16)

    assert peak() < whole / 3


@pytest.mark.parametrize("listed", [1, 16_384])
def test_the_depth_is_bounded_and_told(tmp_path, monkeypatch, listed):
    monkeypatch.setattr(tree, "_LISTED", listed)
    path = tmp_path
    names = []
    for _ in range(tree._MAX_DEPTH + 1):
        names.append(str(path / "x.jsonl"))
        (path / "x.jsonl").touch()
        path = path / "d"
        path.mkdir()
    (path / "hidden.jsonl").touch()
    found, troubles = search(tmp_path)

    assert found == names
    assert [(trouble.kind, trouble.path) for trouble in troubles] == [("too_deep", str(path))]
