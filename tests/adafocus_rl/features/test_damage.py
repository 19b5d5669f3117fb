"""A bank that is not what was written: every flipped bit is found, and whatever is found is told in a sentence."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from adafocus_rl.checksums import read_sealed, write_sealed
from adafocus_rl.data.dataset import ClipDataset
from adafocus_rl.errors import UserError
from adafocus_rl.features import FeatureBank, build_bank
from adafocus_rl.features.shards import _manifest_hash
from adafocus_rl.features.verify import verify_bank
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
    return verify_bank(FeatureBank(folder, device=CPU), paths=[f"{number}.mp4" for number in range(6)])


def test_a_sound_bank_has_checksums(bank: Path) -> None:
    assert check(bank) == []


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
            with pytest.raises(UserError, match=str(bank)):
                check(bank)
        path.write_bytes(whole)
    assert check(bank) == []


def as_version_1(folder: Path) -> None:
    """What releases before checksums wrote."""
    manifest, _ = read_sealed(folder / "manifest.json", "manifest")
    manifest["format_version"] = 1
    (folder / "manifest.json").write_text(json.dumps(manifest))
    for path in folder.glob("shard_*/done.json"):
        mark, _ = read_sealed(path, "done mark")
        del mark["checksums"]
        path.write_text(json.dumps({**mark, "manifest": _manifest_hash(manifest)}))


def test_a_bank_without_checksums_is_read_and_said_to_have_none(
    bank: Path, shared_list: Path, make_dataset: MakeDataset, make_recognizer: MakeRecognizer
) -> None:
    as_version_1(bank)
    assert check(bank) == [0, 1]
    # It may be finished: the new shards have checksums.
    shutil.rmtree(bank / "shard_00001")
    build_bank(bank, make_recognizer(), make_dataset(shared_list), device=CPU, shard_videos=4)
    assert check(bank) == [0]


def test_numbers_that_are_none_are_named_with_their_video(bank: Path) -> None:
    as_version_1(bank)
    path = bank / "shard_00001" / "full.npy"
    table = np.load(path)
    for bad in (np.nan, np.inf):
        table[1, 2, 3] = bad
        np.save(path, table)
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
    as_version_1(bank)
    path = bank / "shard_00000" / "full.npy"
    whole = path.read_bytes()
    data = whole[:8] + (len(header) + 1).to_bytes(2, "little") + header.encode() + b"\n" + whole[128:]
    path.write_bytes(data)
    mark = bank / "shard_00000" / "done.json"
    content = json.loads(mark.read_text())
    content["bytes"]["full.npy"] = len(data)
    mark.write_text(json.dumps(content))
    with pytest.raises(UserError, match=rf"{path} is damaged: its header .* delete its shard's folder"):
        FeatureBank(bank, device=CPU)


@pytest.mark.parametrize(
    "name",
    [
        "videos", "frames", "classes", "grid", "frame_size", "patch_size", "shard_videos", "tables", "format_version",
    ],
)  # fmt: skip
@pytest.mark.parametrize("value", [None, [], {}, "6", -1, 0, 2.5, True, 10**15, 10**40, [None], {"a": 7}])
def test_manifests_of_other_types_are_sentences(bank: Path, name: str, value: Any) -> None:
    manifest, _ = read_sealed(bank / "manifest.json", "manifest")
    write_sealed(bank / "manifest.json", {**manifest, name: value})
    with pytest.raises(UserError, match=r"manifest|half-written|format version"):
        FeatureBank(bank, device=CPU)
    del manifest[name]
    write_sealed(bank / "manifest.json", manifest)
    with pytest.raises(UserError, match=r"manifest|format version"):
        FeatureBank(bank, device=CPU)


@pytest.mark.parametrize(
    "text",
    ["[" * 100_000, '{"videos": ' + "9" * 5000 + "}", "null", '"x"', "7", "{}"],
)
def test_manifests_and_marks_that_are_no_objects_are_sentences(bank: Path, text: str) -> None:
    (bank / "shard_00001" / "done.json").write_text(text)
    with pytest.raises(UserError, match="half-written: 1 of 2 shards"):
        FeatureBank(bank, device=CPU)
    (bank / "manifest.json").write_text(text)
    with pytest.raises(UserError, match="not a feature bank's manifest"):
        FeatureBank(bank, device=CPU)


@pytest.mark.parametrize("tables", [{"../../x": [2]}, {"local": [9, "128"]}, {"local": [9]}, {"local": [4, 128]}])
def test_tables_that_no_recognizer_gives_are_sentences(bank: Path, tables: dict[str, Any]) -> None:
    manifest, _ = read_sealed(bank / "manifest.json", "manifest")
    added = {name: {"shape": shape, "dtype": "float16"} for name, shape in tables.items()}
    manifest["tables"] = {**manifest["tables"], **added}
    write_sealed(bank / "manifest.json", manifest)
    for path in bank.glob("shard_*/done.json"):
        mark, _ = read_sealed(path, "done mark")
        write_sealed(path, {**mark, "manifest": _manifest_hash(manifest)})
    with pytest.raises(UserError, match=r"not a feature bank's manifest \(tables|has the table local in shape"):
        FeatureBank(bank, device=CPU)


def test_labels_beyond_the_classes_are_a_sentence(bank: Path) -> None:
    as_version_1(bank)
    np.save(bank / "shard_00001" / "label.npy", np.array([0, 3]))
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
    assert [path.name for path in folder.iterdir()] == ["manifest.json"]
    build_bank(folder, make_recognizer(), make_dataset(shared_list), device=CPU, shard_videos=4)
    assert check(folder) == []
