"""Six small real videos, small encoders, and what stands on them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from adafocus_rl.data.dataset import ClipDataset
from adafocus_rl.data.encode import write_video
from adafocus_rl.data.index import VideoIndex
from adafocus_rl.data.transform_options import TransformConfig
from adafocus_rl.models.config import ClassifierConfig, EncoderConfig, ModelConfig
from adafocus_rl.models.recognizer import Recognizer

VIDEOS = 6


def write_list(folder: Path, videos: int = VIDEOS) -> Path:
    """Videos of smooth moving noise, their list and a box in every frame of the first one."""
    rng = np.random.default_rng(0)
    rows = ["path,label"]
    for number in range(videos):
        small = rng.integers(0, 256, (7, 6, 6, 3), dtype=np.uint8)
        write_video(folder / f"{number}.mp4", small.repeat(8, axis=1).repeat(8, axis=2))
        rows.append(f"{number}.mp4,{number % 3}")
    (folder / "list.csv").write_text("\n".join(rows) + "\n")
    boxes = [f"0.mp4,{frame},4,5,10,12" for frame in range(7)]
    (folder / "list_boxes.csv").write_text("path,frame,top,left,height,width\n" + "\n".join(boxes) + "\n")
    return folder / "list.csv"


@pytest.fixture(scope="session")
def shared_list(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A list that tests only read."""
    return write_list(tmp_path_factory.mktemp("videos"))


@pytest.fixture
def own_list(tmp_path: Path) -> Path:
    """A list with videos that a test may spoil."""
    folder = tmp_path / "videos"
    folder.mkdir()
    return write_list(folder)


def _make_dataset(path: Path, *, train: bool = False, seed: int = 0, **transforms: Any) -> ClipDataset:
    return ClipDataset(
        VideoIndex.read(path),
        num_frames=3,
        transform=TransformConfig(**{"frame_size": 48, "resize_short": 0, "crop": "none", **transforms}),
        train=train,
        seed=seed,
        num_classes=3,
    )


def _make_recognizer(
    *,
    seed: int = 0,
    grid: int = 3,
    patch_size: int = 16,
    patch_scales: tuple[float, ...] = (1.0,),
    glance_size: int = 24,
    mean: float = 0.5,
) -> Recognizer:
    torch.manual_seed(seed)
    config = ModelConfig(
        glance=EncoderConfig(name="small_glance"),
        focus=EncoderConfig(name="small_focus"),
        classifier=ClassifierConfig(hidden=8),
        frame_size=48,
        glance_size=glance_size,
        patch_size=patch_size,
        patch_scales=patch_scales,
        grid=grid,
        mean=(mean,) * 3,
        num_classes=3,
    )
    return Recognizer(config).eval()


@pytest.fixture(scope="session")
def make_dataset() -> Callable[..., ClipDataset]:
    """From a list file to its clips."""
    return _make_dataset


@pytest.fixture(scope="session")
def make_recognizer() -> Callable[..., Recognizer]:
    """A recognizer of small encoders, the same for the same arguments."""
    return _make_recognizer


@pytest.fixture
def made(
    shared_list: Path, make_dataset: Callable[..., ClipDataset], make_recognizer: Callable[..., Recognizer]
) -> tuple[Recognizer, ClipDataset]:
    """A recognizer, and the clips that its features are computed of."""
    return make_recognizer(), make_dataset(shared_list)
