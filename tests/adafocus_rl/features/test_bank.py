from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from adafocus_rl.data.dataset import ClipDataset
from adafocus_rl.errors import UserError
from adafocus_rl.features import FULL, FeatureBank, FeatureSource, LiveFeatures, build_bank
from adafocus_rl.features import bank as bank_module
from adafocus_rl.features.expected import expected_manifests
from adafocus_rl.models.recognizer import Recognizer

CPU = torch.device("cpu")
MakeDataset = Callable[..., ClipDataset]
MakeRecognizer = Callable[..., Recognizer]


@pytest.fixture(scope="module")
def built(
    shared_list: Path,
    make_dataset: MakeDataset,
    make_recognizer: MakeRecognizer,
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Path, Recognizer, ClipDataset]:
    """A whole bank of three shards (2 + 2 + 2 videos) that tests only read."""
    folder = tmp_path_factory.mktemp("bank") / "bank"
    recognizer, dataset = make_recognizer(), make_dataset(shared_list)
    build_bank(folder, recognizer, dataset, device=CPU, shard_videos=2, chunk_videos=1)
    return folder, recognizer, dataset


def _same(left: Any, right: Any, **tolerance: float) -> None:
    for name in ("videos", "labels", "multi_hot", "true_boxes"):
        torch.testing.assert_close(getattr(left, name), getattr(right, name), equal_nan=True, rtol=0, atol=0)
    for name in ("global_map", "global_vector"):
        torch.testing.assert_close(getattr(left, name), getattr(right, name), **tolerance)
    torch.testing.assert_close(left.full(), right.full(), **tolerance)
    action = torch.randint(9, (len(left), 3), generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(left.local(action), right.local(action), **tolerance)
    several = torch.stack((action, 8 - action), dim=-1)
    torch.testing.assert_close(left.local(several), right.local(several), **tolerance)
    steps = torch.full((len(left), 1), 2)
    torch.testing.assert_close(left.local_at(steps, action[:, 2:]), right.local(action)[:, 2:], **tolerance)
    torch.testing.assert_close(left.table_at(FULL, steps), right.full()[:, 2:], **tolerance)


def test_live_features_equal_the_bank(built: tuple[Path, Recognizer, ClipDataset]) -> None:
    folder, recognizer, dataset = built
    bank, live = FeatureBank(folder, device=CPU), LiveFeatures(recognizer, dataset, device=CPU)
    assert isinstance(bank, FeatureSource)
    assert isinstance(live, FeatureSource)
    for name in ("num_steps", "num_classes", "map_shape", "vector_dim", "local_dim", "has_boxes"):
        assert getattr(bank, name) == getattr(live, name), name
    assert repr(bank.grid) == repr(live.grid)
    # Unordered, across shards, one of them twice.
    videos = torch.tensor([5, 0, 3, 0])
    _same(bank.episodes(videos), live.episodes(videos), rtol=2e-3, atol=2e-3)
    assert bank.episodes(videos).global_map.dtype == torch.float32


@pytest.mark.parametrize("epoch", [None, 0, 1])
def test_live_features_and_bank_give_the_same_batches(
    built: tuple[Path, Recognizer, ClipDataset], epoch: int | None
) -> None:
    folder, recognizer, dataset = built
    bank, live = FeatureBank(folder, device=CPU), LiveFeatures(recognizer, dataset, device=CPU)
    for _ in range(2):
        orders = [[batch.videos.tolist() for batch in source.batches(4, epoch=epoch)] for source in (bank, live)]
        assert orders[0] == orders[1]
    assert sorted(orders[0][0] + orders[0][1]) == list(range(6))
    assert (orders[0] == [[0, 1, 2, 3], [4, 5]]) == (epoch is None)


def test_memory_mapped_and_resident_banks_are_equal(built: tuple[Path, Recognizer, ClipDataset]) -> None:
    folder, _, _ = built
    resident = FeatureBank(folder, device=CPU, resident="always")
    mapped = FeatureBank(folder, device=CPU, resident="never")
    assert resident.resident
    assert not mapped.resident
    videos = torch.tensor([5, 0, 3, 0, 2])
    _same(resident.episodes(videos), mapped.episodes(videos), rtol=0, atol=0)
    step = torch.tensor([[2, 0]] * 5)
    frames = [bank.table("global_map", videos[:, None], step) for bank in (resident, mapped)]
    assert torch.equal(*frames)
    # A resident bank's maps are matrices (frames · cells, channels) already.
    assert resident.episodes(videos).global_map.flatten(0, 1).is_contiguous(memory_format=torch.channels_last)


def test_a_bank_is_resident_when_it_takes_at_most_half_of_the_free_memory(
    built: tuple[Path, Recognizer, ClipDataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, _, _ = built
    names = ("global_map", "global_vector", "local", "full", "thumbnail")
    size = sum(
        (folder / name / f"shard_{shard:05d}" / f"{name}.npy").stat().st_size for shard in range(3) for name in names
    )
    monkeypatch.setattr(bank_module, "free_memory", lambda device: 2 * size)
    assert FeatureBank(folder, device=CPU).resident
    monkeypatch.setattr(bank_module, "free_memory", lambda device: 2 * size - 1)
    assert not FeatureBank(folder, device=CPU).resident


def test_tables_are_half_precision_on_disk_and_of_the_manifest_s_shape(
    built: tuple[Path, Recognizer, ClipDataset],
) -> None:
    import numpy as np

    folder, _, _ = built
    local = np.load(folder / "local" / "shard_00001" / "local.npy")
    assert (local.shape, local.dtype) == ((2, 3, 9, 128), np.float16)
    with pytest.raises(KeyError, match="no table 'depth'"):
        FeatureBank(folder, device=CPU).table("depth", torch.tensor([0]))


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"seed": 1}, "focus_weights"),
        ({"grid": 4}, "grid"),
        ({"patch_size": 8}, "patch_size"),
        ({"glance_size": 23}, "glance_size"),
        ({"mean": 0.4}, "mean"),
    ],
)
def test_a_bank_of_another_recognizer_is_refused(
    built: tuple[Path, Recognizer, ClipDataset], make_recognizer: MakeRecognizer, changed: dict[str, Any], field: str
) -> None:
    folder, _, dataset = built
    expected = expected_manifests(make_recognizer(**changed), dataset)
    with pytest.raises(UserError, match=rf"stale: {field} is .* there and .* now"):
        FeatureBank(folder, device=CPU, expected=expected)
    with pytest.raises(UserError, match=f"stale: {field}"):
        build_bank(folder, make_recognizer(**changed), dataset, device=CPU, shard_videos=2)


def test_a_bank_of_other_clips_is_refused(
    built: tuple[Path, Recognizer, ClipDataset], make_dataset: MakeDataset, own_list: Path
) -> None:
    folder, recognizer, dataset = built
    clips = make_dataset(dataset.index.root / "list.csv", resize_short=50)
    with pytest.raises(UserError, match=r"transforms\.short_side is 0 there and 50 now \(table clips, global_map, "):
        FeatureBank(folder, device=CPU, expected=expected_manifests(recognizer, clips))
    boxes = own_list.with_name("list_boxes.csv")
    boxes.write_text(boxes.read_text().replace("10,12", "10,13"))
    with pytest.raises(UserError, match=r"stale: boxes is .* \(table clips\); "):
        FeatureBank(folder, device=CPU, expected=expected_manifests(recognizer, make_dataset(own_list)))


def test_a_bank_of_another_list_is_refused(
    built: tuple[Path, Recognizer, ClipDataset], make_dataset: MakeDataset, own_list: Path
) -> None:
    folder, recognizer, _ = built
    own_list.write_text(own_list.read_text().replace("5.mp4,2", "5.mp4,1"))
    with pytest.raises(UserError, match="stale: index is"):
        FeatureBank(folder, device=CPU, expected=expected_manifests(recognizer, make_dataset(own_list)))


def test_the_same_bank_is_taken_again(built: tuple[Path, Recognizer, ClipDataset]) -> None:
    folder, recognizer, dataset = built
    recognizer.train()  # asking for the manifest must move no batch statistics
    expected = expected_manifests(recognizer, dataset)
    assert recognizer.training
    recognizer.eval()
    assert FeatureBank(folder, device=CPU, expected=expected).failed == []
    assert expected_manifests(recognizer, dataset) == expected


FRAMES = {"format", "format_version", "table", "videos", "frames", "index", "transforms"}
NUMBERS = {"shape", "dtype", "mean", "std"}


@pytest.mark.parametrize(
    ("table", "more"),
    [
        ("clips", {"classes", "boxes"}),
        ("thumbnail", NUMBERS),
        ("full", {*NUMBERS, "focus_encoder", "focus_weights"}),
        ("local", {*NUMBERS, "focus_encoder", "focus_weights", "grid", "frame_size", "patch_size"}),
        ("global_map", {*NUMBERS, "glance_encoder", "glance_size", "glance_weights"}),
        ("global_vector", {*NUMBERS, "glance_encoder", "glance_size", "glance_weights"}),
    ],
)
def test_a_manifest_names_what_its_table_depends_on_and_nothing_else(
    built: tuple[Path, Recognizer, ClipDataset], table: str, more: set[str]
) -> None:
    _, recognizer, dataset = built
    assert {*expected_manifests(recognizer, dataset)[table]} == FRAMES | more


def test_what_is_no_bank_is_refused(tmp_path: Path, built: tuple[Path, Recognizer, ClipDataset]) -> None:
    with pytest.raises(UserError, match="no feature bank in"):
        FeatureBank(tmp_path, device=CPU)
    for text in ("{", "[]", "{}"):
        (tmp_path / "manifest.json").write_text(text)
        with pytest.raises(UserError, match="not a feature bank's manifest"):
            FeatureBank(tmp_path, device=CPU)
    manifest = json.loads((built[0] / "full" / "manifest.json").read_text())
    for folder in (tmp_path, tmp_path / "full"):
        folder.mkdir(exist_ok=True)
        (folder / "manifest.json").write_text(json.dumps({**manifest, "format_version": 99}))
    with pytest.raises(UserError, match="format version 99"):
        FeatureBank(tmp_path, device=CPU)


def test_training_clips_make_no_bank(
    shared_list: Path, make_dataset: MakeDataset, make_recognizer: MakeRecognizer
) -> None:
    with pytest.raises(ValueError, match="evaluation transforms"):
        expected_manifests(make_recognizer(), make_dataset(shared_list, train=True))


@pytest.mark.parametrize("resident", ["always", "never"])
def test_a_part_of_a_bank_yields_its_videos_only(built: tuple[Path, Recognizer, ClipDataset], resident: Any) -> None:
    folder, *_ = built
    bank = FeatureBank(folder, device=CPU, resident=resident)
    part = bank.only(torch.tensor([4, 1, 2]))
    batches = list(part.batches(2))
    assert [batch.videos.tolist() for batch in batches] == [[4, 1], [2]]
    assert torch.equal(batches[0].global_map, bank.episodes(torch.tensor([4, 1])).global_map)
    shuffled = torch.cat([batch.videos for batch in part.batches(2, epoch=3)])
    assert sorted(shuffled.tolist()) == [1, 2, 4]
    assert len(bank.videos) > 3


@pytest.mark.parametrize("resident", ["always", "never"])
def test_rows_of_other_episodes(built: tuple[Path, Recognizer, ClipDataset], resident: Any) -> None:
    folder, *_ = built
    bank = FeatureBank(folder, device=CPU, resident=resident)
    before = bank.episodes(torch.tensor([3, 1, 0]))
    first = before.global_map[:, 0]
    kept = first.clone()
    mixed = before.clone()
    mixed.overwrite(torch.tensor([2, 0]), bank.episodes(torch.tensor([5, 4])))
    expected = bank.episodes(torch.tensor([4, 1, 5]))
    assert torch.equal(mixed.labels, expected.labels)
    assert torch.equal(mixed.global_map, expected.global_map)
    assert torch.equal(mixed.local(torch.tensor([[0, 1, 2]] * 3)), expected.local(torch.tensor([[0, 1, 2]] * 3)))
    assert torch.equal(first, kept)
    assert before.videos.tolist() == [3, 1, 0]


def test_a_bank_has_no_patches_between_the_positions(built: tuple[Path, Recognizer, ClipDataset]) -> None:
    folder, *_ = built
    bank = FeatureBank(folder, device=CPU)
    assert not bank.any_position
    with pytest.raises(UserError, match="BankEpisodes holds the patches of the grid only; use live features"):
        bank.episodes(torch.tensor([0])).local_at_position(torch.zeros(1, 1, dtype=torch.long), torch.zeros(1, 1, 2))
