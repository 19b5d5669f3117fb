from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from adafocus_rl.data.dataset import ClipDataset
from adafocus_rl.errors import UserError
from adafocus_rl.features import DEFAULT_TABLES, EncodedFrames, FeatureBank, LiveFeatures, TableSpec, build_bank, specs
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
    with (folder / "local" / "shard_00000" / "local.npy").open("rb+") as file:
        file.truncate(100)

    visits = Visits(dataset, monkeypatch)
    assert _build(folder, recognizer, dataset) == [(2, 6), (4, 6), (6, 6)]
    assert visits.seen == [0, 1, 4, 5]
    for file in sorted(whole.rglob("*.npy")):
        assert np.array_equal(np.load(file), np.load(folder / file.relative_to(whole)), equal_nan=True), file.name
    assert not list(folder.rglob(".part_*"))

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
    for name in ("global_map", "global_vector", "local", "full"):
        (tmp_path / name / "manifest.json").unlink()
    visits = Visits(dataset, monkeypatch)
    _build(tmp_path, make_recognizer(seed=1), dataset)
    assert visits.seen == list(range(6))


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"manifest": "x", "bytes": 3, "failed": []}'])
def test_a_spoilt_done_mark_is_not_trusted(
    tmp_path: Path, shared_list: Path, make_dataset: MakeDataset, make_recognizer: MakeRecognizer, text: str
) -> None:
    recognizer, dataset = make_recognizer(), make_dataset(shared_list)
    _build(tmp_path, recognizer, dataset)
    mark = tmp_path / "full" / "shard_00001" / "done.json"
    right = json.loads(mark.read_text())
    for spoilt in (text, json.dumps({**right, "bytes": {}})):
        mark.write_text(spoilt)
        with pytest.raises(UserError, match="half-written: 2 of 3 shards of the table full are done"):
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


def test_patches_may_be_encoded_in_parts(make_recognizer: MakeRecognizer, monkeypatch: pytest.MonkeyPatch) -> None:
    recognizer = make_recognizer()
    clips = torch.randn(1, 5, 3, 48, 48)
    with torch.no_grad():
        at_once = EncodedFrames(recognizer, clips).patches
        monkeypatch.setattr(specs, "MAX_PATCH_PIXELS", 2 * 9 * 16 * 16)
        torch.testing.assert_close(EncodedFrames(recognizer, clips).patches, at_once)
    assert at_once.shape == (5, 9, 128)


MEAN_COLOR = TableSpec(name="mean_color", fill=lambda chunk: chunk.frames.mean((2, 3)), depends=(specs.normalization,))


def _state(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Content and time of change of every file."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


def test_an_additional_table_builds_alone(
    tmp_path: Path,
    shared_list: Path,
    make_dataset: MakeDataset,
    make_recognizer: MakeRecognizer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recognizer, dataset = make_recognizer(), make_dataset(shared_list)
    _build(tmp_path, recognizer, dataset)
    before = _state(tmp_path)
    with monkeypatch.context() as patch:
        # It needs no encoder, so none is run.
        for name in ("glance_features", "focus_features", "full_features"):
            patch.setattr(Recognizer, name, None)
        visits = Visits(dataset, patch)
        _build(tmp_path, recognizer, dataset, tables=[MEAN_COLOR])
    assert visits.seen == list(range(6))
    after = _state(tmp_path)
    assert {name: after[name] for name in before} == before
    assert {Path(name).parts[0] for name in {*after} - {*before}} == {"mean_color"}
    bank = FeatureBank(tmp_path, device=CPU)
    clip = LiveFeatures(recognizer, dataset, device=CPU).episodes(torch.tensor([4])).frames
    found = bank.table("mean_color", torch.tensor([4]))[0]
    torch.testing.assert_close(found, clip.mean((2, 3)), rtol=2e-3, atol=2e-3)
    # Whoever does not know the table is not troubled by it.
    _build(tmp_path, recognizer, dataset)
    assert _state(tmp_path) == after


def test_an_additional_table_leaves_out_a_video_that_has_gone(
    tmp_path: Path, own_list: Path, make_dataset: MakeDataset, make_recognizer: MakeRecognizer
) -> None:
    recognizer, dataset, folder = make_recognizer(), make_dataset(own_list), tmp_path / "bank"
    _build(folder, recognizer, dataset)
    (own_list.parent / "3.mp4").unlink()
    _build(folder, recognizer, dataset, tables=[MEAN_COLOR])
    bank = FeatureBank(folder, device=CPU)
    assert bank.videos.tolist() == [0, 1, 2, 4, 5]
    assert [path for path, _ in bank.failed] == ["3.mp4"]


def test_tables_of_another_encoder_are_stale_alone(
    tmp_path: Path, shared_list: Path, make_dataset: MakeDataset, make_recognizer: MakeRecognizer
) -> None:
    recognizer, other, dataset = make_recognizer(), make_recognizer(), make_dataset(shared_list)
    _build(tmp_path, recognizer, dataset)
    with torch.no_grad():
        next(other.focus.parameters()).add_(1)
    with pytest.raises(UserError, match=r"stale: focus_weights is .* \(table local, full\)"):
        _build(tmp_path, other, dataset)
    _build(tmp_path, other, dataset, tables=[spec for spec in DEFAULT_TABLES if spec.name not in ("local", "full")])


@pytest.mark.parametrize("change", [{"crop": "multiscale"}, {"flip": False}, {"scales": (1.0, 0.5)}])
def test_what_augments_training_clips_makes_nothing_stale(
    tmp_path: Path,
    shared_list: Path,
    make_dataset: MakeDataset,
    make_recognizer: MakeRecognizer,
    change: dict[str, Any],
) -> None:
    _build(tmp_path, make_recognizer(), make_dataset(shared_list))
    before = _state(tmp_path)
    assert _build(tmp_path, make_recognizer(), make_dataset(shared_list, **change)) == [(6, 6)]
    assert _state(tmp_path) == before


def test_tables_of_other_shards_fit_together(
    tmp_path: Path, shared_list: Path, make_dataset: MakeDataset, make_recognizer: MakeRecognizer
) -> None:
    """How many videos a shard holds is no part of what a table is."""
    recognizer, dataset = make_recognizer(), make_dataset(shared_list)
    _build(tmp_path / "even", recognizer, dataset)
    _build(tmp_path / "mixed", recognizer, dataset, tables=DEFAULT_TABLES[:1])
    shutil.rmtree(tmp_path / "mixed" / "global_map" / "shard_00001")
    build_bank(tmp_path / "mixed", recognizer, dataset, device=CPU, shard_videos=3, chunk_videos=2)
    even, mixed = (FeatureBank(tmp_path / name, device=CPU).episodes(torch.arange(6)) for name in ("even", "mixed"))
    assert torch.equal(even.global_map, mixed.global_map)
    torch.testing.assert_close(even.full(), mixed.full(), rtol=2e-3, atol=2e-3)
    assert torch.equal(even.true_boxes.nan_to_num(), mixed.true_boxes.nan_to_num())


def test_each_encoder_runs_once_for_all_tables(
    tmp_path: Path,
    shared_list: Path,
    make_dataset: MakeDataset,
    make_recognizer: MakeRecognizer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls = dict.fromkeys(("glance_features", "focus_features", "full_features"), 0)

    def watch(name: str) -> None:
        real = getattr(Recognizer, name)

        def spy(own: Recognizer, frames: Tensor) -> Any:
            calls[name] += 1
            return real(own, frames)

        monkeypatch.setattr(Recognizer, name, spy)

    for name in calls:
        watch(name)
    dataset = make_dataset(shared_list)
    logits = TableSpec(name="logits", fill=lambda chunk: chunk.whole[:, :3] + chunk.glance[1][:, :3])
    visits = Visits(dataset, monkeypatch)
    _build(tmp_path, make_recognizer(), dataset, tables=(*DEFAULT_TABLES, logits))
    # Three chunks of two videos, and one frame for the shapes.
    assert calls == dict.fromkeys(calls, 4)
    assert visits.seen == list(range(6))


@pytest.mark.parametrize("name", ["clips", "../x", "a/b", "", "shard_1", "x" * 65, ".x", "α"])
def test_names_that_are_no_folder_s_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="cannot be named"):
        TableSpec(name=name, fill=lambda chunk: chunk.frames)


def test_overwriting_removes_a_bank_and_nothing_else(
    tmp_path: Path, shared_list: Path, make_dataset: MakeDataset, make_recognizer: MakeRecognizer
) -> None:
    dataset = make_dataset(shared_list)
    folder = tmp_path / "bank"
    _build(folder, make_recognizer(), dataset)
    (folder / "plan.txt").write_text("years of work")
    said = _build(folder, make_recognizer(seed=1), dataset, overwrite=True)
    assert said[0] == (0, 6)
    assert (folder / "plan.txt").exists()
    (folder / "full" / "thesis.tex").write_text("years of work")
    with pytest.raises(UserError, match=r"holds thesis\.tex"):
        _build(folder, make_recognizer(seed=2), dataset, overwrite=True)
    assert (folder / "local" / "shard_00000" / "done.json").exists()


def test_features_that_half_precision_cannot_hold_are_refused(
    tmp_path: Path, shared_list: Path, make_dataset: MakeDataset, make_recognizer: MakeRecognizer
) -> None:
    tables = [TableSpec(name="huge", fill=lambda chunk: chunk.frames[:, :1, 0, 0] * 0 + 1e6)]
    with pytest.raises(UserError, match=r"huge features .*largest: 1e\+06"):
        _build(tmp_path, make_recognizer(), make_dataset(shared_list), tables=tables)
