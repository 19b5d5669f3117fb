"""MultiAgent against a plain computation."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from adafocus_rl.agents.methods import MultiAgent, MultiAgentOptions
from adafocus_rl.agents.methods.frame_looks import Looks, discounted, random_frames, repeated
from adafocus_rl.agents.methods.multi_agent import AgentSearch, policy_loss, published_gmacs, with_neighbours
from adafocus_rl.agents.training_options import ClassifierTraining, SGDConfig
from adafocus_rl.envs import FrameSelectionVectorEnv
from adafocus_rl.errors import UserError
from adafocus_rl.flops import encoder_macs
from adafocus_rl.models import Recognizer
from tests.agents.methods.conftest import LabelledClips, PlainTrainer, accuracy, resume, saved_and_loaded

SGD = SGDConfig(batch_size=10, optimizer="adam", weight_decay=0.0)
FAST = ClassifierTraining(epochs=60, learning_rate=0.01, sgd=SGD)


def _method(tiny: Recognizer, **options: object) -> MultiAgent:
    method = MultiAgent(tiny, MultiAgentOptions(**{"agents": (2,), "hidden": 16, **options}), seed=4)  # type: ignore[arg-type]
    # The moves of an untrained policy hardly depend on the frames.
    with torch.no_grad():
        method.networks["policy"].weight.mul_(200)
        method.networks["policy"].bias.zero_()
    return method


@pytest.mark.parametrize("moves", [0, 3])
def test_agents_search_predict_and_pay(
    tiny: Recognizer, ten_clips: LabelledClips, count_images: dict[tuple[str, int], int], moves: int
) -> None:
    method = _method(tiny, moves=moves, stride=2)
    count_images.clear()  # MACs were counted with them
    outcome = method.run(ten_clips.episodes(ten_clips.videos), knob=2)
    assert count_images == {("focus", 32): int(outcome.trace.looks.sum())}

    nets, dim = method.networks, 128
    lengths, met = set(), set()
    for video in range(10):
        frames = tiny.prepare(ten_clips.clips[video])
        hidden, at = torch.zeros(2, 16), [1, 4]
        first: dict[int, int] = {}
        agent_steps = decisions = 0
        with torch.no_grad():
            for step in range(moves + 1):
                for frame in at:
                    first.setdefault(frame, step)
                vectors = [tiny.focus(frames[frame][None])[0] for frame in at]
                nothing = torch.zeros(dim)
                joined = [torch.cat((nothing, vectors[0], vectors[1])), torch.cat((vectors[0], vectors[1], nothing))]
                hidden = nets["context"](torch.stack(joined), hidden)
                agent_steps += 2
                if step == moves:
                    break
                actions = nets["policy"](hidden).argmax(-1).tolist()
                decisions += 2
                at = [min(5, max(0, frame + 2 * (action - 1))) for frame, action in zip(at, actions, strict=True)]
                if actions == [1, 1]:
                    break
            expected = nets["head"](hidden).mean(0)
        torch.testing.assert_close(outcome.logits[video], expected, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(outcome.trace.logits[video, -1], expected, rtol=1e-4, atol=1e-5)
        assert outcome.trace.looks[video].nonzero().flatten().tolist() == sorted(first)
        assert outcome.trace.order is not None
        assert outcome.trace.order[video].tolist() == [first.get(frame, -1) for frame in range(6)]
        gru = 3 * 16 * (3 * dim + 16)
        heads = agent_steps * (gru + 16 * 5) + decisions * 16 * 3
        assert int(outcome.macs[video]) == len(first) * encoder_macs(tiny.focus, 32) + heads
        lengths.add(agent_steps)
        met.add(len(first))
    if moves:
        assert len(lengths) > 1, "no search is shorter than another"
        assert len(met) > 1


def test_it_searches_as_in_the_environment(tiny: Recognizer, ten_clips: LabelledClips) -> None:
    """The same moves lead to the same frames, and end at the same time."""
    method = _method(tiny, moves=3)
    episodes = ten_clips.episodes(ten_clips.videos)
    looks = Looks(method.heavy, episodes, tiny, ahead=True)
    found = method.search(looks, 2, lambda step, scores: scores.argmax(-1))
    env = FrameSelectionVectorEnv(ten_clips, tiny.classifier, agents=2, steps=3, num_envs=10, shuffle=False)
    _, info = env.reset()
    over = torch.zeros(10, dtype=torch.bool)
    for step in range(4):
        at = info["final_info"]["frame"] if "final_info" in info else info["frame"]
        assert torch.equal(at[~over], found.frames[~over, step])
        assert torch.equal(found.active[:, step], ~over)
        if step == 3:
            break
        *_, terminated, _, info = env.step(found.actions[:, step])
        # An episode of the environment ends with the last move, the search with the step after it.
        over = over | (terminated if step < 2 else (found.actions[:, step] == 1).all(-1))
        if over.any():
            return
    pytest.fail("no search has ended")


@pytest.mark.parametrize("reward", ["change", "sign"])
def test_it_learns_ten_clips(tiny: Recognizer, ten_clips: LabelledClips, tmp_path: Path, reward: str) -> None:
    options = MultiAgentOptions(agents=(1, 2), hidden=32, reward=reward, training=FAST)  # type: ignore[arg-type]
    method = MultiAgent(tiny, options)
    before = accuracy(method, ten_clips, 2)
    trainer = PlainTrainer()
    method.fit(ten_clips, ten_clips, trainer=trainer)
    assert before < 0.7
    assert accuracy(method, ten_clips, 2) == 1
    assert {"train/reward", "train/policy_loss", "train/frames", "train/top1"} <= trainer.scalars[-1].keys()
    loaded = saved_and_loaded(method, tmp_path)
    batch = ten_clips.episodes(ten_clips.videos)
    assert torch.equal(loaded.run(batch, knob=1).logits, method.run(batch, knob=1).logits)


def test_resumed_exactly(tiny: Recognizer, ten_clips: LabelledClips) -> None:
    training = ClassifierTraining(epochs=4, learning_rate=0.01, sgd=SGDConfig(batch_size=4, optimizer="adam"))
    options = MultiAgentOptions(agents=(1, 3), hidden=16, training=training)
    whole, resumed = resume(lambda: MultiAgent(tiny, options, seed=2), ten_clips)
    for name, value in whole.tensors().items():
        assert torch.equal(value, resumed.tensors()[name]), name


def test_random_frames_cost_the_same(tiny: Recognizer, ten_clips: LabelledClips) -> None:
    method = _method(tiny, stride=2)
    other = method.random_counterpart()
    batch = ten_clips.episodes(ten_clips.videos)
    own, random = method.run(batch, knob=2), other.run(batch, knob=2)
    assert torch.equal(own.macs, random.macs)
    assert not torch.equal(own.trace.looks, random.trace.looks)
    assert bool(random.trace.looks[:, [1, 4]].all()), "agents start at the same frames"
    assert (other.label, other.variant, other.stochastic) == ("multi_agent", "random decisions", True)
    assert other.networks is method.networks


def test_short_clips_have_an_agent_for_each_frame(tiny: Recognizer, ten_clips: LabelledClips) -> None:
    method = _method(tiny, agents=(100,))
    assert bool(method.run(ten_clips.episodes(ten_clips.videos), knob=100).trace.looks.all())
    with pytest.raises(UserError, match="runs at a N of 100; there is no 3"):
        method.run(ten_clips.episodes(ten_clips.videos), knob=3)


def test_the_policys_loss() -> None:
    """One clip that ends after its first move, one that goes on; in plain numbers."""
    torch.manual_seed(0)
    scores, actions = torch.randn(2, 2, 1, 3), torch.tensor([[[1], [0]], [[2], [1]]])
    active = torch.tensor([[True, False, False], [True, True, True]])
    found = AgentSearch(
        frames=torch.zeros(2, 3, 1), active=active, logits=torch.zeros(2, 3, 1, 4), scores=scores, actions=actions
    )
    returns = discounted(torch.tensor([[[0.5], [0.0]], [[-0.2], [0.4]]]), 0.9)
    torch.testing.assert_close(returns, torch.tensor([[[0.5], [0.0]], [[-0.2 + 0.36], [0.4]]]))
    counted = [(0, 0), (1, 0), (1, 1)]
    values = torch.tensor([float(returns[clip, step, 0]) for clip, step in counted])
    total = 0.0
    for (clip, step), value in zip(counted, values, strict=True):
        p = scores[clip, step, 0].softmax(-1)
        advantage = (value - values.mean()) / (values.std(correction=0) + 1e-5)
        entropy = -sum(float(one * one.log()) for one in p)
        total += float(advantage * p[actions[clip, step, 0]].log()) + 0.01 * entropy
    assert float(policy_loss(found, returns, 0.01)) == pytest.approx(-total / 3, abs=1e-5)


def test_neighbours_repeated_and_random_frames() -> None:
    joined = with_neighbours(torch.tensor([[[1.0], [2.0], [3.0]]]), 1)
    assert joined.tolist() == [[[0, 1, 2], [1, 2, 3], [2, 3, 0]]]
    assert repeated(torch.tensor([[4, 1, 4, 1, 2]])).tolist() == [[False, False, True, True, False]]
    frames = torch.tensor([[[2, 6], [3, 6], [2, 5], [2, 5]]])
    scores = torch.tensor([[0.1, 0.9, 0.0, 0.3, 0.2, 0.5, 0.0, 0.4]])
    # Frames 2 and 6 come first, then those with the highest scores: 1, 5, …
    assert random_frames(frames, scores).tolist() == [[[2, 6], [1, 6], [1, 5], [1, 5]]]


@pytest.mark.parametrize(("frames", "gmacs"), [(11.1, 86.8), (16.0, 125.2), (25.8, 201.8), (39.5, 309.0)])
def test_published_costs(frames: float, gmacs: float) -> None:
    assert published_gmacs(frames) == pytest.approx(gmacs, rel=0.02)
