"""Frame selection: agents move among the frames of a clip, against a plain computation."""

from __future__ import annotations

import warnings
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import stable_baselines3.common.env_checker
import torch
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode
from torch import Tensor

from adafocus_rl.envs import FrameSelectionVectorEnv
from adafocus_rl.envs.frame_search import frame_at, location_of, margin, move, search_reward, uniform_frames
from adafocus_rl.envs.sb3_vec_env import SB3VecEnv
from adafocus_rl.errors import UserError
from adafocus_rl.models.classifiers import GRUClassifier

MadeUp = Any
ID = "adafocus_rl:AdaFocus/FrameSelection-v0"
T = 8


def _env(made_up: MadeUp, **options: Any) -> FrameSelectionVectorEnv:
    torch.manual_seed(0)
    classifier = GRUClassifier(input_dim=11, num_classes=3, hidden=8)
    return FrameSelectionVectorEnv(made_up(frames=T), classifier, **{"num_envs": 3, "shuffle": False, **options})


def _read(env: FrameSelectionVectorEnv, videos: Tensor, frames: list[Tensor]) -> Tensor:
    """Logits (steps, B, N, K) of f_C that reads frames (B, N) one after another."""
    episodes = env.source.episodes(videos)
    full, rows, states, found = episodes.full(), torch.arange(len(videos)), {}, []
    for at in frames:
        step = []
        for agent in range(at.shape[1]):
            x = torch.cat((episodes.global_vector[rows, at[:, agent]], full[rows, at[:, agent]]), dim=-1)
            states[agent] = env.classifier.cell(x, states.get(agent, torch.zeros(len(videos), 8)))
            step.append(env.classifier.logits(states[agent]))
        found.append(torch.stack(step, dim=1))
    return torch.stack(found).detach()


@pytest.mark.parametrize("kind", ["change", "sign", "margin"])
@pytest.mark.parametrize("moves", ["step", "jump"])
def test_agents_read_the_frames_that_they_reach(made_up: MadeUp, kind: Any, moves: Any) -> None:
    env = _env(made_up, agents=2, reward=kind, moves=moves, stride=3, steps=4, autoreset_mode=AutoresetMode.DISABLED)
    observation, info = env.reset()
    # The middles of two halves.
    frames = [torch.tensor([[2, 6]]).expand(3, -1)]
    assert torch.equal(info["frame"], frames[0])
    env.action_space.seed(0)
    rewards, videos, visited = [], info["video"], torch.zeros(3, T, dtype=torch.bool)
    for step in range(4):
        action = torch.from_numpy(env.action_space.sample())
        observation, reward, terminated, _, info = env.step(action)
        rewards.append(reward)
        if moves == "step":
            frames.append((frames[-1] + 3 * (action - 1)).clamp(0, T - 1))
        else:
            frames.append((action * T).floor().long())
        assert torch.equal(info["frame"], frames[-1])
        assert terminated.tolist() == [step == 3] * 3
    logits = _read(env, videos, frames)
    torch.testing.assert_close(info["logits"], logits[-1].mean(1))
    for at in frames:
        visited[torch.arange(3)[:, None], at] = True
    assert torch.equal(info["visited"], visited)
    full = env.source.episodes(videos).full()
    assert torch.equal(observation["local"], full[torch.arange(3)[:, None], frames[-1]])
    assert torch.equal(observation["light"], env.source.vectors[videos])  # type: ignore[attr-defined]
    torch.testing.assert_close(observation["position"], (frames[-1] + 0.5) / T)

    probability = logits.softmax(-1).double()
    for video in range(3):
        label = int(info["label"][video])
        for step in range(4):
            paid = []
            for agent in range(2):
                p = probability[: step + 2, video, agent]
                gaps = [float(one[label] - max(one[k] for k in range(3) if k != label)) for one in p]
                change = float(p[-1, label] - p[-2, label])
                was, now = (int(one.argmax()) == label for one in (p[-2], p[-1]))
                paid.append(
                    {
                        "change": change,
                        "sign": 25.0 * (now - was) if now != was else float(np.sign(change)),
                        "margin": max(0.0, gaps[-1] - max(gaps[:-1])),
                    }[kind]
                )
            assert float(rewards[step][video]) == pytest.approx(sum(paid) / 2, abs=1e-6)


def test_an_episode_ends_when_all_agents_stay(made_up: MadeUp) -> None:
    env = _env(made_up, agents=2, steps=3)
    _, info = env.reset()
    *_, terminated, _, info = env.step(torch.tensor([[1, 1], [1, 0], [2, 2]]))
    assert terminated.tolist() == [True, False, False]
    assert info["episode"]["l"].tolist() == [1, 0, 0]
    assert info["video"].tolist() == [3, 1, 2]
    # The third ends with the cap.
    env.step(torch.tensor([[1, 2], [2, 1], [0, 1]]))
    *_, terminated, _, info = env.step(torch.tensor([[0, 1], [1, 1], [0, 0]]))
    assert terminated.tolist() == [False, True, True]
    assert info["episode"]["l"].tolist() == [0, 3, 3]


def test_observations_do_not_change_afterwards(made_up: MadeUp) -> None:
    env = _env(made_up, steps=2)
    env.reset()
    observation, *_ = env.step(torch.tensor([1, 2, 2]))
    before = {name: part.clone() for name, part in observation.items()}
    for _ in range(3):
        env.step(torch.tensor([2, 1, 0]))
    assert all(torch.equal(observation[name], before[name]) for name in before)
    assert torch.equal(env.source.vectors, made_up(frames=T).vectors)  # type: ignore[attr-defined]


@pytest.mark.parametrize("options", [{}, {"agents": 2}, {"moves": "jump", "reward": "margin"}])
def test_both_checkers_find_no_fault_in_episodes_of_any_length(made_up: MadeUp, options: dict[str, Any]) -> None:
    classifier = GRUClassifier(input_dim=11, num_classes=3, hidden=8)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        env: Any = gym.make(ID, source=made_up(), classifier=classifier, render_mode="rgb_array", **options).unwrapped
        check_env(env, skip_render_check=True)  # which needs a screen; the tests of all environments have one
        warnings.filterwarnings("ignore", "We recommend you to use a symmetric and normalized Box action space")
        stable_baselines3.common.env_checker.check_env(env)


def test_it_serves_stable_baselines3(made_up: MadeUp) -> None:
    from stable_baselines3 import A2C

    env = SB3VecEnv(_env(made_up, agents=2))
    A2C("MultiInputPolicy", env, n_steps=4, device="cpu").learn(24)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"agents": 9}, "agents of frame selection is 9; give a number from 1 to 8"),
        ({"stride": 0}, "stride of frame selection is 0"),
        ({"steps": 0}, "steps of frame selection is 0"),
        ({"moves": "fly"}, "moves of frame selection is 'fly'; give one of step, jump"),
        ({"reward": "gold"}, "reward of frame selection is 'gold'; give one of change, sign, margin"),
        ({"steps": 3, "max_episode_steps": 4}, "max_episode_steps is 4, and these episodes have 3 steps"),
    ],
)
def test_wrong_options_are_refused(made_up: MadeUp, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        _env(made_up, **options)


def test_a_run_or_objects_are_needed(made_up: MadeUp) -> None:
    with pytest.raises(UserError, match="FrameSelection-v0 is made either from a run folder or from objects"):
        gym.make_vec(ID, source=made_up())


def test_strides_places_and_locations() -> None:
    assert uniform_frames(1, 16, device=torch.device("cpu")).tolist() == [8]
    assert uniform_frames(4, 16, device=torch.device("cpu")).tolist() == [2, 6, 10, 14]
    assert move(torch.tensor([0, 1, 7]), torch.tensor([0, 1, 2]), stride=3, num_frames=8).tolist() == [0, 1, 7]
    every = torch.arange(16)
    assert torch.equal(frame_at(location_of(every, 16), 16), every)
    assert frame_at(torch.tensor([0.0, 0.999, 1.0]), 16).tolist() == [0, 15, 15]


def test_margins_and_turns() -> None:
    labels = torch.tensor([0, 0])
    before, after = torch.tensor([[0.5, 0.4, 0.1], [0.2, 0.7, 0.1]]), torch.tensor([[0.3, 0.6, 0.1], [0.6, 0.3, 0.1]])
    torch.testing.assert_close(margin(after, labels), torch.tensor([-0.3, 0.3]))
    zero = torch.zeros(2)
    assert search_reward("sign", before, after, zero, labels).tolist() == [-25.0, 25.0]
    torch.testing.assert_close(search_reward("margin", before, after, zero, labels), torch.tensor([0.0, 0.3]))
    torch.testing.assert_close(search_reward("change", before, after, zero, labels), torch.tensor([-0.2, 0.4]))
