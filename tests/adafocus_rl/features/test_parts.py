"""Parts of a bank: disjoint, together the whole, and the same bytes as a build in one piece."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from adafocus_rl.data.dataset import ClipDataset
from adafocus_rl.errors import UserError
from adafocus_rl.features import DEFAULT_TABLES, FeatureBank, TableStore, build_bank
from adafocus_rl.features.expected import expected_manifests
from adafocus_rl.features.parts import MOST_PARTS, WHOLE, Part, parts_without, spans
from adafocus_rl.models.recognizer import Recognizer

CPU = torch.device("cpu")
Made = tuple[Recognizer, ClipDataset]


def _content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@given(count=st.integers(0, 300), of=st.integers(1, 100))
def test_parts_are_disjoint_even_and_complete(count: int, of: int) -> None:
    parts = [Part(number, of).shards(count) for number in range(1, of + 1)]
    assert [shard for part in parts for shard in part] == [*range(count)]
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@given(count=st.integers(1, 300), of=st.integers(1, 50), times=st.integers(1, 5))
def test_a_finer_division_divides_each_part(count: int, of: int, times: int) -> None:
    for number in range(1, of + 1):
        finer = [Part((number - 1) * times + i, of * times).shards(count) for i in range(1, times + 1)]
        assert [shard for part in finer for shard in part] == [*Part(number, of).shards(count)]


@pytest.mark.parametrize(
    "text", ["", "3", "0/4", "5/4", "-1/4", "1/0", "1.5/2", "1/4/2", "a/b", f"1/{MOST_PARTS + 1}", "¹/4"]
)
def test_what_is_no_part_is_refused(text: str) -> None:
    with pytest.raises(UserError, match=r"give K/N, such as 3/16"):
        Part.parse(text)


def test_a_part_is_spelled_as_it_is_read() -> None:
    assert str(Part.parse("3/16")) == "3/16"
    assert spans([4]) == "4"
    assert spans([1, 2, 5, 6, 7, 9]) == "1, 2, 5 to 7 and 9"


def test_parts_of_tables_with_different_shards_are_the_whole(tmp_path: Path, made: Made) -> None:
    """Also byte by byte: the chunks that are encoded together are those of a build in one piece."""
    decoded: list[int] = []
    counts: list[tuple[int, int]] = []
    for name, parts in (("whole", [WHOLE]), ("parts", [Part(3, 3), Part(1, 3), Part(2, 3)])):
        # `local` has shards of 2 videos, all others of 4.
        build_bank(tmp_path / name, *made, device=CPU, shard_videos=2, tables=DEFAULT_TABLES[2:3])
        for path in (tmp_path / name).rglob("shard_*/*"):
            path.unlink()
        for part in parts:
            counts.clear()
            build_bank(
                tmp_path / name, *made, device=CPU, shard_videos=4, chunk_videos=3, part=part,
                progress=lambda *pair: counts.append(pair),
            )  # fmt: skip
            assert counts[0][0] == 0
            decoded.append(counts[-1][1])
    # Shards of 2 begin at videos 0, 2, 4, those of 4 at 0 and 4: parts of 2 to 4 videos, in all little more than all.
    assert decoded[0] == 6
    assert sum(decoded[1:]) <= 10
    assert _content(tmp_path / "parts") == _content(tmp_path / "whole")


def test_a_part_goes_on_where_it_was_interrupted(tmp_path: Path, made: Made) -> None:
    store = TableStore(tmp_path)
    counts: list[tuple[int, int]] = []

    def build(part: Part, *, until: int = 99) -> list[tuple[int, int]]:
        counts.clear()

        def progress(done: int, total: int) -> None:
            counts.append((done, total))
            if done >= until:
                raise KeyboardInterrupt

        build_bank(store, *made, device=CPU, shard_videos=1, chunk_videos=1, part=part, progress=progress)
        return counts

    with pytest.raises(KeyboardInterrupt):
        build(Part(2, 2), until=2)
    assert parts_without(store.tables().values(), 2) == [1, 2]
    assert build(Part(2, 2)) == [(2, 3), (3, 3)]
    assert parts_without(store.tables().values(), 2) == [1]
    assert parts_without(store.tables().values(), 6) == [1, 2, 3]
    with pytest.raises(UserError, match="half-written: 3 of 6 shards of the table"):
        FeatureBank(tmp_path, device=CPU)
    assert build(Part(2, 2)) == [(3, 3)]
    assert build(Part(1, 2))[-1] == (3, 3)
    assert len(FeatureBank(tmp_path, device=CPU).videos) == 6


def test_a_part_does_not_discard_the_others(tmp_path: Path, made: Made) -> None:
    with pytest.raises(ValueError, match="it would discard the shards of the others"):
        build_bank(tmp_path, *made, device=CPU, part=Part(1, 2), overwrite=True)


@pytest.mark.parametrize("owner", ["", "one"])
def test_what_killed_parts_left_is_removed_once_others_have_finished(tmp_path: Path, made: Made, owner: str) -> None:
    store = TableStore(tmp_path, shared=bool(owner), owner=owner)
    build_bank(store, *made, device=CPU, shard_videos=2)
    table = next(path for path in tmp_path.iterdir() if path.name.startswith("local"))
    killed = [table / f".part_00001{owner and '_'}{owner}{part}" for part in ("", "_2of3")]
    others = [table / ".part_00001_two", table / ".part_00001_two_2of3"] if owner else []
    for path in (*killed, *others):
        path.mkdir()
    store.sweep(store.find(expected_manifests(*made)).values())
    assert not any(path.exists() for path in killed)
    assert all(path.exists() for path in others)


def test_a_table_that_lost_its_manifest_keeps_its_shards(tmp_path: Path, made: Made) -> None:
    build_bank(tmp_path, *made, device=CPU, shard_videos=2)
    before = _content(tmp_path)
    (tmp_path / "local" / "manifest.json").unlink()
    build_bank(tmp_path, *made, device=CPU, shard_videos=2, part=Part(1, 2))
    assert _content(tmp_path) == before
