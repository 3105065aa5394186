from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from growc.data.files import DataFile
from growc.data.split import after_line, after_line_or_character, after_tokens, split


def made_up(sizes: list[int]) -> list[DataFile]:
    return [DataFile(Path(f"/{i}"), f"{i}", size, 0) for i, size in enumerate(sizes)]


def on_disk(folder: Path, content: bytes) -> list[DataFile]:
    path = folder / "one"
    path.write_bytes(content)
    return [DataFile(path, "one", len(content), 0)]


sizes = st.lists(st.integers(1, 1000), min_size=2, max_size=60)


@st.composite
def fractions(draw: st.DrawFn) -> list[float]:
    weights = draw(st.lists(st.floats(0.01, 1), min_size=1, max_size=5))
    total = sum(weights) + draw(st.sampled_from([0.0, 0.5]))
    return [weight / total for weight in weights]


def nowhere(path: Path, offset: int) -> int:
    raise AssertionError("several files are never cut")


@given(sizes=sizes, shares=fractions(), seed=st.integers(0, 99))
def test_a_file_goes_whole_to_one_share(sizes: list[int], shares: list[float], seed: int) -> None:
    pieces = [piece for given in split(made_up(sizes), shares, seed, nowhere) for piece in given]
    assert len({piece.path for piece in pieces}) == len(pieces)
    assert all(piece.start == 0 and piece.stop == sizes[int(piece.path.name)] for piece in pieces)


@given(sizes=sizes, shares=fractions(), seed=st.integers(0, 99))
def test_shares_are_within_one_file_of_their_aim(sizes: list[int], shares: list[float], seed: int) -> None:
    for share, given_ in zip(shares, split(made_up(sizes), shares, seed, nowhere), strict=True):
        got = sum(piece.stop for piece in given_)
        assert abs(got - share * sum(sizes)) <= max(sizes) + 1e-6


@given(sizes=sizes, shares=fractions(), data=st.data())
def test_the_order_of_listing_does_not_matter(sizes: list[int], shares: list[float], data: st.DataObject) -> None:
    files = made_up(sizes)
    again = data.draw(st.permutations(files))
    assert split(files, shares, 0, nowhere) == split(again, shares, 0, nowhere)


def test_the_seed_matters() -> None:
    files = made_up([10] * 40)
    assert split(files, [0.5, 0.5], 0, nowhere) != split(files, [0.5, 0.5], 1, nowhere)


def test_small_shares_get_files_of_all_sizes() -> None:
    """A small share is served all along, not with what is left at the end."""
    files = made_up([size for size in (1, 10, 100) for _ in range(1000)])
    small = split(files, [0.05, 0.95], 0, nowhere)[0]
    by_size = {size: sum(piece.stop == size for piece in small) for size in (1, 10, 100)}
    assert all(30 <= number <= 70 for number in by_size.values()), by_size


@settings(max_examples=50)
@given(text=st.text("ab\né漢🙂", min_size=1, max_size=300), shares=fractions())
def test_one_text_is_cut_between_characters(text: str, shares: list[float]) -> None:
    content = text.encode()

    with tempfile.TemporaryDirectory() as folder:
        files = on_disk(Path(folder), content)
        shared = split(files, shares, 0, after_line_or_character)
    stops = [0]
    for pieces in shared:
        for piece in pieces:
            assert piece.start == stops[-1]
            content[piece.start : piece.stop].decode()
            stops.append(piece.stop)
    if sum(shares) > 1 - 1e-9:
        assert stops[-1] == len(content)


def test_one_text_is_cut_after_lines(tmp_path: Path) -> None:
    content = b"".join(b"line %d\n" % i for i in range(1000))
    first, second = split(on_disk(tmp_path, content), [0.3, 0.7], 0, after_line_or_character)
    cut = first[0].stop
    assert content[cut - 1 : cut] == b"\n"
    assert abs(cut - 0.3 * len(content)) < 10
    assert (second[0].start, second[0].stop) == (cut, len(content))


def test_a_text_of_one_line_is_cut_between_characters(tmp_path: Path) -> None:
    files = on_disk(tmp_path, "漢".encode() * 1000)
    assert split(files, [0.5, 0.5], 0, after_line_or_character)[0][0].stop == 1500
    assert split(files, [0.1667, 0.8333], 0, after_line_or_character)[0][0].stop == 501


def test_lines_longer_than_a_read_are_kept_whole(tmp_path: Path) -> None:
    content = (b"x" * 200_000 + b"\n") * 5
    first, second = split(on_disk(tmp_path, content), [0.5, 0.5], 0, after_line)
    assert (first[0].stop, second[0].start) == (600_003, 600_003)


def test_a_cut_may_fall_on_a_beginning(tmp_path: Path) -> None:
    first, _ = split(on_disk(tmp_path, b"aaaa\nbbbb\n"), [0.5, 0.5], 0, after_line)
    assert first[0].stop == 5


def test_tokens_are_cut_whole() -> None:
    file = DataFile(Path("/t"), "t", 4 * 101, 0)
    first, second = split([file], [0.5, 0.25], 0, after_tokens(4))
    assert (first[0].start, first[0].stop, second[0].stop) == (0, 200, 300)
