"""Stores that several runs share: equal tables are built once, others lie side by side, and builds may overlap."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from adafocus_rl.checksums import read_sealed
from adafocus_rl.data.dataset import ClipDataset
from adafocus_rl.errors import UserError
from adafocus_rl.features import DEFAULT_TABLES, FeatureBank, TableStore, build_bank
from adafocus_rl.features.expected import expected_manifests
from adafocus_rl.features.verify import verify_tables
from adafocus_rl.models.recognizer import Recognizer

CPU = torch.device("cpu")
MakeDataset = Callable[..., ClipDataset]
MakeRecognizer = Callable[..., Recognizer]
Made = tuple[Recognizer, ClipDataset]


def _build(store: TableStore, made: Made, *, on_progress: Callable[[int], None] = lambda done: None) -> list[int]:
    said: list[int] = []

    def progress(done: int, total: int) -> None:
        said.append(done)
        on_progress(done)

    build_bank(store, *made, device=CPU, shard_videos=2, chunk_videos=1, progress=progress)
    return said


def _open(store: TableStore, made: Made) -> FeatureBank:
    return FeatureBank(store, device=CPU, expected=expected_manifests(*made))


def _state(folder: Path) -> dict[str, tuple[int, bytes]]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


def test_equal_tables_are_built_once_and_others_lie_beside_them(
    tmp_path: Path, made: Made, make_recognizer: MakeRecognizer
) -> None:
    one, two = (TableStore(tmp_path, shared=True, owner=owner) for owner in ("one", "two"))
    _build(one, made)
    before = _state(tmp_path)
    assert _build(two, made) == [6]
    assert _state(tmp_path) == before
    other = make_recognizer(), made[1]
    with torch.no_grad():
        next(other[0].focus.parameters()).add_(1)
    _build(two, other)
    after = _state(tmp_path)
    assert {name: after[name] for name in before} == before
    assert {Path(name).parts[0].split("-")[0] for name in {*after} - {*before}} == {"local", "full"}
    first, second = _open(one, made), _open(two, other)
    videos = torch.arange(6)
    assert torch.equal(first.episodes(videos).global_map, second.episodes(videos).global_map)
    assert not torch.equal(first.episodes(videos).full(), second.episodes(videos).full())


def test_lists_and_folds_share_a_store(
    tmp_path: Path, made: Made, own_list: Path, make_dataset: MakeDataset, make_recognizer: MakeRecognizer
) -> None:
    own_list.write_text("\n".join(own_list.read_text().splitlines()[:4]) + "\n")
    fold = make_recognizer(), make_dataset(own_list)
    store = TableStore(tmp_path / "store", shared=True)
    _build(store, made)
    _build(store, fold)
    assert len(_open(store, made).videos) == 6
    assert len(_open(store, fold).videos) == 3


def test_builds_of_the_same_tables_may_overlap(tmp_path: Path, made: Made) -> None:
    """The second one begins in the middle of a shard of the first, and comes to its end before it."""
    _build(TableStore(tmp_path / "alone", shared=True), made)
    one, two = (TableStore(tmp_path / "both", shared=True, owner=owner) for owner in ("one", "two"))
    between: list[dict[str, tuple[int, bytes]]] = []

    def other(done: int) -> None:
        if done == 3:
            # Shards are written while the next ones are computed.
            until = time.monotonic() + 60
            while len(list((tmp_path / "both").glob("*/shard_00000"))) < 6 and time.monotonic() < until:
                time.sleep(0.01)
            assert _build(two, made) == [2, 3, 4, 5, 6]
            between.append(_state(tmp_path / "both"))

    assert _build(one, made, on_progress=other) == [0, 1, 2, 3, 4, 5, 6]
    after = _state(tmp_path / "both")
    done = {name: state for name, state in between[0].items() if ".part_" not in name}
    assert after == done
    contents = [{name: data for name, (_, data) in _state(tmp_path / name).items()} for name in ("alone", "both")]
    assert contents[0] == contents[1]
    assert verify_tables(_open(one, made).tables.values()) == []


def test_what_a_killed_run_left_is_no_table(tmp_path: Path, made: Made) -> None:
    store = TableStore(tmp_path, shared=True, owner="one")

    def power_cut(done: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _build(store, made, on_progress=power_cut)
    path = next(tmp_path.glob("local-*"))
    part = path / ".part_00001_one"
    shutil.copytree(path / "shard_00000", part)
    with pytest.raises(UserError, match="half-written: 1 of 3 shards of the table clips"):
        _open(store, made)
    assert _build(store, made)[0] == 2
    assert not part.exists()


def test_a_table_that_is_not_there_is_told_by_what_differs(
    tmp_path: Path, made: Made, make_dataset: MakeDataset, shared_list: Path, make_recognizer: MakeRecognizer
) -> None:
    store = TableStore(tmp_path / "store", shared=True)
    with pytest.raises(UserError, match=r"no feature bank in .*/store; build one with"):
        _open(store, made)
    _build(store, made)
    with pytest.raises(
        UserError, match=r"no table global_map .* \(in global_map-\w{16}, glance_weights is \S+ there and"
    ):
        _open(store, (make_recognizer(seed=1), made[1]))
    clips = make_dataset(shared_list, resize_short=50)
    with pytest.raises(
        UserError, match=r"no feature bank .* \(in clips-\w{16}, transforms.short_side is 0 there and 50"
    ):
        _open(store, (made[0], clips))


def test_overwriting_leaves_other_tables_alone(tmp_path: Path, made: Made, make_recognizer: MakeRecognizer) -> None:
    store, other = TableStore(tmp_path, shared=True), (make_recognizer(patch_size=8), made[1])
    _build(store, made)
    _build(store, other)
    before = _state(tmp_path)
    build_bank(store, *other, device=CPU, shard_videos=2, overwrite=True, tables=DEFAULT_TABLES[2:3])
    after = _state(tmp_path)
    assert after.keys() == before.keys()
    changed = {Path(name).parts[0] for name, state in after.items() if before[name][0] != state[0]}
    local = [
        path for path in tmp_path.glob("local-*") if read_sealed(path / "manifest.json", "m")[0]["patch_size"] == 8
    ]
    assert changed == {local[0].name, next(tmp_path.glob("clips-*")).name}
