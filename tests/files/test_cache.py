"""The cache: what is stored comes back, and nothing else is ever believed."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from growc.files import cache

KEY: dict[str, Any] = {"config": {"hidden_size": 32}, "torch": "2.13.0"}
VALUE = {"layers": [1, 2, 3], "found": None}

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path / "cache"))
    monkeypatch.setattr(cache, "_warnings", [])
    monkeypatch.setattr(cache, "_written", {})
    return tmp_path / "cache"


def entry(place: Path) -> Path:
    (found,) = place.glob("*/*")
    return found


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(key=st.dictionaries(st.text(), json_values, max_size=3), value=json_values)
def test_what_is_stored_comes_back(key: Mapping[str, Any], value: Any) -> None:
    cache.store("kind", key, value)
    assert cache.load("kind", key) == cache.Entry(value)


@pytest.mark.parametrize("part", ["config", "torch"])
def test_another_key_is_another_entry(part: str) -> None:
    cache.store("kind", KEY, VALUE)
    assert cache.load("kind", KEY | {part: "other"}) is None
    assert cache.load("kind", {**KEY, "more": 1}) is None
    assert cache.load("other", KEY) is None


def test_a_byte_less_or_another_anywhere_is_not_believed(place: Path) -> None:
    cache.store("kind", KEY, VALUE)
    path = entry(place)
    whole = path.read_bytes()
    for at in range(len(whole)):
        for spoilt in (whole[:at], whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]):
            path.write_bytes(spoilt)
            assert cache.load("kind", KEY) is None, (at, spoilt)
    path.write_bytes(whole)
    assert cache.load("kind", KEY) == cache.Entry(VALUE)


def test_an_entry_of_another_key_in_its_place_is_not_believed(place: Path) -> None:
    """As of another version, with a digest that fits."""
    cache.store("kind", KEY | {"torch": "2.12.0"}, VALUE)
    content = entry(place).read_bytes()
    entry(place).unlink()
    cache.store("kind", KEY, {"layers": []})
    entry(place).write_bytes(content)
    assert cache.load("kind", KEY) is None


def test_another_format_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    cache.store("kind", KEY, VALUE)
    monkeypatch.setattr(cache, "FORMAT", cache.FORMAT + 1)
    assert cache.load("kind", KEY) is None


@pytest.mark.parametrize("what", ["folder", "link", "pipe"])
def test_what_is_no_file_is_not_read(place: Path, tmp_path: Path, what: str) -> None:
    cache.store("kind", KEY, VALUE)
    path = entry(place)
    path.rename(tmp_path / "elsewhere")
    match what:
        case "folder":
            path.mkdir()
        case "link":
            path.symlink_to(tmp_path / "elsewhere")
        case _:
            os.mkfifo(path)
    assert cache.load("kind", KEY) is None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user")
def test_an_entry_of_another_user_is_not_believed(place: Path) -> None:
    cache.store("kind", KEY, VALUE)
    os.chown(entry(place), 12345, -1)
    assert cache.load("kind", KEY) is None
    cache.store("kind", KEY, VALUE)
    assert cache.load("kind", KEY) == cache.Entry(VALUE)


def test_an_entry_that_others_may_write_is_not_believed(place: Path) -> None:
    cache.store("kind", KEY, VALUE)
    for mode in (0o620, 0o602):
        entry(place).chmod(mode)
        assert cache.load("kind", KEY) is None
    entry(place).chmod(0o644)
    assert cache.load("kind", KEY) == cache.Entry(VALUE)


def test_a_user_without_a_home_has_no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(cache.VARIABLE)
    monkeypatch.setattr(cache, "user_cache_path", lambda *_, **__: Path("~/.cache/growc"))
    assert cache.folder() is None


def test_a_cache_that_cannot_be_written_is_warned_of_once(
    place: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    place.write_text("a file where the folder should be")
    with caplog.at_level(logging.WARNING):
        for number in range(3):
            cache.store("kind", KEY | {"number": number}, VALUE)
            assert cache.load("kind", KEY | {"number": number}) is None
    assert [record.getMessage() for record in caplog.records] == [
        f"the cache in {place} cannot be used: {os.strerror(20)}; set GROWC_CACHE to another folder, or to off"
    ]


def test_a_full_disk_leaves_no_part_of_an_entry(
    place: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(Path, "replace", full)
    cache.store("kind", KEY, VALUE)
    assert not list(place.glob("*/*"))
    assert len(caplog.records) == 1


def test_off_reads_and_writes_nothing(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache.store("kind", KEY, VALUE)
    monkeypatch.setenv(cache.VARIABLE, cache.OFF)
    assert cache.load("kind", KEY) is None
    cache.store("kind", KEY | {"more": 1}, VALUE)
    entry(place)


def test_the_entries_read_longest_ago_go_first(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "LIMIT", 10_000)
    text = "x" * 1500
    for number in range(6):
        cache.store("kind", {"number": number}, text)
        for path in place.glob("*/*"):  # clocks of file systems are coarse
            os.utime(path, ns=(0, path.stat().st_mtime_ns - 10**9))
    assert cache.load("kind", {"number": 0}) is not None  # and is the newest now
    cache.store("kind", {"number": 6}, text)
    left = [number for number in range(7) if cache.load("kind", {"number": number})]
    assert sum(path.stat().st_size for path in place.glob("*/*")) <= 7_500
    assert {0, 6} <= {*left}
    assert 1 not in left
    assert 2 not in left


def test_files_of_others_in_the_folder_are_left_alone(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (place / "photos").mkdir(parents=True)
    theirs = [place / "photos/one.json", place / "photos/two.png", place / f"photos/{'0' * 64}.png", place / "three"]
    for path in theirs:
        path.write_text("x" * 1000)
        os.utime(path, (0, 0))
    monkeypatch.setattr(cache, "LIMIT", 1_000)
    for number in range(9):
        cache.store("kind", {"number": number}, "x" * 500)
    assert all(path.exists() for path in theirs)
    assert len(list(place.glob("kind/*"))) == 1


def test_entries_are_measured_from_time_to_time(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "LIMIT", 64_000)
    sizes: list[int] = []
    for number in range(100):
        cache.store("kind", {"number": number}, "x" * 1_000)
        sizes.append(sum(path.stat().st_size for path in place.glob("*/*")))
    assert 48_000 < max(sizes) <= 72_000


def test_processes_that_write_at_once_leave_whole_entries(place: Path) -> None:
    children: list[int] = []
    for _child in range(4):
        if not (pid := os.fork()):
            for number in range(50):
                cache.store("kind", {"number": number % 5}, ["x" * 1000] * (1 + number % 5))
                found = cache.load("kind", {"number": number % 5})
                if found is None or len(found.value) != 1 + number % 5:
                    os._exit(1)
            os._exit(0)
        children.append(pid)
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 4
    assert len(list(place.glob("*/*"))) == 5
    assert all(json.loads(path.read_bytes().partition(b"\n")[2]) for path in place.glob("*/*"))
