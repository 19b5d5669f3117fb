"""AdaFrame against a plain computation."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from adafocus_rl.agents.methods import AdaFrame, AdaFrameOptions
from adafocus_rl.agents.methods.adaframe import FrameSearch, increases, published_gmacs, search_losses
from adafocus_rl.agents.methods.frame_looks import Looks
from adafocus_rl.agents.methods.frame_memory import positional_encoding
from adafocus_rl.agents.training_options import ClassifierTraining, SGDConfig
from adafocus_rl.envs import FrameSelectionVectorEnv
from adafocus_rl.flops import encoder_macs
from adafocus_rl.models import Recognizer
from tests.agents.methods.conftest import LabelledClips, PlainTrainer, accuracy, resume, saved_and_loaded

SGD = SGDConfig(batch_size=10, optimizer="adam", weight_decay=0.0)
FAST = ClassifierTraining(epochs=60, learning_rate=0.01, sgd=SGD)


UTILITY = 0.5
"""Makes utilities positive, as those of trained networks are."""


def _method(tiny: Recognizer, **options: object) -> AdaFrame:
    chosen = {"patience": (1, 2), "hidden": 16, "width": 8, "drop": 0.0, **options}
    method = AdaFrame(tiny, AdaFrameOptions(**chosen), seed=4)  # type: ignore[arg-type]
    # Locations and utilities of an untrained network hardly depend on the frames.
    with torch.no_grad():
        method.networks["location"].weight.mul_(60)
        method.networks["utility"].bias.fill_(UTILITY)
    return method


@pytest.mark.parametrize(("memory", "light_size"), [(4, None), (16, 8)])
@pytest.mark.parametrize(("patience", "drop"), [(1, 0.0), (2, 0.0), (1, 0.05)])
def test_it_looks_where_its_location_says_until_the_utility_drops(
    tiny: Recognizer,
    ten_clips: LabelledClips,
    count_images: dict[tuple[str, int], int],
    patience: int,
    drop: float,
    memory: int,
    light_size: int | None,
) -> None:
    method = _method(tiny, steps=4, memory=memory, light_size=light_size, drop=drop)
    count_images.clear()  # MACs were counted with them
    outcome = method.run(ten_clips.episodes(ten_clips.videos), knob=patience)
    side, places = light_size or 16, [0, 2, 3, 5] if memory == 4 else [0, 1, 2, 3, 4, 5]
    assert count_images == {("focus", 32): int(outcome.trace.looks.sum()), ("glance", side): 10 * len(places)}

    nets, attention, steps_of = method.networks, method.memory, set()
    for video in range(10):
        frames = tiny.prepare(ten_clips.clips[video])
        small = torch.nn.functional.interpolate(frames, size=(side, side), mode="bilinear", antialias=True)
        hidden, cell, at, held, values = torch.zeros(1, 16), torch.zeros(1, 16), 3, 0, []
        first: dict[int, int] = {}
        with torch.no_grad():
            items = []
            for place in places:
                angles = [place / 10_000 ** (2 * pair / 64) for pair in range(32)]
                code = [wave(angle) for angle in angles for wave in (math.sin, math.cos)]
                items.append(tiny.glance(small[place][None])[0] + torch.tensor(code))
            for step in range(4):
                first.setdefault(at, step)
                query = attention.query(hidden)[0]
                weight = torch.stack([attention.key(item) @ query / math.sqrt(8) for item in items]).softmax(0)
                context = sum(one * item for one, item in zip(weight, items, strict=True))
                x = torch.cat((tiny.focus(frames[at][None])[0], context))[None]
                hidden, cell = nets["cell"](x, (hidden, cell))
                values.append(float(nets["utility"](hidden)))
                held += values[-1] < (1 - drop) * max(values)
                if held >= patience:
                    break
                at = min(5, int(6 * float(nets["location"](hidden).sigmoid())))
            expected = nets["head"](hidden)[0]
        torch.testing.assert_close(outcome.logits[video], expected, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(outcome.trace.logits[video, -1], expected, rtol=1e-4, atol=1e-5)
        assert outcome.trace.order is not None
        assert outcome.trace.order[video].tolist() == [first.get(frame, -1) for frame in range(6)]
        lstm = 4 * 16 * (128 + 64 + 16)
        per_step = lstm + 16 * 8 + len(places) * (8 + 64) + 16 * 5 + 2 * 16
        paid = len(first) * encoder_macs(tiny.focus, 32) + (step + 1) * per_step
        assert int(outcome.macs[video]) == paid + len(places) * (encoder_macs(tiny.glance, side) + 64 * 8)
        assert int(outcome.macs_so_far[video, -1]) == int(outcome.macs[video])
        steps_of.add(step)
    assert len(steps_of) > 1, "no search is shorter than another"


def test_it_jumps_as_in_the_environment(tiny: Recognizer, ten_clips: LabelledClips) -> None:
    method = _method(tiny, steps=4)
    episodes = ten_clips.episodes(ten_clips.videos)
    noise = 0.3 * torch.randn(10, 4, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        found = method.search(episodes, Looks(method.heavy, episodes, tiny, ahead=True), noise=noise)
    env = FrameSelectionVectorEnv(ten_clips, tiny.classifier, moves="jump", steps=9, num_envs=10, shuffle=False)
    _, info = env.reset()
    for step in range(4):
        assert torch.equal(info["frame"], found.frames[:, step : step + 1])
        torch.testing.assert_close(found.sample[:, step], found.mean[:, step] + noise[:, step])
        *_, info = env.step(found.sample[:, step : step + 1])


def test_it_learns_ten_clips(tiny: Recognizer, ten_clips: LabelledClips, tmp_path: Path) -> None:
    method = AdaFrame(tiny, AdaFrameOptions(hidden=32, width=16, training=FAST))
    before = accuracy(method, ten_clips, 5)
    trainer = PlainTrainer()
    method.fit(ten_clips, ten_clips, trainer=trainer)
    assert before < 0.7
    assert accuracy(method, ten_clips, 5) == 1
    assert {"train/reward", "train/value_loss", "train/frames", "train/top1"} <= trainer.scalars[-1].keys()
    loaded = saved_and_loaded(method, tmp_path)
    batch = ten_clips.episodes(ten_clips.videos)
    assert torch.equal(loaded.run(batch, knob=1).logits, method.run(batch, knob=1).logits)


def test_resumed_exactly(tiny: Recognizer, ten_clips: LabelledClips) -> None:
    training = ClassifierTraining(epochs=4, learning_rate=0.01, sgd=SGDConfig(batch_size=4, optimizer="adam"))
    options = AdaFrameOptions(hidden=16, width=8, training=training)
    whole, resumed = resume(lambda: AdaFrame(tiny, options, seed=2), ten_clips)
    for name, value in whole.tensors().items():
        assert torch.equal(value, resumed.tensors()[name]), name


def test_random_locations_cost_the_same(tiny: Recognizer, ten_clips: LabelledClips) -> None:
    method = _method(tiny)
    other = method.random_counterpart()
    batch = ten_clips.episodes(ten_clips.videos)
    own, random = method.run(batch, knob=2), other.run(batch, knob=2)
    assert torch.equal(own.macs, random.macs)
    assert not torch.equal(own.trace.looks, random.trace.looks)
    assert (other.label, other.variant, other.stochastic) == ("adaframe", "random decisions", True)
    assert other.networks is method.networks


def test_rewards_are_increases_of_the_best_margin() -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(3, 5, 4), torch.tensor([0, 3, 1])
    found = increases(logits, labels)
    for video in range(3):
        gaps = []
        for step in range(5):
            p = logits[video, step].softmax(-1).tolist()
            true = p.pop(int(labels[video]))
            gaps.append(true - max(p))
            if step:
                expected = max(0.0, gaps[-1] - max(gaps[:-1]))
                assert float(found[video, step - 1]) == pytest.approx(expected, abs=1e-6)


def test_the_losses() -> None:
    torch.manual_seed(0)
    utility, mean, sample = (
        torch.randn(2, 3, requires_grad=True),
        torch.rand(2, 3, requires_grad=True),
        torch.rand(2, 3),
    )
    found = FrameSearch(
        frames=torch.zeros(2, 3), active=torch.ones(2, 3), logits=torch.zeros(2, 3, 4), utility=utility, mean=mean,
        sample=sample,
    )  # fmt: skip
    returns = torch.rand(2, 2)
    policy, value = search_losses(found, returns, 0.1)
    normal = torch.distributions.Normal(mean[:, :2], 0.1)
    advantage = (returns - utility[:, :2]).detach()
    advantage = (advantage - advantage.mean()) / (advantage.std(correction=0) + 1e-5)
    expected = -(normal.log_prob(sample[:, :2]) * advantage).mean()
    (mine,), (theirs,) = torch.autograd.grad(policy, mean), torch.autograd.grad(expected, mean)
    torch.testing.assert_close(mine, theirs)
    torch.testing.assert_close(value, 0.5 * ((utility - torch.nn.functional.pad(returns, (0, 1)))[:, :2] ** 2).mean())
    # One step has nothing to decide.
    assert [one.item() for one in search_losses(found, returns[:, :0], 0.1)] == [0, 0]


def test_positions() -> None:
    code = positional_encoding(torch.tensor([0, 3]), 5)
    expected = [
        math.sin(3),
        math.cos(3),
        math.sin(3 / 10_000**0.4),
        math.cos(3 / 10_000**0.4),
        math.sin(3 / 10_000**0.8),
    ]
    torch.testing.assert_close(code, torch.tensor([[0.0, 1, 0, 1, 0], expected]))


@pytest.mark.parametrize(("frames", "gmacs"), [(2.9, 24.3), (4.2, 34.4), (5.6, 45.4), (10.0, 79.8)])
def test_published_costs(frames: float, gmacs: float) -> None:
    assert published_gmacs(frames) == pytest.approx(gmacs, rel=0.02)
