"""A bank that is not what was written: every flipped bit is found, and whatever is found is told in a sentence."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from adafocus_rl.checksums import checksum_of, read_sealed, write_sealed
from adafocus_rl.data.dataset import ClipDataset
from adafocus_rl.errors import UserError
from adafocus_rl.features import FeatureBank, build_bank
from adafocus_rl.features.manifest import digest
from adafocus_rl.features.verify import verify_tables
from adafocus_rl.models.recognizer import Recognizer

CPU = torch.device("cpu")
MakeDataset = Callable[..., ClipDataset]
MakeRecognizer = Callable[..., Recognizer]


@pytest.fixture(scope="module")
def sound(
    tmp_path_factory: pytest.TempPathFactory,
    shared_list: Path,
    make_dataset: MakeDataset,
    make_recognizer: MakeRecognizer,
) -> Path:
    folder = tmp_path_factory.mktemp("sound") / "bank"
    build_bank(folder, make_recognizer(), make_dataset(shared_list), device=CPU, shard_videos=4)
    return folder


@pytest.fixture
def bank(sound: Path, tmp_path: Path) -> Path:
    """A bank to spoil: two shards, of four and two videos."""
    return Path(shutil.copytree(sound, tmp_path / "bank"))


def check(folder: Path) -> list[int]:
    """As ``adafocus features check`` does."""
    return verify_tables(
        FeatureBank(folder, device=CPU).tables.values(), paths=[f"{number}.mp4" for number in range(6)]
    )


def test_a_sound_bank_has_checksums(bank: Path) -> None:
    assert check(bank) == []


def agree(shard: Path) -> None:
    """Makes a done mark say of the files what is so, as who changes them on purpose could."""
    mark, _ = read_sealed(shard / "done.json", "done mark")
    files = sorted(shard.glob("*.npy"))
    sizes = {path.name: path.stat().st_size for path in files}
    sums = {path.name: checksum_of(path) for path in files}
    write_sealed(shard / "done.json", {**mark, "bytes": sizes, "checksums": sums})


def test_every_flipped_bit_is_found(bank: Path) -> None:
    draw = random.Random(0)
    for path in sorted(path for path in bank.rglob("*") if path.is_file()):
        whole = path.read_bytes()
        # The header of a table more often than by chance.
        bits = {*draw.sample(range(8 * min(len(whole), 192)), 8), *draw.sample(range(8 * len(whole)), 8)}
        for bit in sorted(bits):
            spoilt = bytearray(whole)
            spoilt[bit // 8] ^= 1 << bit % 8
            path.write_bytes(spoilt)
            with pytest.raises(UserError, match=str(bank)) as caught:
                check(bank)
            # The table, and the shard where it is not a manifest or a mark.
            table, *shard = path.relative_to(bank).parts[:-1]
            assert table in str(caught.value)
            assert path.suffix == ".json" or shard[0] in str(caught.value)
        path.write_bytes(whole)
    assert check(bank) == []


def test_numbers_that_are_none_are_named_with_their_video(bank: Path) -> None:
    path = bank / "full" / "shard_00001" / "full.npy"
    table = np.load(path)
    for bad in (np.nan, np.inf):
        table[1, 2, 3] = bad
        np.save(path, table)
        agree(path.parent)
        with pytest.raises(UserError, match=rf"{path} holds features of video 5 \(5\.mp4\) that are NaN or infinite"):
            check(bank)


HEADERS = {
    "object": "{'descr': '|O', 'fortran_order': False, 'shape': (4, 3, 128), }",
    "another type": "{'descr': '<f4', 'fortran_order': False, 'shape': (4, 3, 64), }",
    "Fortran": "{'descr': '<f2', 'fortran_order': True, 'shape': (4, 3, 128), }",
    "negative": "{'descr': '<f2', 'fortran_order': False, 'shape': (-4, 3, 128), }",
    "huge": "{'descr': '<f2', 'fortran_order': False, 'shape': (4, 3, 99999999999999999999), }",
    "another shape": "{'descr': '<f2', 'fortran_order': False, 'shape': (3, 4, 128), }",
    "many digits": "{'descr': '<f2', 'fortran_order': False, 'shape': (" + "9" * 5000 + ",), }",
    "nested": "(" * 5000,
    "no Python": "\x00 import os",
    "empty": "",
}


@pytest.mark.parametrize("header", HEADERS.values(), ids=HEADERS)
def test_headers_that_are_not_the_manifest_s_are_sentences(bank: Path, header: str) -> None:
    path = bank / "full" / "shard_00000" / "full.npy"
    whole = path.read_bytes()
    path.write_bytes(whole[:8] + (len(header) + 1).to_bytes(2, "little") + header.encode() + b"\n" + whole[128:])
    agree(path.parent)
    with pytest.raises(UserError, match=rf"{path} is damaged: its header .* delete its shard's folder"):
        FeatureBank(bank, device=CPU)


@pytest.mark.parametrize(
    ("table", "name"),
    [
        ("clips", "videos"), ("full", "frames"), ("clips", "classes"), ("local", "grid"), ("local", "frame_size"),
        ("local", "patch_size"), ("full", "shard_videos"), ("full", "shape"), ("full", "dtype"), ("full", "table"),
        ("full", "format_version"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("value", [None, [], {}, "6", -1, 0, 2.5, True, 10**15, 10**40, [None], {"a": 7}])
def test_manifests_of_other_types_are_sentences(bank: Path, table: str, name: str, value: Any) -> None:
    path = bank / table / "manifest.json"
    manifest, _ = read_sealed(path, "manifest")
    write_sealed(path, {**manifest, name: value})
    with pytest.raises(UserError, match=r"manifest|half-written|format version"):
        FeatureBank(bank, device=CPU)
    del manifest[name]
    write_sealed(path, manifest)
    with pytest.raises(UserError, match=r"manifest|format version"):
        FeatureBank(bank, device=CPU)


@pytest.mark.parametrize(
    "text",
    ["[" * 100_000, '{"videos": ' + "9" * 5000 + "}", "null", '"x"', "7", "{}"],
)
def test_manifests_and_marks_that_are_no_objects_are_sentences(bank: Path, text: str) -> None:
    (bank / "full" / "shard_00001" / "done.json").write_text(text)
    with pytest.raises(UserError, match="half-written: 1 of 2 shards"):
        FeatureBank(bank, device=CPU)
    (bank / "full" / "manifest.json").write_text(text)
    with pytest.raises(UserError, match="not a feature bank's manifest"):
        FeatureBank(bank, device=CPU)


@pytest.mark.parametrize(
    ("table", "changed"),
    [
        ("full", {"table": "../../x"}), ("full", {"table": "thumbnail"}), ("local", {"shape": [9, "128"]}),
        ("local", {"shape": [9]}), ("local", {"shape": [4, 128]}), ("full", {"frames": 2}),
        ("full", {"videos": 4, "shard_videos": 2}),
    ],
)  # fmt: skip
def test_tables_that_no_recognizer_gives_are_sentences(bank: Path, table: str, changed: dict[str, Any]) -> None:
    manifest, _ = read_sealed(bank / table / "manifest.json", "manifest")
    manifest |= changed
    write_sealed(bank / table / "manifest.json", manifest)
    for path in bank.glob(f"{table}/shard_*/done.json"):
        mark, _ = read_sealed(path, "done mark")
        write_sealed(path, {**mark, "manifest": digest(manifest)})
    expected = (
        r"not a feature bank's manifest \((table|shape)|the manifest of the table thumbnail"
        r"|has the table local in shape|has 2 frames in the table full and 3 in|has 4 videos in the table full and 6 in"
    )
    with pytest.raises(UserError, match=expected):
        FeatureBank(bank, device=CPU)


@pytest.mark.parametrize("rows", [[6], [-1], ["1"], [None], 3, {"a": 1}])
def test_rows_that_are_not_there_make_a_mark_unusable(bank: Path, rows: Any) -> None:
    path = bank / "full" / "shard_00000" / "done.json"
    mark, _ = read_sealed(path, "done mark")
    write_sealed(path, {**mark, "rows_without_clip": rows})
    with pytest.raises(UserError, match="half-written: 1 of 2 shards of the table full"):
        FeatureBank(bank, device=CPU)


def test_a_mark_without_its_manifest_is_unusable(bank: Path) -> None:
    path = bank / "full" / "shard_00000" / "done.json"
    mark, _ = read_sealed(path, "done mark")
    del mark["manifest"]
    write_sealed(path, mark)
    with pytest.raises(UserError, match="half-written: 1 of 2 shards of the table full"):
        FeatureBank(bank, device=CPU)


def test_labels_beyond_the_classes_are_a_sentence(bank: Path) -> None:
    path = bank / "clips" / "shard_00001" / "label.npy"
    np.save(path, np.array([0, 3]))
    agree(path.parent)
    with pytest.raises(UserError, match="has labels from 0 to 3, expected 0 to 2"):
        FeatureBank(bank, device=CPU)


def test_a_full_disk_ends_a_build_with_the_file_s_name(
    tmp_path: Path, shared_list: Path, make_dataset: MakeDataset, make_recognizer: MakeRecognizer, full_after: Any
) -> None:
    """A memory map would have killed the process; a plain write is refused, and the disk is given back."""
    folder = tmp_path / "bank"
    with full_after(5_000), pytest.raises(OSError, match="too large") as caught:
        build_bank(folder, make_recognizer(), make_dataset(shared_list), device=CPU, shard_videos=4)
    assert str(caught.value.filename).endswith(".npy")
    # What is small was finished; nothing is left of the rest.
    assert {path.parent.parent.name for path in folder.rglob("*.npy")} == {"clips"}
    assert not list(folder.rglob(".part_*"))
    build_bank(folder, make_recognizer(), make_dataset(shared_list), device=CPU, shard_videos=4)
    assert check(folder) == []
