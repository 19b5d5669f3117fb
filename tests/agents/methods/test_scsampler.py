"""SCSampler against a plain computation."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from adafocus_rl.agents.methods import SCSampler, SCSamplerOptions
from adafocus_rl.agents.methods.scsampler import ranking_loss
from adafocus_rl.agents.training_options import ClassifierTraining, SGDConfig
from adafocus_rl.errors import UserError
from adafocus_rl.flops import encoder_macs
from adafocus_rl.models import Recognizer
from tests.agents.methods.conftest import LabelledClips, PlainTrainer, accuracy, saved_and_loaded

FAST = ClassifierTraining(epochs=60, learning_rate=0.01, sgd=SGDConfig(batch_size=10, optimizer="adam"))


@pytest.mark.parametrize("light_size", [None, 8])
def test_it_recognises_the_k_most_salient_frames(
    tiny: Recognizer, ten_clips: LabelledClips, count_images: dict[tuple[str, int], int], light_size: int | None
) -> None:
    method = SCSampler(tiny, SCSamplerOptions(frames=(2,), light_size=light_size), seed=3)
    count_images.clear()  # MACs were counted with them
    outcome = method.run(ten_clips.episodes(ten_clips.videos), knob=2)
    side = light_size or 16
    assert count_images == {("glance", side): 60, ("focus", 32): 20}

    head = method.networks
    light_macs = encoder_macs(tiny.glance, side) + 64 * 5
    heavy_macs = encoder_macs(tiny.focus, 32) + 128 * 5
    for video in range(10):
        frames = tiny.prepare(ten_clips.clips[video])
        small = torch.nn.functional.interpolate(frames, size=(side, side), mode="bilinear", antialias=True)
        with torch.no_grad():
            saliency = [float(head["light"](tiny.glance(frame[None])).max()) for frame in small]
            chosen = sorted(range(6), key=lambda t: -saliency[t])[:2]
            expected = sum(head["heavy"](tiny.focus(frames[t][None]))[0] for t in chosen) / 2
        torch.testing.assert_close(outcome.logits[video], expected, rtol=1e-4, atol=1e-5)
        assert outcome.trace.looks[video].nonzero().flatten().tolist() == sorted(chosen)
        assert int(outcome.macs[video]) == 6 * light_macs + 2 * heavy_macs


def test_short_clips_have_all_frames_recognised(tiny: Recognizer, ten_clips: LabelledClips) -> None:
    method = SCSampler(tiny, SCSamplerOptions(frames=(100,)))
    assert bool(method.run(ten_clips.episodes(ten_clips.videos), knob=100).trace.looks.all())
    with pytest.raises(UserError, match="runs at a k of 100; there is no 3"):
        method.run(ten_clips.episodes(ten_clips.videos), knob=3)


@pytest.mark.parametrize("kind", ["classification", "ranking"])
def test_it_learns_ten_clips(tiny: Recognizer, ten_clips: LabelledClips, tmp_path: Path, kind: str) -> None:
    options = SCSamplerOptions(frames=(1, 3), training=FAST, sampler_loss=kind)  # type: ignore[arg-type]
    method = SCSampler(tiny, options)
    before = accuracy(method, ten_clips, 3)
    method.fit(ten_clips, ten_clips, trainer=PlainTrainer())
    assert before < 0.7
    assert accuracy(method, ten_clips, 3) == 1
    loaded = saved_and_loaded(method, tmp_path)
    batch = ten_clips.episodes(ten_clips.videos)
    assert torch.equal(loaded.run(batch, knob=1).logits, method.run(batch, knob=1).logits)


def test_random_frames_cost_the_same(tiny: Recognizer, ten_clips: LabelledClips) -> None:
    method = SCSampler(tiny, SCSamplerOptions(frames=(2,)))
    other = method.random_counterpart()
    batch = ten_clips.episodes(ten_clips.videos)
    own, random = method.run(batch, knob=2), other.run(batch, knob=2)
    assert torch.equal(own.macs, random.macs)
    assert not torch.equal(own.trace.looks, random.trace.looks)
    assert (other.label, other.variant, other.stochastic) == ("scsampler", "random decisions", True)
    assert other.networks is method.networks


def test_the_ranking_loss() -> None:
    saliency = torch.tensor([[1.0, 3.0, 2.0]])
    # The frames 1 and 2 are equally useful, so that their pair does not count.
    usefulness = torch.tensor([[5.0, 7.0, 7.0]])
    assert float(ranking_loss(saliency, usefulness)) == 0
    assert float(ranking_loss(saliency, -usefulness)) == pytest.approx((2 + 1) * 2 / 4)
    assert float(ranking_loss(saliency, torch.zeros(1, 3))) == 0
