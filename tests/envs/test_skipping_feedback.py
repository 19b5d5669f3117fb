"""π′ that observes f_C: what it observes depends on the frames that it has kept."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import pytest
import torch
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode
from torch import Tensor

from adafocus_rl.envs import (
    FrameSkippingEnv,
    FrameSkippingVectorEnv,
    Info,
    PatchSelectionVectorEnv,
    PolicyOutput,
    to_numpy,
)
from adafocus_rl.envs.frame_skipping import belief
from adafocus_rl.envs.sb3_vec_env import SB3VecEnv
from adafocus_rl.envs.skippable import SkippableEpisodes
from adafocus_rl.errors import UserError
from adafocus_rl.features import GivenClips
from adafocus_rl.models import ClassifierConfig, EncoderConfig, ModelConfig, Recognizer, create_classifier
from adafocus_rl.models.classifiers import Classifier

MadeUp = Any
FRAMES = 4


class Center:
    """π."""

    def act(self, observation: Any, info: Info, *, deterministic: bool) -> PolicyOutput:
        """The middle of the grid."""
        features = observation["features"] if isinstance(observation, dict) else observation
        return PolicyOutput(action=torch.full(features.shape[:2], 4))

    def act_step(self, observation: Any, state: Any, info: Info, *, deterministic: bool) -> tuple[PolicyOutput, None]:
        """The middle of the grid."""
        return PolicyOutput(action=torch.full((len(observation["features"]),), 4)), None


class Curious:
    """π′: keeps a frame depending on all that it observes, f_C's state included."""

    def act_step(self, observation: Any, state: Any, info: Info, *, deterministic: bool) -> tuple[PolicyOutput, None]:
        """From the sum of all observed numbers."""
        total: Tensor = sum(part.flatten(1).sum(-1) for part in observation.values())
        return PolicyOutput(action=(total * 100).long() % 2), None


def classifier(kind: str = "gru", seed: int = 0) -> Classifier:
    torch.manual_seed(seed)
    return create_classifier(kind, input_dim=11, num_classes=3, hidden=8, dropout=0.5)


def make(made_up: MadeUp, kind: str = "gru", *, spaces: dict[str, Any] | None = None, **options: Any) -> Any:
    patches = PatchSelectionVectorEnv(made_up(), classifier(kind), num_envs=3, seed=4, **(spaces or {}))
    return FrameSkippingVectorEnv(patches, Center(), **{"lambda_": 0.1, "observe_classifier": True, **options})


@pytest.mark.parametrize("kind", ["gru", "average", "max_pool"])
@pytest.mark.parametrize("reward", ["gain", "last"])
@pytest.mark.parametrize("spaces", [{}, {"last_action": True, "time_step": True}, {"observation": "vector"}])
@pytest.mark.parametrize("other", [False, True])
def test_steps_and_whole_episodes_have_equal_numbers(
    made_up: MadeUp, kind: str, reward: str, spaces: dict[str, Any], other: bool
) -> None:
    observer = classifier(seed=1) if other else None
    stepped, rolled = (make(made_up, kind, reward=reward, spaces=spaces, observer=observer) for _ in range(2))
    assert stepped.observes_another == other
    observation, _ = stepped.reset()
    for _ in range(3):
        rollout = rolled.rollout(Curious())
        for step in range(FRAMES):
            assert stepped.observation_space.contains({name: part.numpy() for name, part in observation.items()})
            for name, part in observation.items():
                torch.testing.assert_close(rollout.observation[name][:, step], part)
            observation, paid, *_, info = stepped.step(rollout.output.action[:, step])
            torch.testing.assert_close(rollout.reward[:, step], paid)
        torch.testing.assert_close(info["final_info"]["logits"], rollout.logits[:, -1])
    assert 0 < rollout.output.action.float().mean() < 1


def test_environments_at_different_steps_observe_their_own_history(made_up: MadeUp) -> None:
    env = make(made_up, autoreset_mode=AutoresetMode.DISABLED)
    env.reset(options={"videos": torch.tensor([0, 1, 2])})
    env.step(torch.tensor([1, 0, 1]))
    mask = torch.tensor([False, True, False])
    observation, _ = env.reset(options={"reset_mask": mask, "videos": torch.tensor([9, 5, 9])})
    assert (observation["classifier_state"][1] == 0).all()
    assert (observation["classifier_state"][[0, 2]] != 0).any(-1).all()
    torch.testing.assert_close(observation["time_step"][:, 0], torch.tensor([0.25, 0.0, 0.25]))


def test_what_is_observed_of_f_c(made_up: MadeUp) -> None:
    """Its state after the frames before, recomputed here one by one."""
    env = make(made_up)
    rollout = env.rollout(Curious(), episodes=env.source.episodes(torch.tensor([5, 0])))
    seen = rollout.observation
    state = torch.zeros(2, 8)
    for step in range(FRAMES):
        torch.testing.assert_close(seen["classifier_state"][:, step], state)
        p = env.classifier.logits(state).softmax(-1)
        entropy = -(p * p.log()).sum(-1) / torch.tensor(3.0).log()
        torch.testing.assert_close(seen["classifier_belief"][:, step], torch.stack((p.amax(-1), entropy), dim=-1))
        assert (seen["time_step"][:, step] == step / FRAMES).all()
        kept = rollout.output.action[:, step, None]
        vector = rollout.episodes.global_vector[:, step]
        local = made_up().patches[torch.tensor([5, 0]), step, 4] * kept
        state = env.classifier.cell(torch.cat((vector, local), dim=-1), state)


def test_beliefs_in_closed_form() -> None:
    found = belief(torch.tensor([[0.0, 0.0, 0.0, 0.0], [100.0, 0.0, 0.0, 0.0], [50.0, 50.0, -50.0, -50.0]]))
    torch.testing.assert_close(found, torch.tensor([[0.25, 1.0], [1.0, 0.0], [0.5, 0.5]]))


def test_the_last_reward_pays_what_counts_in_the_end(made_up: MadeUp) -> None:
    env = make(made_up, reward="last", lambda_=0.3, observe_classifier=False)
    action = torch.tensor([[1, 0, 1, 1], [0, 0, 0, 0], [1, 1, 1, 0]])

    class Scripted:
        def act(self, observation: Any, info: Info, *, deterministic: bool) -> PolicyOutput:
            return PolicyOutput(action=action)

    rollout = env.rollout(Scripted(), episodes=env.source.episodes(torch.tensor([1, 2, 3])))
    p = rollout.logits[:, -1].softmax(-1).gather(-1, rollout.info["label"][:, None])[:, 0]
    expected = -0.3 * action.float()
    expected[:, -1] += p
    torch.testing.assert_close(rollout.reward, expected)


@pytest.mark.parametrize("reward", ["gain", "last"])
def test_outcomes_of_both_actions_equal_those_of_taking_them(made_up: MadeUp, reward: str) -> None:
    env = make(made_up, reward=reward)
    env.reset(options={"videos": torch.tensor([0, 1, 2])})
    whole = env.rollout(Curious(), episodes=env.source.episodes(torch.tensor([0, 1, 2])))
    all_steps = env.counterfactuals(whole)
    torch.testing.assert_close(all_steps.reward.gather(-1, whole.output.action[..., None])[..., 0], whole.reward)
    for step in range(FRAMES):
        found = env.step_counterfactuals()
        torch.testing.assert_close(found.reward, all_steps.reward[:, step])
        _, paid, *_ = env.step(whole.output.action[:, step])
        torch.testing.assert_close(found.reward.gather(-1, whole.output.action[:, step, None])[:, 0], paid)


def test_the_same_f_c_is_observed_when_another_predicts(made_up: MadeUp) -> None:
    env = make(made_up)
    other = env.like(env.source, classifier(seed=1))
    assert not env.observes_another
    assert other.observes_another
    episodes = env.source.episodes(torch.tensor([0, 4, 6]))
    one, two = (each.rollout(Curious(), episodes=episodes) for each in (env, other))
    assert torch.equal(one.output.action, two.output.action)
    assert not torch.equal(one.logits, two.logits)


def test_f_l_runs_once_on_each_kept_frame_of_live_clips() -> None:
    torch.manual_seed(0)
    encoders = {"glance": EncoderConfig(name="small_glance"), "focus": EncoderConfig(name="small_focus")}
    sizes = {"frame_size": 32, "glance_size": 16, "patch_size": 16, "grid": 3, "num_classes": 5}
    recognizer = Recognizer(ModelConfig(classifier=ClassifierConfig(hidden=16), **encoders, **sizes)).eval()
    source = GivenClips(recognizer, torch.randint(256, (2, FRAMES, 3, 32, 32), dtype=torch.uint8))
    patches = PatchSelectionVectorEnv(source, recognizer.classifier, num_envs=2)
    env = FrameSkippingVectorEnv(patches, Center(), lambda_=0.1, observe_classifier=True)
    encoded: list[int] = []
    recognizer.focus.register_forward_pre_hook(lambda _, inputs: encoded.append(len(inputs[0])))
    episodes = next(env.source.batches(2))
    rollout = env.rollout(Curious(), episodes=episodes)
    kept = int(rollout.output.action.sum())
    assert sum(encoded) == kept
    local = env.local(episodes, rollout.output.action)
    assert sum(encoded) == kept
    plain = SkippableEpisodes(episodes.episodes, episodes.patches)  # type: ignore[attr-defined]
    torch.testing.assert_close(env.local(plain, rollout.output.action), local)
    assert env.local(plain, 1 - rollout.output.action)[rollout.output.action == 1].abs().max() == 0


def test_adapters(made_up: MadeUp) -> None:
    vector = make(made_up)
    array = to_numpy(make(made_up))
    observation, _ = vector.reset()
    arrays, _ = array.reset()
    assert array.observation_space.contains(arrays)
    assert {name: part.tolist() for name, part in observation.items()} == {k: v.tolist() for k, v in arrays.items()}
    batch = SB3VecEnv(make(made_up))
    seen = batch.reset()
    assert isinstance(batch.observation_space, gym.spaces.Dict)
    assert seen["classifier_state"].shape == (3, 8)
    single = FrameSkippingEnv(make(made_up, num_envs=1, autoreset_mode=AutoresetMode.DISABLED))
    check_env(single, skip_render_check=True)


def test_mistakes(made_up: MadeUp) -> None:
    class Whole:
        def act(self, observation: Any, info: Info, *, deterministic: bool) -> PolicyOutput:
            raise AssertionError

    with pytest.raises(UserError, match="Whole takes the observations of whole episodes, but with observe_classifier"):
        make(made_up).rollout(Whole())
    with pytest.raises(UserError, match="the reward of frame skipping is 'first'; give 'gain' or 'last'"):
        make(made_up, reward="first")
