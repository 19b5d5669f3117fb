from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from adafocus_rl.data.dataset import ClipDataset
from adafocus_rl.features import DEFAULT_TABLES, build_bank, bytes_per_video, vectors_at
from adafocus_rl.models.recognizer import Recognizer

MakeDataset = Callable[..., ClipDataset]
MakeRecognizer = Callable[..., Recognizer]


@pytest.mark.parametrize("scales", [(1.0,), (1.0, 0.5)])
def test_the_size_of_a_bank_is_known_before_it_is_built(
    tmp_path: Path,
    shared_list: Path,
    make_dataset: MakeDataset,
    make_recognizer: MakeRecognizer,
    scales: tuple[float, ...],
) -> None:
    recognizer, dataset = make_recognizer(patch_scales=scales), make_dataset(shared_list)
    tables = (*DEFAULT_TABLES, vectors_at("focus", 16))
    # f_G's maps of 24 pixels, T = 3, f_L's vectors of 9 patches of each scale, in two bytes.
    sizes = bytes_per_video(recognizer, frames=3, classes=3, tables=tables)
    assert sizes["local"] == 3 * 9 * len(scales) * recognizer.focus.vector_dim * 2
    assert sizes["clips"] == 8 + 3 + 3 * 4 * 4 + 1
    build_bank(tmp_path, recognizer, dataset, device=torch.device("cpu"), shard_videos=4, tables=tables)
    header = 128
    for name, size in sizes.items():
        files = [*(tmp_path / name).rglob("*.npy")]
        assert sum(file.stat().st_size - header for file in files) == len(dataset) * size, name
    assert {path.name for path in tmp_path.iterdir()} == {*sizes}
    rest = sum(file.stat().st_size for file in tmp_path.rglob("*") if file.is_file()) - len(dataset) * sum(
        sizes.values()
    )
    # Headers, marks and manifests.
    shards = sum(len([*(tmp_path / name).glob("shard_*")]) for name in sizes)
    assert rest < 2048 * (shards + len(sizes))
