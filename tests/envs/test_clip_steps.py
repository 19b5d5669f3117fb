"""AdaFocus-TSM's decision problem: one position for a whole clip, paid against a random crop; by plain arithmetic."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode
from torch import Tensor

from adafocus_rl.agents import PPOAgent, PPOOptions
from adafocus_rl.data.dataset import ClipDataset
from adafocus_rl.data.encode import write_video
from adafocus_rl.data.index import VideoIndex
from adafocus_rl.data.transform_options import TransformConfig
from adafocus_rl.envs import PatchSelectionVectorEnv
from adafocus_rl.envs.single import PatchSelectionEnv
from adafocus_rl.features import LiveFeatures
from adafocus_rl.models.config import ClassifierConfig, EncoderConfig, ModelConfig
from adafocus_rl.models.recognizer import Recognizer

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def env(tmp_path_factory: pytest.TempPathFactory) -> PatchSelectionVectorEnv:
    folder = tmp_path_factory.mktemp("clips")
    draw = np.random.default_rng(0)
    for number in range(3):
        frames = draw.integers(0, 256, (9, 6, 6, 3), dtype=np.uint8).repeat(8, axis=1).repeat(8, axis=2)
        write_video(folder / f"{number}.mp4", frames)
    (folder / "list.csv").write_text("path,label\n" + "".join(f"{number}.mp4,{number}\n" for number in range(3)))
    torch.manual_seed(0)
    recognizer = Recognizer(
        ModelConfig(
            glance=EncoderConfig(name="small_glance", num_frames=2),
            focus=EncoderConfig(name="tsm_resnet18", num_frames=4),
            classifier=ClassifierConfig(name="average", dropout=0.5),
            frame_size=48,
            glance_size=16,
            patch_size=32,
            num_classes=3,
        )
    )
    with torch.no_grad():
        recognizer.classifier.fc.weight.mul_(20)  # type: ignore[union-attr,operator]
    dataset = ClipDataset(
        VideoIndex.read(folder / "list.csv"),
        num_frames=(2, 4),
        transform=TransformConfig(frame_size=48, resize_short=0, crop="none", flip=False),
        train=False,
        seed=0,
    )
    source = LiveFeatures(recognizer, dataset, device=CPU)
    return PatchSelectionVectorEnv(
        source, recognizer.classifier, num_envs=3, action_space="continuous", shuffle=False, seed=1
    )


def probability(env: PatchSelectionVectorEnv, video: int, position: Tensor) -> float:
    """p(true class) of a clip with one place for all of its patches: mean logits of f_G plus mean logits of f_L."""
    source = env.source
    assert isinstance(source, LiveFeatures)
    recognizer = source.recognizer
    frames = recognizer.prepare(source.dataset[video].clip)  # type: ignore[union-attr]
    weight, bias = recognizer.classifier.fc.weight, recognizer.classifier.fc.bias  # type: ignore[union-attr]
    top, left = (int(16 * part) for part in position.tolist())
    with torch.no_grad():
        glance = recognizer.glance_features(frames[:2])[1] @ weight[:, :64].T  # type: ignore[index,union-attr]
        patches = frames[2:, :, top : top + 32, left : left + 32]
        focus = recognizer.focus(patches) @ weight[:, 64:].T  # type: ignore[index,union-attr]
        logits = glance.mean(0) + focus.mean(0) + bias
    return float(logits.softmax(-1)[video])  # the videos' labels are their numbers


def test_one_action_for_a_clip_is_paid_against_a_random_crop(env: PatchSelectionVectorEnv) -> None:
    agent = PPOAgent(env, PPOOptions(reduced_channels=4, hidden=8, batch_norm=True))
    rollout = env.rollout(agent, episodes=env.source.episodes(torch.arange(3)))
    assert rollout.output.action.shape == (3, 1, 2)
    assert rollout.reward.shape == (3, 1)
    baseline = env.problem.baseline(rollout.episodes, torch.zeros(3, dtype=torch.long), env.seed)
    assert baseline.shape == (3, 1, 1, 2)
    for video in range(3):
        chosen = probability(env, video, rollout.output.action[video, 0])
        at_random = probability(env, video, baseline[video, 0, 0])
        assert float(rollout.logits[video, 0].softmax(-1)[video]) == pytest.approx(chosen, abs=1e-5)
        assert float(rollout.reward[video, 0]) == pytest.approx(chosen - at_random, abs=1e-5)
    assert rollout.reward.abs().max() > 0.05


def test_an_episode_is_one_step(env: PatchSelectionVectorEnv) -> None:
    observation, info = env.reset(seed=1)
    assert observation.shape == (3, 2 * 64, 8, 8)
    agent = PPOAgent(env, PPOOptions(reduced_channels=4, hidden=8))
    action, _ = agent.predict(observation, deterministic=True)
    expected = env.rollout(agent, episodes=env.source.episodes(info["video"]), deterministic=True)
    _, reward, terminated, _, after = env.step(action)
    assert terminated.all()
    torch.testing.assert_close(reward, expected.reward[:, 0])
    torch.testing.assert_close(after["final_info"]["logits"], expected.logits[:, 0])


def test_single_environment_shows_the_clip(env: PatchSelectionVectorEnv) -> None:
    one = PatchSelectionVectorEnv(
        env.source, env.classifier, num_envs=1, action_space="continuous", autoreset_mode=AutoresetMode.DISABLED
    )
    single = PatchSelectionEnv(one, render_mode="rgb_array")
    single.reset(seed=0)
    _, _, terminated, _, _ = single.step(np.array([0.5, 0.5], dtype=np.float32))
    assert terminated
    assert single.render().ndim == 3  # type: ignore[union-attr]
