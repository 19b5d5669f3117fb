from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from adafocus_rl.data.dataset import ClipDataset
from adafocus_rl.errors import UserError
from adafocus_rl.features import FeatureBank, LiveFeatures, build, build_bank
from adafocus_rl.models.recognizer import Recognizer

CPU = torch.device("cpu")
MakeDataset = Callable[..., ClipDataset]
MakeRecognizer = Callable[..., Recognizer]


class Visits:
    """Which videos a dataset was asked for."""

    def __init__(self, dataset: ClipDataset, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seen: list[int] = []
        load = ClipDataset.__getitem__

        def spy(own: ClipDataset, i: int) -> object:
            self.seen.append(i)
            return load(own, i)

        monkeypatch.setattr(type(dataset), "__getitem__", spy)


def _build(folder: Path, recognizer: Recognizer, dataset: ClipDataset, **options: object) -> list[tuple[int, int]]:
    said: list[tuple[int, int]] = []
    build_bank(
        folder, recognizer, dataset, device=CPU, shard_videos=2, chunk_videos=2,
        progress=lambda done, total: said.append((done, total)), **options,  # type: ignore[arg-type]
    )  # fmt: skip
    return said


def test_a_build_goes_on_where_it_was_interrupted(
    tmp_path: Path,
    shared_list: Path,
    make_dataset: MakeDataset,
    make_recognizer: MakeRecognizer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recognizer, dataset = make_recognizer(), make_dataset(shared_list)
    folder = tmp_path / "bank"
    whole = tmp_path / "whole"
    _build(whole, recognizer, dataset)

    calls = 0
    full_features = Recognizer.full_features

    def power_cut(own: Recognizer, frames: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        if calls == 4:  # one for the manifest, two shards, and in the third
            raise KeyboardInterrupt
        return full_features(own, frames)

    with monkeypatch.context() as patch:
        patch.setattr(Recognizer, "full_features", power_cut)
        with pytest.raises(KeyboardInterrupt):
            _build(folder, recognizer, dataset)
    with pytest.raises(UserError, match=r"half-written: 2 of 3 shards"):
        FeatureBank(folder, device=CPU)
    # A crash may also leave a mark that says more than the disk holds.
    with (folder / "shard_00000" / "local.npy").open("rb+") as file:
        file.truncate(100)

    visits = Visits(dataset, monkeypatch)
    assert _build(folder, recognizer, dataset) == [(2, 6), (4, 6), (6, 6)]
    assert visits.seen == [0, 1, 4, 5]
    for file in sorted(whole.rglob("*.npy")):
        assert np.array_equal(np.load(file), np.load(folder / file.relative_to(whole)), equal_nan=True), file.name
    assert not list(folder.glob(".part_*"))

    visits.seen.clear()
    assert _build(folder, recognizer, dataset) == [(6, 6)]
    assert visits.seen == []


def test_shards_that_outlive_their_manifest_are_not_trusted(
    tmp_path: Path,
    shared_list: Path,
    make_dataset: MakeDataset,
    make_recognizer: MakeRecognizer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    dataset = make_dataset(shared_list)
    _build(tmp_path, make_recognizer(), dataset)
    (tmp_path / "manifest.json").unlink()
    visits = Visits(dataset, monkeypatch)
    _build(tmp_path, make_recognizer(seed=1), dataset)
    assert visits.seen == list(range(6))


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"manifest": "x", "bytes": 3, "failed": []}'])
def test_a_spoilt_done_mark_is_not_trusted(
    tmp_path: Path, shared_list: Path, make_dataset: MakeDataset, make_recognizer: MakeRecognizer, text: str
) -> None:
    recognizer, dataset = make_recognizer(), make_dataset(shared_list)
    _build(tmp_path, recognizer, dataset)
    mark = tmp_path / "shard_00001" / "done.json"
    right = json.loads(mark.read_text())
    for spoilt in (text, json.dumps({**right, "bytes": {}})):
        mark.write_text(spoilt)
        with pytest.raises(UserError, match="half-written: 2 of 3"):
            FeatureBank(tmp_path, device=CPU)
    _build(tmp_path, recognizer, dataset)
    assert json.loads(mark.read_text()) == right


def test_an_undecodable_video_is_left_out_and_named(
    tmp_path: Path, own_list: Path, make_dataset: MakeDataset, make_recognizer: MakeRecognizer
) -> None:
    (own_list.parent / "2.mp4").write_text("no video")
    (own_list.parent / "3.mp4").unlink()
    recognizer, dataset = make_recognizer(), make_dataset(own_list)
    _build(tmp_path / "bank", recognizer, dataset)
    bank, live = FeatureBank(tmp_path / "bank", device=CPU), LiveFeatures(recognizer, dataset, device=CPU)
    assert [path for path, _ in bank.failed] == ["2.mp4", "3.mp4"]
    assert bank.videos.tolist() == [0, 1, 4, 5]
    assert [batch.videos.tolist() for batch in bank.batches(3)] == [[0, 1, 4], [5]]
    with pytest.raises(UserError, match="video 2 of the index could not be decoded"):
        bank.episodes(torch.tensor([1, 2]))
    # The others are where they belong.
    videos = torch.tensor([1, 4])
    torch.testing.assert_close(bank.episodes(videos).full(), live.episodes(videos).full(), rtol=2e-3, atol=2e-3)


def test_patches_may_be_encoded_in_parts(
    shared_list: Path, make_dataset: MakeDataset, make_recognizer: MakeRecognizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    recognizer = make_recognizer()
    frames = torch.randn(5, 3, 48, 48)
    with torch.no_grad():
        at_once = build.local_table(recognizer, frames)["local"]
        monkeypatch.setattr(build, "MAX_PATCH_PIXELS", 2 * 9 * 16 * 16)
        torch.testing.assert_close(build.local_table(recognizer, frames)["local"], at_once)
    assert at_once.shape == (5, 9, 128)


def test_a_method_adds_its_own_table(
    tmp_path: Path, shared_list: Path, make_dataset: MakeDataset, make_recognizer: MakeRecognizer
) -> None:
    tables = (*build.DEFAULT_TABLES, lambda recognizer, frames: {"mean_color": frames.mean((2, 3))})
    recognizer, dataset = make_recognizer(), make_dataset(shared_list)
    _build(tmp_path, recognizer, dataset, tables=tables)
    bank = FeatureBank(tmp_path, device=CPU)
    clip = LiveFeatures(recognizer, dataset, device=CPU).episodes(torch.tensor([4])).frames
    found = bank.table("mean_color", torch.tensor([4]))[0]
    torch.testing.assert_close(found, clip.mean((2, 3)), rtol=2e-3, atol=2e-3)
    with pytest.raises(UserError, match=r"stale: tables\.mean_color"):
        _build(tmp_path, recognizer, dataset)


def test_overwriting_removes_a_bank_and_nothing_else(
    tmp_path: Path, shared_list: Path, make_dataset: MakeDataset, make_recognizer: MakeRecognizer
) -> None:
    dataset = make_dataset(shared_list)
    folder = tmp_path / "bank"
    _build(folder, make_recognizer(), dataset)
    said = _build(folder, make_recognizer(seed=1), dataset, overwrite=True)
    assert said[0] == (0, 6)
    (folder / "thesis.tex").write_text("years of work")
    with pytest.raises(UserError, match=r"holds thesis\.tex"):
        _build(folder, make_recognizer(seed=2), dataset, overwrite=True)
    assert (folder / "shard_00000" / "done.json").exists()


def test_features_that_half_precision_cannot_hold_are_refused(
    tmp_path: Path, shared_list: Path, make_dataset: MakeDataset, make_recognizer: MakeRecognizer
) -> None:
    tables = (lambda recognizer, frames: {"huge": frames[:, :1, 0, 0] * 0 + 1e6},)
    with pytest.raises(UserError, match=r"huge features .*largest: 1e\+06"):
        _build(tmp_path, make_recognizer(), make_dataset(shared_list), tables=tables)
