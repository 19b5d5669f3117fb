"""Banks that earlier releases built: they are read, and added to by whole tables, but not finished."""

from __future__ import annotations

import json
import runpy
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from adafocus_rl.checksums import write_sealed
from adafocus_rl.data.dataset import ClipDataset
from adafocus_rl.errors import UserError
from adafocus_rl.features import FeatureBank, TableSpec, build_bank
from adafocus_rl.features.expected import expected_manifests
from adafocus_rl.features.verify import verify_tables
from adafocus_rl.models.recognizer import Recognizer

CPU = torch.device("cpu")
# The fuzz suite, which is no package of these tests, makes such banks as well.
as_old = runpy.run_path(str(Path(__file__).parents[2] / "fuzz" / "old_banks.py"))["as_old"]
MakeDataset = Callable[..., ClipDataset]
MakeRecognizer = Callable[..., Recognizer]


@pytest.fixture(params=[1, 2])
def old(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    shared_list: Path,
    make_dataset: MakeDataset,
    make_recognizer: MakeRecognizer,
) -> tuple[Path, Recognizer, ClipDataset]:
    recognizer, dataset = make_recognizer(), make_dataset(shared_list)
    for name in ("old", "new"):
        build_bank(tmp_path / name, recognizer, dataset, device=CPU, shard_videos=4)
    as_old(tmp_path / "old", request.param)
    return tmp_path / "old", recognizer, dataset


def _version(folder: Path) -> int:
    return int(json.loads((folder / "manifest.json").read_text())["format_version"])


def test_an_old_bank_is_read(old: tuple[Path, Recognizer, ClipDataset]) -> None:
    folder, recognizer, dataset = old
    # It fits, as it stands: nothing is built.
    build_bank(folder, recognizer, dataset, device=CPU, shard_videos=4)
    assert sorted(path.name for path in folder.iterdir()) == ["manifest.json", "shard_00000", "shard_00001"]
    bank = FeatureBank(folder, device=CPU, expected=expected_manifests(recognizer, dataset))
    new = FeatureBank(folder.with_name("new"), device=CPU)
    left, right = bank.episodes(bank.videos), new.episodes(new.videos)
    assert torch.equal(left.global_map, right.global_map)
    assert torch.equal(left.local(torch.ones(6, 3, dtype=torch.long)), right.local(torch.ones(6, 3, dtype=torch.long)))
    assert torch.equal(left.full(), right.full())
    assert torch.equal(left.multi_hot, right.multi_hot)
    # Those of version 1 cannot be verified, which is said.
    assert verify_tables(bank.tables.values()) == ([0, 1] if _version(folder) == 1 else [])


def test_what_augments_is_no_matter_of_an_old_bank_either(
    old: tuple[Path, Recognizer, ClipDataset], make_dataset: MakeDataset, shared_list: Path
) -> None:
    folder, recognizer, _ = old
    other = make_dataset(shared_list, crop="multiscale", flip=False)
    assert FeatureBank(folder, device=CPU, expected=expected_manifests(recognizer, other)).failed == []
    for change, field in (({"resize_short": 50}, "transforms.short_side"), ({"resize_short": None}, "transforms")):
        with pytest.raises(UserError, match=f"stale: {field}"):
            FeatureBank(
                folder, device=CPU, expected=expected_manifests(recognizer, make_dataset(shared_list, **change))
            )


def test_another_recognizer_s_old_bank_is_refused(
    old: tuple[Path, Recognizer, ClipDataset], make_recognizer: MakeRecognizer
) -> None:
    folder, _, dataset = old
    with pytest.raises(UserError, match=r"stale: focus_weights is .* there and .* now \(table local, full\)"):
        build_bank(folder, make_recognizer(seed=1), dataset, device=CPU)
    build_bank(folder, make_recognizer(seed=1), dataset, device=CPU, shard_videos=4, overwrite=True)
    assert not (folder / "manifest.json").exists()
    assert not list(folder.glob("shard_*"))
    assert verify_tables(FeatureBank(folder, device=CPU).tables.values()) == []


def test_an_old_bank_is_not_finished(old: tuple[Path, Recognizer, ClipDataset]) -> None:
    folder, recognizer, dataset = old
    shutil.rmtree(folder / "shard_00001")
    words = (
        rf"half-written: 1 of 2 shards .* of format version {_version(folder)}, .* build it again with .* --overwrite"
    )
    with pytest.raises(UserError, match=words):
        FeatureBank(folder, device=CPU)
    with pytest.raises(UserError, match=words):
        build_bank(folder, recognizer, dataset, device=CPU, shard_videos=4)


def test_a_table_is_added_to_an_old_bank(old: tuple[Path, Recognizer, ClipDataset]) -> None:
    folder, recognizer, dataset = old
    spec = TableSpec(name="mean_color", fill=lambda chunk: chunk.frames.mean((2, 3)))
    build_bank(folder, recognizer, dataset, device=CPU, tables=[spec])
    bank = FeatureBank(folder, device=CPU)
    assert bank.table("mean_color", torch.arange(6)).shape == (6, 3, 3)
    assert bank.table("full", torch.arange(6)).shape == (6, 3, 128)


def test_damage_is_found_in_an_old_bank(old: tuple[Path, Recognizer, ClipDataset]) -> None:
    folder, *_ = old
    path = folder / "shard_00001" / "local.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 0x7F
    path.write_bytes(content)
    if _version(folder) == 2:
        with pytest.raises(UserError, match=f"{path} is damaged: it does not have the checksum"):
            verify_tables(FeatureBank(folder, device=CPU).tables.values())
    manifest = json.loads((folder / "manifest.json").read_text())
    for wrong in ({"tables": []}, {"videos": "6"}, {"tables": {"../x": {"shape": [3], "dtype": "float16"}}}):
        write_sealed(folder / "manifest.json", {**manifest, **wrong})
        with pytest.raises(UserError, match=r"not a feature bank's manifest \((tables|videos)"):
            FeatureBank(folder, device=CPU)
    for transforms in (None, [], {"frame_size": "48", "resize_short": 10**400}, {"frame_size": 48}):
        content_of = {**manifest, "transforms": transforms}
        content_of.pop("checksum", None)
        write_sealed(folder / "manifest.json", content_of)
        with pytest.raises(UserError, match="half-written"):
            FeatureBank(folder, device=CPU)
    assert np.load(folder / "shard_00000" / "label.npy").shape == (4,)
