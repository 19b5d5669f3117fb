"""Features in 8 bits: how far they are from the features, and that a bank of them is a bank like any other."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from adafocus_rl.checksums import read_sealed, write_sealed
from adafocus_rl.data.dataset import ClipDataset
from adafocus_rl.errors import UserError
from adafocus_rl.features import DEFAULT_TABLES, FeatureBank, LiveFeatures, TableSpec, TableStore, build_bank
from adafocus_rl.features.copies import Copied, pull, push
from adafocus_rl.features.eight_bit import compress, restore
from adafocus_rl.features.expected import expected_manifests
from adafocus_rl.features.parts import Part
from adafocus_rl.features.remote import RemoteFolder
from adafocus_rl.features.rows import MappedRows, ResidentRows
from adafocus_rl.features.size import bytes_per_video
from adafocus_rl.features.verify import verify_tables
from adafocus_rl.models.recognizer import Recognizer

CPU = torch.device("cpu")
TABLES = ("global_map", "local")

Made = tuple[Recognizer, ClipDataset]


def half_steps(values: torch.Tensor) -> torch.Tensor:
    """The bound (B, T, 1): half of one of 255 steps from each frame's lowest to its highest value, and rounding."""
    low, high = values.flatten(2).aminmax(dim=-1, keepdim=True)
    return (high - low) / 510 + 2**-22 * torch.maximum(low.abs(), high.abs())


def rounded(values: torch.Tensor) -> torch.Tensor:
    """Values (B, T, …) to 8 bits and back."""
    codes, ranges = compress(values)
    assert (codes.dtype, ranges.dtype, ranges.shape) == (torch.uint8, torch.float32, (*values.shape[:2], 2))
    return restore(codes.float(), ranges)


@given(
    seed=st.integers(0, 10_000),
    scale=st.floats(1e-6, 1e6),
    shift=st.floats(-1e3, 1e3),
    dtype=st.sampled_from([torch.float32, torch.bfloat16]),
)
def test_a_value_is_off_by_at_most_half_a_step(seed: int, scale: float, shift: float, dtype: torch.dtype) -> None:
    draw = torch.Generator().manual_seed(seed)
    values = (torch.randn(2, 3, 4, 5, generator=draw) * scale + shift).to(dtype).float()
    assert ((rounded(values.to(dtype)) - values).flatten(2).abs() <= half_steps(values)).all()


def test_what_is_exact() -> None:
    """Zeros of features that are not negative, equal values, and values that are whole steps."""
    draw = torch.Generator().manual_seed(0)
    after_relu = torch.randn(2, 3, 40, generator=draw).relu()
    assert not rounded(after_relu)[after_relu == 0].any()
    equal = torch.tensor([0.0, -1.25, 7.5])[None, :, None].expand(2, 3, 6)
    assert torch.equal(rounded(equal), equal)
    steps = (torch.arange(256.0) * 0.25 - 9).expand(1, 1, 256)
    assert torch.equal(rounded(steps), steps)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_what_is_not_finite_has_no_finite_range(bad: float) -> None:
    values = torch.zeros(1, 2, 3)
    values[0, 1, 2] = bad
    _, ranges = compress(values)
    assert ranges.isfinite().all(-1).tolist() == [[True, False]]


def test_mapped_rows_are_resident_rows() -> None:
    """For whole videos, frames and single features, of maps and of vectors."""
    draw = torch.Generator().manual_seed(0)
    videos = torch.tensor([6, 0, 4, 4])
    frame = torch.tensor([[0, 1, 1]]).expand(4, -1)
    action = torch.randint(3, (4, 3, 2), generator=draw)
    for shape in ((7, 2, 3, 4), (7, 2, 3, 2, 2)):
        codes, ranges = compress(torch.randn(*shape, generator=draw))
        expected = restore(codes.float(), ranges)
        array = codes.numpy()
        shards = [array[:3], array[3:6], array[6:]]
        mapped, resident = MappedRows(shards, 3, CPU, ranges), ResidentRows(shards, CPU, ranges)
        assert resident.values.dtype == torch.uint8
        indices: list[tuple[torch.Tensor, ...]] = [(videos,), (videos[:, None], frame), (videos[:0],)]
        if len(shape) == 4:
            indices.append((videos[:, None, None], frame[..., None], action))
        for index in indices:
            found = mapped.gather(*index)
            assert found.dtype == torch.float32
            assert torch.equal(found, expected[index])
            assert torch.equal(resident.gather(*index), expected[index])
            assert found.stride() == resident.gather(*index).stride()


@pytest.fixture(scope="module")
def small(
    shared_list: Path, make_dataset: Callable[..., ClipDataset], make_recognizer: Callable[..., Recognizer]
) -> Made:
    return make_recognizer(), make_dataset(shared_list)


def build(folder: Path, small: Made, **options: Any) -> Path:
    build_bank(folder, *small, device=CPU, shard_videos=2, **{"eight_bit": TABLES, **options})
    return folder


@pytest.fixture(scope="module")
def original(small: Made, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("original") / "bank", small)


@pytest.fixture
def bank(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "bank"))


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("resident", ["always", "never"])
def test_a_bank_is_within_half_a_step_of_live_features(original: Path, small: Made, resident: Any) -> None:
    expected = expected_manifests(*small, eight_bit=TABLES)
    found = FeatureBank(original, device=CPU, expected=expected, resident=resident)
    live = LiveFeatures(*small, device=CPU)
    for stored, computed in zip(found.batches(4), live.batches(4), strict=True):
        steps = torch.arange(3).expand(len(stored), -1)
        actions = torch.arange(9).expand(len(stored), 3, -1)
        for name in TABLES:
            rows, values = (
                part.global_map if name == "global_map" else part.local_at(steps, actions)
                for part in (stored, computed)
            )
            error = (rows - values).flatten(2).abs()
            # The encoders of bank and live see batches of different sizes.
            assert (error <= half_steps(values) + 1e-5).all(), name
            assert error.max() > 0.1 * half_steps(values).min(), name
        torch.testing.assert_close(stored.global_vector, computed.global_vector, rtol=1e-3, atol=1e-3)


def test_bank_in_memory_and_on_disk_are_equal(original: Path) -> None:
    mapped, resident = (FeatureBank(original, device=CPU, resident=kind) for kind in ("never", "always"))
    assert mapped.resident is not resident.resident
    for one, other in zip(mapped.batches(4, epoch=1), resident.batches(4, epoch=1), strict=True):
        assert torch.equal(one.global_map, other.global_map)
        action = torch.arange(3).expand(len(one), -1)
        assert torch.equal(one.local(action), other.local(action))
        assert torch.equal(one.full(), other.full())


def test_only_the_tables_in_8_bits_have_another_manifest(small: Made) -> None:
    plain, eight = expected_manifests(*small), expected_manifests(*small, eight_bit=("global_map",))
    assert [name for name in plain if plain[name] != eight[name]] == ["global_map"]
    assert eight["global_map"] == {**plain["global_map"], "dtype": "uint8", "format_version": 4}
    assert {manifest["format_version"] for manifest in plain.values()} == {3}


def test_another_type_is_stale_and_a_shared_store_holds_both(original: Path, small: Made, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r'stale: dtype is "uint8" there and "float16" now \(table global_map, local\)'):
        FeatureBank(original, device=CPU, expected=expected_manifests(*small))
    store = TableStore(tmp_path, shared=True)
    for eight_bit in ((), ("global_map",)):
        build_bank(store, *small, device=CPU, eight_bit=eight_bit)
        FeatureBank(store, device=CPU, expected=expected_manifests(*small, eight_bit=eight_bit))
    assert len([*tmp_path.glob("global_map-*")]) == 2
    assert len([*tmp_path.glob("local-*")]) == 1


def test_parts_and_a_resumed_build_are_the_whole(bank: Path, small: Made, tmp_path: Path) -> None:
    whole = content(bank)
    for number in (2, 1):
        build(tmp_path / "parts", small, part=Part(number, 2))
    assert content(tmp_path / "parts") == whole
    shutil.rmtree(bank / "global_map" / "shard_00001")
    (bank / "local" / "shard_00000" / "local.range.npy").unlink()
    with pytest.raises(UserError, match="half-written"):
        FeatureBank(bank, device=CPU)
    build(bank, small)
    assert content(bank) == whole


def test_copies_have_both_arrays(bank: Path, small: Made, tmp_path: Path) -> None:
    remote = RemoteFolder(f"file://{tmp_path / 'remote'}")
    expected = expected_manifests(*small, eight_bit=TABLES)
    tables = [table for name, table in TableStore(bank).open(expected).items() if name in TABLES]
    assert push(tables, remote) == Copied(6, 0, 0)
    wanted = content(bank)
    for name in TABLES:
        shutil.rmtree(bank / name / "shard_00002")
    assert pull({name: expected[name] for name in TABLES}, TableStore(bank), remote) == Copied(2, 4, 0)
    assert content(bank) == wanted


def test_a_damaged_range_is_found(bank: Path) -> None:
    path = bank / "local" / "shard_00001" / "local.range.npy"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(UserError, match=r"local\.range\.npy is damaged: it does not have the checksum"):
        FeatureBank(bank, device=CPU)
    with pytest.raises(UserError, match=r"local\.range\.npy is damaged"):
        verify_tables(TableStore(bank).tables().values())


@pytest.mark.parametrize("changes", [{"dtype": "float16"}, {"format_version": 3}, {"dtype": "int8"}, {"dtype": [1]}])
def test_a_type_of_another_version_is_refused(bank: Path, changes: dict[str, Any]) -> None:
    path = bank / "global_map" / "manifest.json"
    manifest, _ = read_sealed(path, "manifest")
    write_sealed(path, {**manifest, **changes})
    with pytest.raises(UserError, match="dtype is missing or makes no sense"):
        TableStore(bank).tables()


def test_features_that_are_not_finite_are_refused(small: Made, tmp_path: Path) -> None:
    bad = TableSpec(name="bad", fill=lambda chunk: chunk.frames.mean((2, 3)) / 0)
    with pytest.raises(UserError, match=r"the bad features of \d videos are not all finite in 8 bits"):
        build_bank(tmp_path, *small, device=CPU, tables=[bad], eight_bit=["bad"])


def test_the_size_is_known_and_half(original: Path, small: Made) -> None:
    plain = bytes_per_video(small[0], frames=3, classes=3)
    sizes = bytes_per_video(small[0], frames=3, classes=3, eight_bit=TABLES)
    assert [name for name in plain if plain[name] != sizes[name]] == [*TABLES]
    header = 128
    for name in (spec.name for spec in DEFAULT_TABLES):
        files = [*(original / name).rglob("*.npy")]
        assert sum(file.stat().st_size - header for file in files) == 6 * sizes[name], name
        if name in TABLES:
            assert sizes[name] == plain[name] // 2 + 3 * 8  # two float32 for each frame
    opened = FeatureBank(original, device=CPU, resident="always")
    held = np.prod(opened._rows["global_map"].values.shape)  # type: ignore[union-attr]
    assert held == 6 * plain["global_map"] // 2
