"""A small recogniser, ten clips that it can tell apart, and a training loop without a run."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
import torch
from torch import Tensor, nn

from adafocus_rl.agents.learner import Learner, no_tick
from adafocus_rl.agents.methods import Method
from adafocus_rl.agents.methods.trainer import AfterEpoch
from adafocus_rl.features import GivenClips
from adafocus_rl.features.live import LiveEpisodes
from adafocus_rl.features.source import Share, own_share, video_order
from adafocus_rl.models import ClassifierConfig, EncoderConfig, ModelConfig, Recognizer, chunks

CLASSES, VIDEOS, FRAMES, SIDE = 5, 10, 6, 32


class LabelledClips(GivenClips):
    """Clips in memory, with labels."""

    labels: Tensor

    def episodes(self, videos: Tensor, *, epoch: int = 0) -> LiveEpisodes:
        """Encode these clips."""
        episodes = super().episodes(videos, epoch=epoch)
        episodes.labels = self.labels[videos].to(self.device)
        episodes.multi_hot = nn.functional.one_hot(episodes.labels, self.num_classes).float()
        return episodes

    def batches(
        self, batch_size: int, *, epoch: int | None = None, share: Share | None = None
    ) -> Iterator[LiveEpisodes]:
        """Yield all clips once."""
        for videos in own_share(video_order(self.videos, seed=0, epoch=epoch).split(batch_size), share):
            yield self.episodes(videos)


class PlainTrainer:
    """Runs all epochs of a learner and keeps what it logs."""

    def __init__(self) -> None:
        self.scalars: list[dict[str, float]] = []

    def fit(
        self, step: str, learner: Learner, *, epochs: int, ticks: int, after_epoch: AfterEpoch | None = None
    ) -> float:
        """Train."""

        def tick(count: int = 1, *, loss: Tensor | None = None, rows: Tensor | None = None, **_: object) -> None:
            assert loss is None or bool(torch.isfinite(loss).all())

        for epoch in range(epochs):
            found = dict(learner.train_epoch(epoch, tick))
            self.scalars.append({**found, **(after_epoch(epoch + 1, found) if after_epoch else {})})
        return 0.0


@pytest.fixture(scope="session")
def tiny() -> Recognizer:
    """A recogniser with f_G on 16 and f_L on 32 pixels, randomly initialised."""
    return make_tiny()


def make_tiny(*, dropout: float = 0.8) -> Recognizer:
    """Return the recogniser, for tests in several processes."""
    config = ModelConfig(
        glance=EncoderConfig(name="small_glance"),
        focus=EncoderConfig(name="small_focus"),
        classifier=ClassifierConfig(hidden=16, dropout=dropout),
        frame_size=SIDE,
        glance_size=16,
        patch_size=16,
        grid=3,
        num_classes=CLASSES,
    )
    torch.manual_seed(0)
    recognizer = Recognizer(config)
    # Features of random networks are nearly equal; statistics of the clips make them differ.
    recognizer.train()
    with torch.no_grad():
        frames = recognizer.prepare(_clips().flatten(0, 1))
        for _ in range(30):
            recognizer.glance_features(frames)
            recognizer.full_features(frames)
    return recognizer.eval()


def _clips() -> Tensor:
    """Each clip has frames of noise and of its class, a bright bar, in a few of them."""
    random = torch.Generator().manual_seed(1)
    clips = torch.randint(120, (VIDEOS, FRAMES, 3, SIDE, SIDE), dtype=torch.uint8, generator=random)
    for video in range(VIDEOS):
        label = video % CLASSES
        for frame in torch.randperm(FRAMES, generator=random)[:3].tolist():
            clips[video, frame, :, :, 6 * label : 6 * label + 6] += 120
    return clips


@pytest.fixture(scope="session")
def ten_clips(tiny: Recognizer) -> LabelledClips:
    """Ten clips of five classes."""
    return make_ten_clips(tiny)


def make_ten_clips(tiny: Recognizer) -> LabelledClips:
    """Return the clips, for tests in several processes."""
    source = LabelledClips(tiny, _clips())
    source.labels = torch.arange(VIDEOS) % CLASSES
    return source


@pytest.fixture
def count_images(tiny: Recognizer, monkeypatch: pytest.MonkeyPatch) -> dict[tuple[str, int], int]:
    """Number of images that each encoder has processed, by part and input side; filled while a test runs."""
    counts: dict[tuple[str, int], int] = {}
    for part, encoder in (("glance", tiny.glance), ("focus", tiny.focus)):
        forward_map = type(encoder).forward_map

        def spy(x: Tensor, *, part: str = part, encoder: nn.Module = encoder, run: Callable[..., Tensor] = forward_map):  # type: ignore[no-untyped-def]
            counts[part, x.shape[-1]] = counts.get((part, x.shape[-1]), 0) + len(x)
            return run(encoder, x)

        monkeypatch.setattr(encoder, "forward_map", spy)
    # The size of chunks is measured on an image of its own.
    monkeypatch.setattr(chunks, "largest_activation", lambda *_: 1)
    return counts


def accuracy(method: Method, source: LabelledClips, knob: float | None) -> float:
    """Return the share of the clips that a method recognises."""
    batch = source.episodes(source.videos)
    return float((method.run(batch, knob=knob).logits.argmax(-1) == batch.labels).float().mean())


def saved_and_loaded(method: Method, tmp_path: Path) -> Method:
    """Return the method after a round trip through a file."""
    path = tmp_path / f"{method.stem}.safetensors"
    method.save(path)
    return type(method).load(path, method.recognizer)


class PartTrainer(PlainTrainer):
    """Runs some epochs of a learner, from the state that an earlier part has left.

    Args:
        epochs: the epochs to run.
        state: the earlier part's state; None starts afresh.
    """

    def __init__(self, epochs: range, state: tuple[dict[str, Tensor], dict[str, Any]] | None = None) -> None:
        super().__init__()
        self.epochs = epochs
        self.state = state

    def fit(
        self, step: str, learner: Learner, *, epochs: int, ticks: int, after_epoch: AfterEpoch | None = None
    ) -> float:
        """Train in this part's epochs, and keep a copy of the state."""
        if self.state is not None:
            learner.load_training_state(self.state[0], json.loads(json.dumps(self.state[1])), what="the first part")
        for epoch in self.epochs:
            self.scalars.append(dict(learner.train_epoch(epoch, no_tick)))
        tensors, plain = learner.training_state()
        self.state = {name: value.clone() for name, value in tensors.items()}, copy.deepcopy(plain)
        return 0.0


MethodT = TypeVar("MethodT", bound=Method)


def resume(create: Callable[[], MethodT], source: LabelledClips) -> tuple[MethodT, MethodT]:
    """Return a method that has trained for four epochs, and one that was interrupted after two of them."""
    whole, half, resumed = create(), create(), create()
    whole.fit(source, source, trainer=PartTrainer(range(4)))
    first = PartTrainer(range(2))
    half.fit(source, source, trainer=first)
    resumed.fit(source, source, trainer=PartTrainer(range(2, 4), first.state))
    return whole, resumed
