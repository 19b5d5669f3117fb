"""``adafocus bench bank-build``."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import get_args

import torch
from torch import Tensor, nn

from adafocus_rl.data.dataset import ClipDataset
from adafocus_rl.data.index import VideoIndex
from adafocus_rl.data.transform_options import TransformConfig
from adafocus_rl.experiments.bench.decode_loops import made_folder, made_video
from adafocus_rl.experiments.bench.timing import Timing, compare
from adafocus_rl.features import build_bank
from adafocus_rl.features.options import Precision
from adafocus_rl.features.precision import in_precision
from adafocus_rl.features.specs import MAX_PATCH_PIXELS
from adafocus_rl.models import ModelConfig, Recognizer
from adafocus_rl.models.chunks import vectors_of
from adafocus_rl.seeding import seed_all


@dataclass(frozen=True, kw_only=True)
class _Size:
    """Numbers of videos, of frames in each, and of decoding processes."""

    videos: int
    frames: int
    workers: int


ON_CPU = _Size(videos=1, frames=6, workers=0)
"""Enough for a CPU, which spends seconds on them."""

ON_CUDA = _Size(videos=32, frames=16, workers=8)

MODEL = ModelConfig()
"""The recognizer, by default the paper's."""


def bench_bank_build(device: torch.device) -> Iterator[Timing]:
    """Build a bank at the paper's sizes, against f_L alone on the same patches in the same precision.

    The bank's time includes decoding, f_G (MobileNet-V2) and f_L (ResNet-50) on whole frames, f_L on all 49 patches of
    each frame, and writing. f_L alone runs on patches that are already in memory, in the batches in which the bank
    encodes them. Frames come from H.264 files and from folders of JPEG images.

    Args:
        device: device to run on.
    """
    size = ON_CUDA if device.type == "cuda" else ON_CPU
    with tempfile.TemporaryDirectory() as made:
        for kind, dataset in _datasets(Path(made), size).items():
            recognizer = _recognizer(dataset).to(device)
            patches = _patches(recognizer, dataset)
            for precision in get_args(Precision):
                build = partial(
                    build_bank, Path(made) / "bank", recognizer, dataset, device=device, workers=size.workers,
                    overwrite=True, precision=precision,
                )  # fmt: skip
                name = f"bank-build, {precision}, {kind}, {len(patches) * size.videos} patches"
                bare = _bare(in_precision(recognizer, precision), patches, size.videos)
                yield compare(name, ("build", build), ("f_L alone", bare), device)


def _datasets(folder: Path, size: _Size) -> dict[str, ClipDataset]:
    """Make videos, and the same as folders of images; all are the same video."""
    video, images = folder / "video.mp4", folder / "images"
    made_video(video)
    made_folder(images, video)
    found = {}
    for kind, path, suffix in (("H.264", video, ".mp4"), ("JPEG folders", images, "")):
        names = [f"{path.stem}_{number}{suffix}" for number in range(size.videos)]
        for name in names:
            (folder / name).symlink_to(path)
        list_file = folder / f"{path.stem}.csv"
        list_file.write_text("path,label\n" + "".join(f"{name},0\n" for name in names))
        found[kind] = ClipDataset(
            VideoIndex.read(list_file), num_frames=size.frames, transform=TransformConfig(), train=False, seed=0
        )
    return found


@torch.no_grad()
def _recognizer(dataset: ClipDataset) -> Recognizer:
    """Return untrained networks of the paper, whose batch norms have the statistics of a clip, as trained ones do.

    Otherwise, features would grow from layer to layer beyond what float16 holds.
    """
    seed_all("bench bank-build")
    recognizer = Recognizer(MODEL)
    for module in recognizer.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    frames = recognizer.prepare(_clip(dataset))[:2]
    recognizer.train()
    recognizer.glance_features(frames)
    recognizer.focus_features(frames)
    return recognizer.eval()


def _clip(dataset: ClipDataset) -> Tensor:
    """Return the frames (T, 3, S, S) of a clip."""
    return torch.as_tensor(dataset[0].clip)  # type: ignore[union-attr]  # the video was just made


def _patches(recognizer: Recognizer, dataset: ClipDataset) -> Tensor:
    """Return all patches (T · A, 3, P, P) of a clip, prepared for f_L."""
    frames = recognizer.prepare(_clip(dataset).to(recognizer.scale.device))
    actions = torch.arange(recognizer.num_actions, device=frames.device)
    origins = recognizer.grid.action_origin(actions).expand(len(frames), -1, -1)
    return recognizer.grid.crop(frames, origins).flatten(0, 1)


def _bare(recognizer: Recognizer, patches: Tensor, times: int) -> Callable[[], None]:
    """Return a function that runs f_L on these patches several times."""
    batch = MAX_PATCH_PIXELS // patches.shape[-1] ** 2

    @torch.no_grad()
    def run() -> None:
        for _ in range(times):
            for part in patches.split(batch):
                vectors_of(recognizer.focus, part)

    return run
