"""A wanted share of frames: the multiplier, the calibration, and the best fixed set."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from adafocus_rl.agents import CenterAgent, GRPOAgent, GRPOOptions, PPOAgent, PPOOptions
from adafocus_rl.agents.learner import no_tick
from adafocus_rl.agents.methods.frame_sets import best_frames, schedule
from adafocus_rl.agents.methods.kept_share import ShareLearner, calibrate, kept_frames
from adafocus_rl.envs import FrameSkippingVectorEnv, PatchSelectionVectorEnv
from adafocus_rl.envs.skippable import KEEP
from adafocus_rl.errors import UserError
from adafocus_rl.models.classifiers import GRUClassifier

MadeUp = Any
FRAMES = 4


def make_env(made_up: MadeUp, *, videos: int = 60, **options: Any) -> FrameSkippingVectorEnv:
    torch.manual_seed(0)
    classifier = GRUClassifier(input_dim=11, num_classes=3, hidden=8)
    patches = PatchSelectionVectorEnv(made_up(videos=videos), classifier, num_envs=20)
    return FrameSkippingVectorEnv(patches, CenterAgent(patches), **{"lambda_": 0.0, "reward": "last", **options})


def make_learner(env: FrameSkippingVectorEnv, *, ent_coef: float = 0.01, **options: Any) -> ShareLearner:
    chosen = GRPOOptions(hidden=12, reduced_channels=3, learning_rate=0.01, ent_coef=ent_coef)
    values = {"epochs": 4, "share": 0.3, "rate": 0.05, **options}
    return ShareLearner(agent=GRPOAgent(env, chosen, seed=1), env=env, **values)


def test_the_price_goes_up_while_too_much_is_kept(made_up: MadeUp) -> None:
    """λ after a pass is the rate times the sum over batches of what is kept too much."""
    env = make_env(made_up)
    learner = make_learner(env, share=0.2, rate=0.5)
    kept = [float((batch.output.action == KEEP).float().mean()) for batch in make_learner(env).agent.experience(env, 0)]
    learner.agent.optimizer = torch.optim.Adam(learner.agent.network.parameters(), lr=0)
    scalars = learner.train_epoch(0, no_tick)
    assert learner.price == pytest.approx(0.5 * sum(one - 0.2 for one in kept))
    assert scalars["train/price"] == learner.price
    assert scalars["train/kept"] == pytest.approx(sum(kept) / len(kept))


def test_kept_frames_pay_the_price(made_up: MadeUp) -> None:
    env = make_env(made_up)
    learner = make_learner(env, rate=0.0, price=0.25)
    seen = []
    learner.agent.update = lambda rollout, *args, **kwargs: (
        seen.append(rollout)
        or {  # type: ignore[method-assign,assignment,func-returns-value]
            "train/loss": torch.zeros(())
        }
    )
    learner.train_epoch(0, no_tick)
    plain = list(make_learner(env).agent.experience(env, 0))
    for priced, one in zip(seen, plain, strict=True):
        torch.testing.assert_close(priced.reward, one.reward - 0.25 * (one.output.action == KEEP))


def test_a_price_of_any_size_is_found(made_up: MadeUp) -> None:
    """A frame is worth 0.4 to the agent, wherever it is; sampled actions keep the wanted share all the same."""
    env = make_env(made_up, lambda_=-0.4)
    learner = make_learner(env, epochs=40, rate=0.05, ent_coef=0.3)
    kept = [learner.train_epoch(epoch, no_tick)["train/kept"] for epoch in range(40)]
    assert sum(kept[-10:]) / 10 == pytest.approx(0.3, abs=0.05)
    # With the entropy bonus, 0.3 is the best share at λ = 0.4 + 0.3 · log(0.7 / 0.3), but for what frames tell f_C.
    assert learner.price == pytest.approx(0.654, abs=0.1)


def test_resumed_exactly(made_up: MadeUp) -> None:
    env = make_env(made_up, observe_classifier=True)
    whole, half, resumed = (make_learner(env) for _ in range(3))
    for epoch in range(4):
        whole.train_epoch(epoch, no_tick)
    for epoch in range(2):
        half.train_epoch(epoch, no_tick)
    resumed.load_training_state(*half.training_state(), what="half")
    for epoch in range(2, 4):
        resumed.train_epoch(epoch, no_tick)
    assert resumed.price == whole.price != 0
    for name, value in whole.agent.tensors().items():
        assert torch.equal(value, resumed.agent.tensors()[name]), name
    with pytest.raises(UserError, match="half holds no price of a frame"):
        resumed.load_training_state(*half.agent.training_state(), what="half")


@pytest.mark.parametrize("observes", [False, True])
@pytest.mark.parametrize("share", [0.1, 0.46, 0.89])
def test_the_best_actions_keep_the_share_after_calibration(made_up: MadeUp, observes: bool, share: float) -> None:
    env = make_env(made_up, observe_classifier=observes)
    agent = PPOAgent(env, PPOOptions(hidden=12, reduced_channels=3), seed=1)
    before = {name: value.clone() for name, value in agent.tensors().items()}
    kept = calibrate(agent, env, share)
    assert kept == pytest.approx(float(kept_frames(agent, env).mean()))
    assert kept == pytest.approx(share, abs=0.02)
    changed = {name for name, value in agent.tensors().items() if not torch.equal(value, before[name])}
    assert changed <= {"policy.actor.bias"}


def test_the_share_of_each_frame_number(made_up: MadeUp) -> None:
    env = make_env(made_up, videos=7)
    agent = PPOAgent(env, PPOOptions(hidden=12, reduced_channels=3), seed=1)
    rollout = env.rollout(agent, episodes=env.source.episodes(torch.arange(7)), deterministic=True)
    torch.testing.assert_close(kept_frames(agent, env), rollout.output.action.float().mean(0))


def test_the_best_frames_by_brute_force(made_up: MadeUp) -> None:
    """Each step of the selection against a rollout for each candidate."""
    env = make_env(made_up, videos=23)

    def score(frames: list[int]) -> float:
        action = torch.zeros(FRAMES, dtype=torch.long)
        action[frames] = KEEP

        class Fixed:
            def act(self, observation: Any, info: Any, *, deterministic: bool) -> Any:
                from adafocus_rl.envs import PolicyOutput

                return PolicyOutput(action=action.expand(len(observation), -1))

        return float(env.rollout(Fixed(), episodes=env.source.episodes(torch.arange(23))).reward.sum())

    chosen: list[int] = []
    for _ in range(FRAMES):
        chosen.append(max((one for one in range(FRAMES) if one not in chosen), key=lambda one: score([*chosen, one])))
    assert best_frames(env.patches, CenterAgent(env.patches)) == chosen
    assert len({score([*two]) for two in itertools.combinations(range(FRAMES), 2)}) > 1


@given(order=st.permutations(range(6)), share=st.floats(0, 1))
def test_schedules_keep_the_share_and_the_best_frames_first(order: list[int], share: float) -> None:
    found = schedule(order, share)
    assert sum(found) == pytest.approx(6 * share)
    ranked = [found[frame] for frame in order]
    assert ranked == sorted(ranked, reverse=True)
    assert sum(0 < one < 1 for one in found) <= 1
