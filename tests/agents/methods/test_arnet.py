"""AR-Net against a plain computation, clip by clip and frame by frame."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from adafocus_rl.agents.methods import ARNet, ARNetOptions, Outcome, Visit
from adafocus_rl.agents.methods.arnet import ARNetNetworks, published_gmacs
from adafocus_rl.agents.methods.published import AR_NET
from adafocus_rl.agents.training_options import ClassifierTraining, SGDConfig
from adafocus_rl.errors import UserError
from adafocus_rl.flops import encoder_macs, macs
from adafocus_rl.models import Recognizer, create_encoder
from tests.agents.methods.conftest import LabelledClips, PlainTrainer, accuracy, saved_and_loaded

FAST = ClassifierTraining(epochs=60, learning_rate=0.01, sgd=SGDConfig(batch_size=10, optimizer="adam"))
SIZES = (32, 24, 16)
OWN, SKIPS = 3, {4: 1, 5: 2, 6: 4}
HELD = "held"


def plain(
    networks: ARNetNetworks, light: Tensor, heavy: list[Tensor], noise: Tensor | None = None
) -> tuple[list[Tensor], list[int], list[bool]]:
    """Return the prediction after each of T frames of one clip, each frame's action, and whether it was decided there.

    Args:
        networks: those of one e.
        light: (T, D_G).
        heavy: (T, D_L) at each size.
        noise: (T, 7) Gumbel noise; None chooses the best.
    """
    state = torch.zeros(1, networks.cell.hidden_size), torch.zeros(1, networks.cell.hidden_size)
    logits: list[Tensor] = []
    predictions, actions, decided = [], [], []
    skip_until = 0
    for t in range(len(light)):
        decided.append(t >= skip_until)
        if decided[-1]:
            state = networks.cell(light[t : t + 1], state)
            scores = networks.policy(state[0])[0]
            action = int((scores if noise is None else scores + noise[t]).argmax())
            skip_until = t + SKIPS.get(action, 1)
            if action < OWN:
                logits.append(networks.heads[action](heavy[action][t]))
            elif action == OWN:
                logits.append(networks.own(state[0][0]))
        actions.append(action)
        predictions.append(sum(logits) / len(logits) if logits else torch.zeros(5))
    return predictions, actions, decided


def with_an_undecided_policy(method: ARNet, light: Tensor, knob: float = 0.05) -> ARNetNetworks:
    """Make the policy of random networks choose all actions on the light vectors (B, T, D_G)."""
    networks = method.at(knob)
    torch.manual_seed(2)
    with torch.no_grad():
        networks.cell.weight_ih.normal_().div_(light.std((0, 1)) + 1e-3)
        networks.cell.bias_ih.copy_(-networks.cell.weight_ih @ light.mean((0, 1)))
        networks.policy.weight.normal_()
        networks.policy.bias.zero_()
    return networks


def resized(frames: Tensor, side: int) -> Tensor:
    return F.interpolate(frames, size=(side, side), mode="bilinear", antialias=True)


@pytest.mark.parametrize("light_size", [None, 8])
def test_networks_run_as_the_policy_says(
    tiny: Recognizer, ten_clips: LabelledClips, count_images: dict[tuple[str, int], int], light_size: int | None
) -> None:
    method = ARNet(tiny, ARNetOptions(hidden=12, light_size=light_size), seed=3)
    assert method.sizes == SIZES
    networks = with_an_undecided_policy(method, method.light.read(ten_clips.episodes(ten_clips.videos)))
    count_images.clear()  # MACs were counted with them
    with torch.no_grad():
        trace, decisions, _ = method.decide(ten_clips.episodes(ten_clips.videos), 0.05, Visit())
        outcome = Outcome.after(trace)
    counted, side = dict(count_images), light_size or 16

    policy_macs = encoder_macs(tiny.glance, side) + 4 * 12 * (64 + 12) + 12 * 7 + 12 * 5
    heavy_macs = [encoder_macs(tiny.focus, size) + 128 * 5 for size in SIZES]
    images = dict.fromkeys([("glance", side), *(("focus", size) for size in SIZES)], 0)
    seen: set[int] = set()
    for video in range(10):
        frames = tiny.prepare(ten_clips.clips[video])
        with torch.no_grad():
            heavy = [tiny.focus(resized(frames, size)) for size in SIZES]
            expected, actions, decided = plain(networks, tiny.glance(resized(frames, side)), heavy)
        looked = [action if there else HELD for action, there in zip(actions, decided, strict=True)]
        torch.testing.assert_close(trace.logits[video], torch.stack(expected), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(outcome.logits[video], expected[-1], rtol=1e-4, atol=1e-5)
        assert decisions[video].tolist() == [-1 if one == HELD else one for one in looked]
        assert trace.looks[video].tolist() == [one in (0, 1, 2) for one in looked]
        assert trace.sizes is not None
        assert trace.sizes[video].tolist() == [{0: 32, 1: 24, 2: 16}.get(one, 0) for one in looked]  # type: ignore[call-overload]
        spent = [(policy_macs if there else 0) for there in decided]
        for frame, one in enumerate(looked):
            if one in (0, 1, 2):
                spent[frame] += heavy_macs[int(one)]
                images["focus", SIZES[int(one)]] += 1
        images["glance", side] += sum(decided)
        assert trace.macs[video].tolist() == spent
        assert int(outcome.macs[video]) == sum(spent)
        seen.update(actions)
    assert counted == {key: count for key, count in images.items() if count}
    assert {0, 1, 2, OWN} <= seen
    assert seen & {5, 6}


def test_the_loss(tiny: Recognizer, ten_clips: LabelledClips) -> None:
    method = ARNet(tiny, ARNetOptions(efficiency=(0.2,), hidden=12), seed=3)
    batch = ten_clips.episodes(ten_clips.videos)
    networks = with_an_undecided_policy(method, batch.global_vector, 0.2)
    loss, scalars = method.knob_loss(networks, 0.2, batch, epoch=4)
    noise = -(-method.uniform(batch, 7, 4).log()).log().float()
    heavy = [batch.full(), *(batch.table(vectors.tables[0]) for vectors in method.heavy[1:])]
    with torch.no_grad():
        found = [
            plain(networks, batch.global_vector[video], [one[video] for one in heavy], noise[video])
            for video in range(10)
        ]
        alone = sum(
            float(F.cross_entropy(head(one).mean(1), batch.labels))
            for head, one in zip(networks.heads, heavy, strict=True)
        )
    usage = torch.bincount(torch.tensor([action for _, actions, _ in found for action in actions]), minlength=7) / 60
    gmacs = [encoder_macs(tiny.focus, size) + 128 * 5 for size in SIZES]
    spent = sum(float(share) * one / gmacs[0] * 4.1099 for share, one in zip(usage[:3], gmacs, strict=True))
    efficiency = spent + 3 * math.sqrt(sum((float(share) - 1 / 7) ** 2 for share in usage))
    cross_entropy = float(F.cross_entropy(torch.stack([predictions[-1] for predictions, *_ in found]), batch.labels))
    assert float(scalars["efficiency_loss"].detach()) == pytest.approx(efficiency, rel=1e-5)
    assert float(scalars["loss"].detach()) == pytest.approx(cross_entropy, rel=1e-4)
    assert float(loss.detach()) == pytest.approx(0.8 * cross_entropy + 0.2 * efficiency + alone, rel=1e-4)
    loss.backward()
    assert all(float(one.grad.abs().max()) > 0 for one in networks.parameters() if one.grad is not None)
    assert networks.policy.weight.grad is not None


def test_the_temperature_decays(tiny: Recognizer) -> None:
    method = ARNet(tiny, ARNetOptions(hidden=4))
    assert [method.temperature(epoch) for epoch in (0, 10)] == pytest.approx([5, 5 * math.exp(-0.45)])


def test_it_learns_ten_clips_and_avoids_f_l_if_only_compute_counts(
    tiny: Recognizer, ten_clips: LabelledClips, tmp_path: Path
) -> None:
    method = ARNet(tiny, ARNetOptions(efficiency=(0.0, 1.0), hidden=32, balance=0, training=FAST), seed=1)
    assert accuracy(method, ten_clips, 0.0) < 0.7
    method.fit(ten_clips, ten_clips, trainer=PlainTrainer())
    assert accuracy(method, ten_clips, 0.0) == 1
    batch = ten_clips.episodes(ten_clips.videos)
    rich, poor = (method.run(batch, knob=knob) for knob in (0.0, 1.0))
    assert int(rich.trace.local_macs.sum()) > 0
    assert int(poor.trace.local_macs.sum()) == 0
    decisions = method.decide(batch, 1.0, Visit())[1]
    shares = torch.stack([(decisions == action).sum() for action in range(7)]) / (decisions >= 0).sum()
    torch.testing.assert_close(method.at(1.0).usage, shares)
    loaded = saved_and_loaded(method, tmp_path)
    assert torch.equal(loaded.run(batch, knob=0.0).logits, rich.logits)


def test_random_actions_are_as_frequent_as_the_policys(tiny: Recognizer, ten_clips: LabelledClips) -> None:
    method = ARNet(tiny, ARNetOptions(hidden=12), seed=3)
    usage = torch.tensor([0.1, 0.3, 0.0, 0.1, 0.2, 0.2, 0.1])
    with torch.no_grad():
        method.at(0.05).usage.copy_(usage)
    other = method.random_counterpart()
    assert (other.label, other.variant, other.stochastic) == ("arnet", "random decisions", True)
    batch = ten_clips.episodes(ten_clips.videos)
    visits = [other.decide(batch, 0.05, Visit(number=number))[1] for number in range(60)]
    # In the first frame, something is decided in every clip.
    first = torch.stack(visits)[..., 0].flatten().bincount(minlength=7) / 600
    torch.testing.assert_close(first, usage, atol=0.06, rtol=0)
    one = other.decide(ten_clips.episodes(ten_clips.videos[4:5]), 0.05, Visit(number=7))[1]
    assert torch.equal(one[0], visits[7][4])
    assert not torch.equal(visits[0], visits[1])


def test_a_clip_that_is_skipped_costs_the_policy_only(tiny: Recognizer, ten_clips: LabelledClips) -> None:
    method = ARNet(tiny, ARNetOptions(hidden=12))
    with torch.no_grad():
        method.at(0.05).policy.bias[6] = 1e3
    outcome = method.run(ten_clips.episodes(ten_clips.videos), knob=0.05)
    assert torch.equal(outcome.logits, torch.zeros(10, 5))
    assert outcome.macs.tolist() == [2 * method.cost.always] * 10
    assert not bool(outcome.trace.looks.any())


def test_costs_are_the_published_ones() -> None:
    for name, side, gmacs in zip(
        ("resnet50", "resnet34", "resnet18"), (224, 168, 112), [*AR_NET.values()][:3], strict=True
    ):
        counted = macs(
            create_encoder(name, weights="none"), torch.zeros(1, 3, side, side), with_batch_norm=True, shapes_only=True
        )
        assert counted / 1e9 == pytest.approx(gmacs, rel=0.02)
    light = create_encoder("mobilenet_v2", weights="none")
    policy = macs(light, torch.zeros(1, 3, 84, 84), with_batch_norm=True, shapes_only=True)
    policy += macs(torch.nn.LSTMCell(1280, 512), torch.zeros(1, 1280))
    assert policy / 1e9 == pytest.approx(AR_NET["policy"], rel=0.02)
    # At T = 16, 2.09 GMACs a frame; the usage shares are not published, so these are only one possibility.
    assert published_gmacs(16, (0.4, 0.15, 0.1), 1.0) == pytest.approx(
        16 * (0.4 * 4.1099 + 0.15 * 2.2489 + 0.1 * 0.4862 + 0.056)
    )
    assert published_gmacs(16, (0, 0, 0), 0.25) == pytest.approx(4 * 0.056)


def test_options_and_tables(tiny: Recognizer) -> None:
    for options, message in (
        ({"efficiency": ()}, "efficiency is"),
        ({"efficiency": (1.5,)}, "at most 1"),
        ({"sizes": (32, 32)}, "none of them twice"),
        ({"skips": (0, 1)}, "at least 1"),
        ({"temperature": 0.0}, "above 0"),
    ):
        with pytest.raises(UserError, match=message):
            ARNetOptions(**options)  # type: ignore[arg-type]
    tables = ARNet.tables_of(ARNetOptions(), tiny.config)
    assert [table.name for table in tables] == ["focus_at24", "focus_at16"]
    tables = ARNet.tables_of(ARNetOptions(light_size=8, sizes=(20,)), tiny.config)
    assert [table.name for table in tables] == ["glance_at8", "focus_at20"]
