"""Valid material that hostile input is made from: videos, lists, runs; made once, by the code."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shlex
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import yaml

ROOT = Path(__file__).parents[2]
LAYERS = ("adafocus_rl", "envs", "agents", "experiments")

SECRET = "canary-9f3c-must-never-be-shown"
"""Stands in files that no case may read; it must turn up in no output."""

TINY: dict[str, Any] = {
    "name": "tiny",
    "device": "cpu",
    "threads": 1,
    "data": {
        "train_list": "train.csv", "val_list": "val.csv", "num_frames": 4, "resize_short": 0, "crop": "none",
        "workers": 0, "decode_timeout": 10,
    },
    "model": {
        "glance": {"name": "small_glance"}, "focus": {"name": "small_focus"},
        "classifier": {"name": "gru", "hidden": 8}, "frame_size": 32, "glance_size": 16, "patch_size": 16, "grid": 3,
        "num_classes": 0,
    },
    "stage0": {"epochs": 1, "learning_rate": 0.03, "sgd": {"batch_size": 4}},
    "stage1": {
        "epochs": 1, "focus_learning_rate": 0.03, "classifier_learning_rate": 0.03, "sgd": {"batch_size": 4},
    },
    "stage2": {"epochs": 1, "batch_size": 4},
    "stage3": {"epochs": 1, "learning_rate": 0.003, "sgd": {"batch_size": 4}},
    "bank": {"shard_videos": 4, "chunk_videos": 2},
    "evaluation": {"batch_size": 4, "repeats": 1, "timed_videos": 1, "full_frame_epochs": 1, "sheet_videos": 2},
    "agent": {"class_path": "PPOAgent", "init_args": {"hidden": 8, "reduced_channels": 2}},
}  # fmt: skip
"""A recipe whose stages take a second."""


MADE = (
    "--train_videos=2", "--val_videos=2", "--still_videos=2", "--frames=4", "--side=32", "--digit=12",
    "--still_side=16", "--distractors=1",
)  # fmt: skip
"""Options of the embedded data."""


@dataclass(frozen=True)
class Corpus:
    """Where the material lies; nobody writes to it."""

    path: Path

    @property
    def data(self) -> Path:
        """train.csv, val.csv, their boxes, classes.txt and the videos of a few frames."""
        return self.path / "data"

    @property
    def recipe(self) -> Path:
        """The recipe of the run."""
        return self.path / "data" / "tiny.yaml"

    @property
    def run(self) -> Path:
        """A finished run of all stages."""
        return self.path / "run"

    @property
    def stopped(self) -> Path:
        """A run that was interrupted in stage I, with the checkpoint to resume from."""
        return self.path / "stopped"

    @property
    def compared(self) -> Path:
        """The finished run with a comparison in it."""
        return self.path / "compared"

    @property
    def made(self) -> Path:
        """What ``data make`` writes."""
        return self.path / "made"

    @property
    def extracted(self) -> Path:
        """What ``data extract`` writes of the validation list."""
        return self.path / "extracted"

    @property
    def media(self) -> Path:
        """One video in each container, images, a folder of frames."""
        return self.path / "media"

    @property
    def outside(self) -> Path:
        """Files that no case may read."""
        return self.path / "outside"

    def copy(self, source: Path, target: Path) -> Path:
        """A copy to attack."""
        return Path(shutil.copytree(source, target, ignore=shutil.ignore_patterns("tensorboard", "report.html")))


def source_hash() -> str:
    """Of the project's code: other code may write other files."""
    digest = hashlib.sha256()
    for folder in LAYERS:
        for path in [*sorted((ROOT / folder).rglob("*.py")), Path(__file__)]:
            digest.update(f"{path.relative_to(ROOT)}\n".encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def make_corpus(folder: Path) -> Corpus:
    """The material in a folder; made anew when the code has changed since."""
    folder = folder.absolute()
    mark, version = folder / "made_by.json", source_hash()
    if mark.is_file() and json.loads(mark.read_text()) == version:
        return Corpus(folder)
    shutil.rmtree(folder, ignore_errors=True)
    corpus = Corpus(folder)
    for path in (corpus.data, corpus.media, corpus.outside):
        path.mkdir(parents=True)
    _write_data(corpus.data)
    _write_media(corpus.media)
    with _quiet():
        _train(corpus)
    (corpus.outside / "secret.txt").write_text(f"{SECRET}\n")
    shutil.copy(corpus.data / "0.mp4", corpus.outside / "secret.mp4")
    # Lies on the workers' path, so that whoever imports what a file names does so.
    (corpus.outside / "fuzz_canary_module.py").write_text("open('owned', 'w').close()\n\n\nclass Anything:\n    pass\n")
    mark.write_text(json.dumps(version))
    return corpus


def moving_frames(count: int, side: int, *, seed: int) -> Any:
    """(count, side, side, 3) uint8: a bright square that wanders over a grey ramp."""
    import numpy as np

    ramp = np.linspace(40, 120, side, dtype=np.uint8)
    frames = np.broadcast_to(ramp[None, None, :, None], (count, side, side, 3)).copy()
    for number in range(count):
        at = (seed * 7 + number * 3) % (side - 8)
        frames[number, at : at + 8, at : at + 8, seed % 3] = 250
    return frames


def _write_data(folder: Path) -> None:
    from adafocus_rl.data.encode import write_video

    for number in range(8):
        write_video(folder / f"{number}.mp4", moving_frames(6, 32, seed=number))
    for split, numbers in (("train", range(6)), ("val", range(4, 8))):
        rows = "".join(f"{number}.mp4,{number % 2},6\n" for number in numbers)
        boxes = "".join(f"{number}.mp4,{frame},2,3,8,8\n" for number in numbers for frame in range(6))
        (folder / f"{split}.csv").write_text(f"path,label,num_frames\n{rows}")
        (folder / f"{split}_boxes.csv").write_text(f"path,frame,top,left,height,width\n{boxes}")
    (folder / "classes.txt").write_text("walk\nrun\n")
    content = {**TINY, "data": {**TINY["data"]}}
    for name in ("train_list", "val_list"):
        content["data"][name] = str(folder / content["data"][name])
    (folder / "tiny.yaml").write_text(yaml.safe_dump(content, sort_keys=False))


CONTAINERS = {
    "mp4": "libx264", "mkv": "libx264", "mov": "mpeg4", "avi": "mpeg4", "webm": "libvpx-vp9", "ts": "mpeg2video",
    "mpg": "mpeg1video", "flv": "flv", "ogv": "libtheora", "gif": "gif", "mjpeg": "mjpeg", "wmv": "wmv2",
}  # fmt: skip
"""By ending: a codec that goes into it."""


def _write_media(folder: Path) -> None:
    import av
    from PIL import Image

    frames = moving_frames(6, 32, seed=1)
    for ending, codec in CONTAINERS.items():
        # Which encoders FFmpeg was built with differs; those that are there are enough.
        with contextlib.suppress(av.FFmpegError, ValueError), av.open(str(folder / f"v.{ending}"), "w") as container:
            stream: Any = container.add_stream(codec, rate=25)
            stream.width = stream.height = 32
            formats = stream.codec_context.codec.video_formats
            names = [one.name for one in formats] if formats else ["yuv420p"]
            stream.pix_fmt = "yuv420p" if "yuv420p" in names else names[0]
            for image in frames:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            container.mux(stream.encode(None))
        if (folder / f"v.{ending}").is_file() and (folder / f"v.{ending}").stat().st_size < 200:
            (folder / f"v.{ending}").unlink()
    (folder / "frames").mkdir()
    for number, image in enumerate(frames):
        Image.fromarray(image).save(folder / "frames" / f"image_{number:05d}.jpg")
    for ending in ("png", "jpg", "bmp", "webp", "tiff", "gif", "ppm"):
        Image.fromarray(frames[0]).save(folder / f"i.{ending}")


def _train(corpus: Corpus) -> None:
    """A finished run and an interrupted one."""
    from adafocus_rl.experiments.cli.entry import main
    from adafocus_rl.rotation import CheckpointRotation

    corpus_run, compared = str(corpus.run), str(corpus.compared)
    commands = (
        ["train", str(corpus.recipe), "--out", corpus_run],
        ["data", "make", "moving_digits", str(corpus.made), *MADE],
        ["data", "extract", str(corpus.data / "val.csv"), "--out", str(corpus.extracted), "--workers=0"],
        ["compare", compared, "--agents", "RandomAgent", "CenterAgent", "--seeds", "1", "--jobs", "1"],
    )
    for arguments in commands:
        if compared in arguments:
            shutil.copytree(corpus.run, corpus.compared)
        if main(arguments):
            raise RuntimeError(f"the fuzz suite's own `adafocus {shlex.join(arguments)}` fails")
    save = CheckpointRotation.save

    def interrupted(self: CheckpointRotation, *args: Any, **kwargs: Any) -> Path:
        path = save(self, *args, **kwargs)
        if self.stem == "stage1.resume":
            raise KeyboardInterrupt
        return path

    # A second epoch is to come, so that there is something to go on with.
    arguments = ["train", str(corpus.recipe), "--out", str(corpus.stopped), "--stage1.epochs=2"]
    with mock.patch.object(CheckpointRotation, "save", interrupted):
        main(arguments)
    if not list((corpus.stopped / "checkpoints").glob("stage1.resume.*")):
        raise RuntimeError("the fuzz suite's interrupted run has left no checkpoint to resume from")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    with Path(os.devnull).open("w") as nowhere, mock.patch.multiple(sys, stdout=nowhere, stderr=nowhere):
        yield
