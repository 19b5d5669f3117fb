"""LiteEval against a plain computation, clip by clip and frame by frame."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adafocus_rl.agents.learner import Learner
from adafocus_rl.agents.methods import LiteEval, LiteEvalOptions, Visit
from adafocus_rl.agents.methods.liteeval import COMPUTE, LiteEvalNetworks, published_gmacs
from adafocus_rl.agents.methods.trainer import AfterEpoch
from adafocus_rl.agents.training_options import ClassifierTraining, SGDConfig
from adafocus_rl.errors import UserError
from adafocus_rl.features import vectors_at
from adafocus_rl.flops import encoder_macs
from adafocus_rl.models import EncoderConfig, ModelConfig, Recognizer
from tests.agents.methods.conftest import LabelledClips, PlainTrainer, accuracy, saved_and_loaded

FAST = ClassifierTraining(epochs=60, learning_rate=0.01, sgd=SGDConfig(batch_size=10, optimizer="adam"))
SMALL = {"coarse_width": 12, "fine_width": 20}


class NamingTrainer(PlainTrainer):
    """Also keeps the names of the trainings."""

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[str] = []

    def fit(
        self, step: str, learner: Learner, *, epochs: int, ticks: int, after_epoch: AfterEpoch | None = None
    ) -> float:
        self.steps.append(step)
        return super().fit(step, learner, epochs=epochs, ticks=ticks, after_epoch=after_epoch)


def lstm(cell: nn.LSTMCell, x: Tensor, hidden: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
    """Return the next state of an LSTM by its equations."""
    gates = F.linear(x, cell.weight_ih, cell.bias_ih) + F.linear(hidden, cell.weight_hh, cell.bias_hh)
    write, keep, new, read = gates.chunk(4, dim=-1)
    memory = keep.sigmoid() * memory + write.sigmoid() * new.tanh()
    return read.sigmoid() * memory.tanh(), memory


def project(projection: nn.Module, x: Tensor) -> Tensor:
    """Return what a projection computes of one vector in evaluation mode."""
    linear, norm, _ = projection.children()
    y = (x @ linear.weight.T + linear.bias - norm.running_mean) / (norm.running_var + norm.eps).sqrt()
    return (y * norm.weight + norm.bias).clamp(min=0)


def plain(
    networks: LiteEvalNetworks, light: Tensor, heavy: Tensor, noise: Tensor | None = None
) -> tuple[Tensor, list[bool]]:
    """Return the logits after each of T frames of one clip, and whether each was computed.

    Args:
        networks: those of one γ.
        light: (T, D_G).
        heavy: (T, D_L).
        noise: (T, 2) Gumbel noise; None chooses the best.
    """
    small = [torch.zeros(networks.coarse)] * 2
    large = [torch.zeros(networks.fine)] * 2
    logits, computed = [], []
    for t in range(len(light)):
        x = project(networks.project_coarse, light[t])
        small = [*lstm(networks.coarse_cell, x, *small)]
        scores = networks.gate.weight @ torch.cat((x, large[0], large[1])) + networks.gate.bias
        scores = scores if noise is None else scores + noise[t]
        computed.append(bool(scores[0] >= scores[1]))
        if computed[-1]:
            y = project(networks.project_fine, heavy[t])
            large = [*lstm(networks.fine_cell, torch.cat((y, x)), *large)]
        else:
            large = [torch.cat((a, b[networks.coarse :])) for a, b in zip(small, large, strict=True)]
        logits.append(networks.classifier.weight @ large[0] + networks.classifier.bias)
    return torch.stack(logits), computed


def with_an_undecided_gate(method: LiteEval, knob: float) -> LiteEvalNetworks:
    """Make the gate of random networks choose both ways, and let batch normalisation do something."""
    networks = method.at(knob)
    torch.manual_seed(1)
    with torch.no_grad():
        networks.gate.weight.normal_(std=2)
        for projection in (networks.project_coarse, networks.project_fine):
            projection[1].running_mean.normal_(std=0.1)
            projection[1].running_var.uniform_(0.2, 1)
    return networks


@pytest.mark.parametrize("light_size", [None, 8])
def test_f_l_runs_where_the_gate_says_compute(
    tiny: Recognizer, ten_clips: LabelledClips, count_images: dict[tuple[str, int], int], light_size: int | None
) -> None:
    method = LiteEval(tiny, LiteEvalOptions(skip_rates=(0.5,), light_size=light_size, **SMALL), seed=3)
    networks = with_an_undecided_gate(method, 0.5)
    count_images.clear()  # MACs were counted with them
    outcome = method.run(ten_clips.episodes(ten_clips.videos), knob=0.5)
    side, kept = light_size or 16, outcome.trace.looks
    assert 5 < int(kept.sum()) < 55
    assert count_images == {("glance", side): 60, ("focus", 32): int(kept.sum())}

    coarse = encoder_macs(tiny.glance, side) + 64 * 12 + 4 * 12 * (12 + 12) + 2 * (12 + 20 + 20) + 20 * 5
    fine = encoder_macs(tiny.focus, 32) + 128 * 20 + 4 * 20 * (12 + 20 + 20)
    for video in range(10):
        frames = tiny.prepare(ten_clips.clips[video])
        small = F.interpolate(frames, size=(side, side), mode="bilinear", antialias=True)
        with torch.no_grad():
            expected, computed = plain(networks, tiny.glance(small), tiny.focus(frames))
        torch.testing.assert_close(outcome.trace.logits[video], expected, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(outcome.logits[video], expected[-1], rtol=1e-4, atol=1e-5)
        assert kept[video].tolist() == computed
        assert int(outcome.macs[video]) == 6 * coarse + sum(computed) * fine
    assert torch.equal(outcome.trace.macs.sum(1), outcome.macs)


def test_the_loss(tiny: Recognizer, ten_clips: LabelledClips) -> None:
    options = LiteEvalOptions(skip_rates=(0.7,), skip_weight=3, training=FAST, **SMALL)
    method = LiteEval(tiny, options, seed=3)
    networks = with_an_undecided_gate(method, 0.7)
    batch = ten_clips.episodes(ten_clips.videos)
    loss, scalars = method.knob_loss(networks, 0.7, batch, epoch=4)
    noise = -(-method.uniform(batch, 2, 4).log()).log().float()
    light, heavy = batch.global_vector, batch.full()
    with torch.no_grad():
        found = [plain(networks, light[video], heavy[video], noise[video]) for video in range(10)]
    skip_rate = 1 - sum(sum(computed) for _, computed in found) / 60
    cross_entropy = F.cross_entropy(torch.stack([logits[-1] for logits, _ in found]), batch.labels)
    assert 0.1 < skip_rate < 0.9
    assert float(scalars["skip_rate"].detach()) == pytest.approx(skip_rate)
    assert float(loss.detach()) == pytest.approx(float(cross_entropy) + 3 * (skip_rate - 0.7) ** 2, rel=1e-4)
    loss.backward()
    assert all(float(one.grad.abs().max()) > 0 for one in networks.parameters())
    assert not torch.equal(noise, -(-method.uniform(batch, 2, 5).log()).log().float())


def test_the_temperature_decays(tiny: Recognizer) -> None:
    method = LiteEval(tiny, LiteEvalOptions(temperature=(4, 1), training=ClassifierTraining(epochs=3), **SMALL))
    assert [method.temperature(epoch) for epoch in range(3)] == pytest.approx([4, 2, 1])


def test_it_learns_ten_clips_with_each_skip_rate(tiny: Recognizer, ten_clips: LabelledClips, tmp_path: Path) -> None:
    options = LiteEvalOptions(skip_rates=(0.2, 0.8), skip_weight=20, coarse_width=24, fine_width=48, training=FAST)
    method, trainer = LiteEval(tiny, options), NamingTrainer()
    batch = ten_clips.episodes(ten_clips.videos)
    assert torch.equal(method.run(batch, knob=0.2).logits, method.run(batch, knob=0.8).logits)
    assert accuracy(method, ten_clips, 0.2) < 0.7
    method.fit(ten_clips, ten_clips, trainer=trainer)
    assert trainer.steps == ["liteeval.0.2", "liteeval.0.8"]
    for knob in (0.2, 0.8):
        assert accuracy(method, ten_clips, knob) == 1
        kept = method.run(batch, knob=knob).trace.looks.float().mean()
        assert float(kept) == pytest.approx(1 - knob, abs=0.2)
        torch.testing.assert_close(method.at(knob).usage, torch.stack((kept, 1 - kept)))
    loaded = saved_and_loaded(method, tmp_path)
    assert torch.equal(loaded.run(batch, knob=0.8).logits, method.run(batch, knob=0.8).logits)
    # The result of a γ does not depend on the others.
    alone = LiteEval(tiny, LiteEvalOptions(**{**vars(options), "skip_rates": (0.8,)}))
    alone.fit(ten_clips, ten_clips, trainer=PlainTrainer())
    assert torch.equal(alone.run(batch, knob=0.8).logits, method.run(batch, knob=0.8).logits)


def test_random_frames_are_as_many_as_the_gates(tiny: Recognizer, ten_clips: LabelledClips) -> None:
    method = LiteEval(tiny, LiteEvalOptions(skip_rates=(0.5,), **SMALL), seed=3)
    with torch.no_grad():
        method.at(0.5).usage.copy_(torch.tensor([0.3, 0.7]))
    other = method.random_counterpart()
    assert (other.label, other.variant, other.stochastic) == ("liteeval", "random decisions", True)
    assert (method.variant, method.stochastic) == (None, False)
    assert other.networks is method.networks
    batch = ten_clips.episodes(ten_clips.videos)
    visits = [other.run(batch, knob=0.5, visit=Visit(number=number)).trace.looks for number in range(40)]
    assert float(torch.stack(visits).float().mean()) == pytest.approx(0.3, abs=0.03)
    assert not torch.equal(visits[0], visits[1])
    one = other.run(ten_clips.episodes(ten_clips.videos[4:5]), knob=0.5)
    assert torch.equal(one.trace.looks[0], visits[0][4])
    with torch.no_grad():
        method.at(0.5).usage.copy_(torch.tensor([0.0, 1.0]))
    assert not bool(other.run(batch, knob=0.5).trace.looks.any())


def test_costs_are_the_published_ones() -> None:
    # mAP on ActivityNet and FCVID is published for 95.1 and 94.3 GMACs.
    assert published_gmacs(25, 12) == pytest.approx(95.1, rel=0.02)
    assert published_gmacs(25, 12) == pytest.approx(94.3, rel=0.02)
    config = ModelConfig(
        glance=EncoderConfig(name="mobilenet_v2"), focus=EncoderConfig(name="resnet101"), glance_size=112
    )
    cost = LiteEval(Recognizer(config), LiteEvalOptions(skip_rates=(0.8,))).cost
    assert (25 * cost.always + 12 * cost.local) / 1e9 == pytest.approx(95.1, rel=0.02)


def test_options_out_of_range() -> None:
    for options, message in (
        ({"skip_rates": ()}, "skip_rates is"),
        ({"skip_rates": (0.5, 0.5)}, "none of them twice"),
        ({"skip_rates": (1.5,)}, "at most 1"),
        ({"coarse_width": 64, "fine_width": 32}, "at least coarse_width, 64"),
        ({"temperature": (1.0, 0.0)}, "above 0"),
    ):
        with pytest.raises(UserError, match=message):
            LiteEvalOptions(**options)  # type: ignore[arg-type]


def test_tables_and_knobs(tiny: Recognizer, ten_clips: LabelledClips) -> None:
    assert LiteEval.tables_of(LiteEvalOptions(), tiny.config) == ()
    (table,) = LiteEval.tables_of(LiteEvalOptions(light_size=8), tiny.config)
    assert table.name == vectors_at("glance", 8).name
    assert COMPUTE == 0
    with pytest.raises(UserError, match=r"γ of 0\.8, 0\.9; there is no 3"):
        LiteEval(tiny, LiteEvalOptions(**SMALL)).run(ten_clips.episodes(ten_clips.videos), knob=3)
