"""Listen-to-look against a plain computation, one clip and one step at a time."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from adafocus_rl.agents.methods import ListenToLook, ListenToLookOptions
from adafocus_rl.agents.methods.frame_attention import FrameAttention
from adafocus_rl.agents.methods.listen_to_look import published_gmacs
from adafocus_rl.agents.training_options import ClassifierTraining, SGDConfig
from adafocus_rl.flops import encoder_macs, macs
from adafocus_rl.models import Recognizer
from tests.agents.methods.conftest import LabelledClips, PlainTrainer, accuracy, saved_and_loaded

FAST = ClassifierTraining(epochs=80, learning_rate=0.01, sgd=SGDConfig(batch_size=10, optimizer="adam"))
SMALL = {"width": 8, "hidden": 12}


def _norm(x: Tensor, part: torch.nn.BatchNorm1d) -> Tensor:
    assert part.running_mean is not None
    assert part.running_var is not None
    return (x - part.running_mean) / (part.running_var + part.eps).sqrt() * part.weight + part.bias


def _looks(attention: FrameAttention, memory: Tensor, steps: int) -> list[Tensor]:
    """The weights (T,) of one clip's frames (T, D) in each step of an evaluation."""
    conv, norm, _ = attention.key
    keys = [F.relu(_norm(conv.weight[:, :, 0] @ frame + conv.bias, norm)) for frame in memory]
    hidden = cell = torch.zeros(attention.hidden)
    read, weights = memory.mean(0), []
    for _ in range(steps):
        gates = attention.cell.weight_ih @ read + attention.cell.weight_hh @ hidden
        i, f, g, o = (gates + attention.cell.bias_ih + attention.cell.bias_hh).chunk(4)
        cell = f.sigmoid() * cell + i.sigmoid() * g.tanh()
        hidden = o.sigmoid() * cell.tanh()
        first, norm, _, last = attention.query
        query = last(F.relu(_norm(first(hidden), norm)))
        weights.append(torch.stack([query @ key / math.sqrt(attention.width) for key in keys]).softmax(0))
        read = memory[int(weights[-1].argmax())]
    return weights


def _trained_like(attention: FrameAttention) -> FrameAttention:
    """Weights and statistics of another size than the initial ones, so that looks differ."""
    random = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for values in attention.state_dict().values():
            if values.is_floating_point():
                values.copy_(torch.rand(values.shape, generator=random) * 3 - (values.ndim > 1) * 1.5)
    return attention.eval()


@torch.no_grad()
def test_the_attention_step_by_step() -> None:
    attention = _trained_like(FrameAttention(6, width=4, hidden=5, distinct=False))
    memory = torch.randn(7, 5, 6, generator=torch.Generator().manual_seed(0))
    weights = attention(memory, 4)
    for clip in range(7):
        torch.testing.assert_close(weights[clip], torch.stack(_looks(attention, memory[clip], 4)))
    assert len({tuple(row) for row in weights.argmax(-1).tolist()}) > 1
    assert macs(lambda x: attention(x, 4), memory) == 7 * (
        5 * attention.frame_macs() + 4 * (attention.step_macs() + 5 * 4)
    )
    # Cell (6 + 5) · 4 · 5, query 5 · 5 + 5 · 4, key 6 · 4.
    assert (attention.step_macs(), attention.frame_macs()) == (220 + 45, 24)


@torch.no_grad()
def test_in_training_the_cell_reads_the_weighted_mean() -> None:
    attention = _trained_like(FrameAttention(6, width=4, hidden=5, distinct=False))
    memory = torch.randn(3, 5, 6, generator=torch.Generator().manual_seed(0))
    read: list[Tensor] = []
    attention.cell.register_forward_pre_hook(lambda _, inputs: read.append(inputs[0]))
    weights = attention.train()(memory, 3)
    torch.testing.assert_close(read[0], memory.mean(1))
    torch.testing.assert_close(read[1], torch.einsum("bt,btd->bd", weights[:, 0], memory))
    attention.eval()(memory, 1)
    attention.train()(memory[:1], 2)  # a batch of one clip has no variance of its query


def test_initial_weights() -> None:
    attention = FrameAttention(60, width=50, hidden=70, distinct=False)
    weights = [attention.cell.weight_ih, attention.cell.weight_hh, attention.key[0].weight, attention.query[3].weight]
    assert [float(weight.detach().std()) for weight in weights] == pytest.approx([0.02] * 4, rel=0.1)
    assert not attention.cell.bias_ih.any()
    assert not attention.key[0].bias.any()
    assert len(list(attention.cell.parameters())) == 6  # two biases, and a direction and a length for each matrix


@torch.no_grad()
def test_without_reselection_all_frames_are_seen_once() -> None:
    attention = _trained_like(FrameAttention(6, width=4, hidden=5, distinct=True))
    memory = torch.randn(9, 5, 6, generator=torch.Generator().manual_seed(0))
    for mode in (True, False):
        weights = attention.train(mode)(memory, 5)
        assert weights.argmax(-1).sort(1).values.tolist() == [[0, 1, 2, 3, 4]] * 9
        assert torch.equal(weights[:, 1].gather(1, weights[:, :1].argmax(-1)), torch.zeros(9, 1))


@pytest.mark.parametrize("light_size", [None, 8])
def test_it_recognises_the_selected_frames(
    tiny: Recognizer, ten_clips: LabelledClips, count_images: dict[tuple[str, int], int], light_size: int | None
) -> None:
    options = ListenToLookOptions(steps=(3,), light_size=light_size, width=8, hidden=12)
    method = ListenToLook(tiny, options, seed=3)
    _trained_like(method.attention)
    count_images.clear()  # MACs were counted with them
    outcome = method.run(ten_clips.episodes(ten_clips.videos), knob=3)
    side = light_size or 16
    assert count_images == {("glance", side): 60, ("focus", 32): int(outcome.trace.looks.sum())}
    assert 10 + (side == 16) <= count_images["focus", 32] < 30  # some frames are selected again
    key, heavy = 64 * 8, encoder_macs(tiny.focus, 32) + 128 * 5
    step = 4 * 12 * (64 + 12) + 12 * 12 + 12 * 8 + 6 * 8
    for video in range(10):
        frames = tiny.prepare(ten_clips.clips[video])
        small = F.interpolate(frames, size=(side, side), mode="bilinear", antialias=True)
        with torch.no_grad():
            memory = torch.cat([tiny.glance(frame[None]) for frame in small])
            chosen = [int(weights.argmax()) for weights in _looks(method.attention, memory, 3)]
            vectors = torch.cat([tiny.focus(frames[t][None]) for t in chosen])
            expected = method.networks["head"](vectors.mean(0))
        torch.testing.assert_close(outcome.logits[video], expected, rtol=1e-4, atol=1e-5)
        order = [chosen.index(t) if t in chosen else -1 for t in range(6)]
        assert outcome.trace.order is not None
        assert outcome.trace.order[video].tolist() == order
        light = encoder_macs(tiny.glance, side) + key
        assert int(outcome.macs[video]) == 6 * light + 3 * step + len({*chosen}) * heavy


def test_the_loss_is_that_of_the_weighted_means(tiny: Recognizer, ten_clips: LabelledClips) -> None:
    method = ListenToLook(tiny, ListenToLookOptions(training_steps=4, width=8, hidden=12))
    batch = ten_clips.episodes(ten_clips.videos)
    weights = method.attention.train()(batch.global_vector, 4)
    mixed = torch.stack([(weights[:, n, :, None] * batch.full()).sum(1) for n in range(4)]).mean(0)
    expected = F.cross_entropy(method.networks["head"](mixed), batch.labels)
    torch.testing.assert_close(method.loss(batch, 0)[0], expected)


@pytest.mark.parametrize("distinct", [False, True])
def test_it_learns_ten_clips(tiny: Recognizer, ten_clips: LabelledClips, tmp_path: Path, distinct: bool) -> None:
    options = ListenToLookOptions(steps=(2, 10), training=FAST, no_reselection=distinct, width=8, hidden=12)
    method = ListenToLook(tiny, options)
    before = accuracy(method, ten_clips, 10)
    trainer = PlainTrainer()
    method.fit(ten_clips, ten_clips, trainer=trainer)
    assert before < 0.7
    assert accuracy(method, ten_clips, 10) == 1
    assert trainer.scalars[-1]["train/loss"] < 0.3
    loaded = saved_and_loaded(method, tmp_path)
    batch = ten_clips.episodes(ten_clips.videos)
    assert torch.equal(loaded.run(batch, knob=2).logits, method.run(batch, knob=2).logits)


def test_random_frames_cost_the_same(tiny: Recognizer, ten_clips: LabelledClips) -> None:
    method = ListenToLook(tiny, ListenToLookOptions(steps=(4,), width=8, hidden=12))
    _trained_like(method.attention)
    other = method.random_counterpart()
    batch = ten_clips.episodes(ten_clips.videos)
    own, random = method.run(batch, knob=4), other.run(batch, knob=4)
    assert torch.equal(own.macs, random.macs)
    assert torch.equal(own.trace.looks.sum(1), random.trace.looks.sum(1))
    assert not torch.equal(own.trace.looks, random.trace.looks)
    assert (other.label, other.variant, other.stochastic) == ("listen_to_look", "random decisions", True)


@pytest.mark.parametrize(("steps", "published"), [(3, 26.6), (5, 42.2), (10, 81.4)])
def test_the_published_costs(steps: int, published: float) -> None:
    assert published_gmacs(steps) == pytest.approx(published, rel=0.02)
