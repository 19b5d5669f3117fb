"""Uniform frames against a plain computation."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from adafocus_rl.agents.methods import UniformFrames, UniformFramesOptions
from adafocus_rl.agents.methods.uniform import uniform_places
from adafocus_rl.agents.training_options import ClassifierTraining, SGDConfig
from adafocus_rl.errors import UserError
from adafocus_rl.flops import encoder_macs
from adafocus_rl.models import Recognizer
from tests.agents.methods.conftest import LabelledClips, PlainTrainer, accuracy, saved_and_loaded

FAST = ClassifierTraining(epochs=60, learning_rate=0.01, sgd=SGDConfig(batch_size=10, optimizer="adam"))


def test_the_places_are_the_middles_of_equal_parts() -> None:
    assert uniform_places(16, 4).nonzero().flatten().tolist() == [2, 6, 10, 14]
    assert uniform_places(10, 3).nonzero().flatten().tolist() == [1, 5, 8]
    assert uniform_places(5, 1).nonzero().flatten().tolist() == [2]
    for frames in range(1, 20):
        for count in range(1, 25):
            expected = {int(frames / count * (i + 0.5)) for i in range(count)} if count < frames else {*range(frames)}
            assert {*uniform_places(frames, count).nonzero().flatten().tolist()} == expected


def test_it_recognises_those_frames_and_no_others(
    tiny: Recognizer, ten_clips: LabelledClips, count_images: dict[tuple[str, int], int]
) -> None:
    method = UniformFrames(tiny, UniformFramesOptions(frames=(2,)), seed=3)
    count_images.clear()  # MACs were counted with them
    outcome = method.run(ten_clips.episodes(ten_clips.videos), knob=2)
    assert count_images == {("focus", 32): 20}
    assert outcome.macs.tolist() == [2 * (encoder_macs(tiny.focus, 32) + 128 * 5)] * 10
    assert outcome.trace.looks[0].tolist() == [False, True, False, False, True, False]
    for video in range(10):
        frames = tiny.prepare(ten_clips.clips[video])
        with torch.no_grad():
            expected = sum(method.networks["head"](tiny.focus(frames[t][None]))[0] for t in (1, 4)) / 2
        torch.testing.assert_close(outcome.logits[video], expected, rtol=1e-4, atol=1e-5)


def test_it_learns_ten_clips(tiny: Recognizer, ten_clips: LabelledClips, tmp_path: Path) -> None:
    method = UniformFrames(tiny, UniformFramesOptions(frames=(3, 6), training=FAST))
    before = accuracy(method, ten_clips, 6)
    method.fit(ten_clips, ten_clips, trainer=PlainTrainer())
    assert before < 0.7
    assert accuracy(method, ten_clips, 6) == 1
    loaded = saved_and_loaded(method, tmp_path)
    batch = ten_clips.episodes(ten_clips.videos)
    assert torch.equal(loaded.run(batch, knob=3).logits, method.run(batch, knob=3).logits)
    assert method.random_counterpart() is None


def test_numbers_out_of_range_are_refused() -> None:
    with pytest.raises(UserError, match="frames is \\(0,\\); give at least 1"):
        UniformFramesOptions(frames=(0,))
    with pytest.raises(UserError, match="at least one number of frames"):
        UniformFramesOptions(frames=())
