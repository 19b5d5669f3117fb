"""Decision problems as single Gymnasium environments: the vector environment's transition with B = 1, in NumPy."""

from __future__ import annotations

from typing import Any, Literal

import gymnasium as gym
import numpy as np
import torch
from gymnasium.vector import AutoresetMode

from adafocus_rl.envs.drawing import StepPictures
from adafocus_rl.envs.frame_selection import FrameSelectionVectorEnv
from adafocus_rl.envs.frame_skipping import FrameSkippingVectorEnv
from adafocus_rl.envs.frames import Frames
from adafocus_rl.envs.last_crop import LastCropVectorEnv
from adafocus_rl.envs.numpy_adapter import STATISTICS, Arrays, to_arrays
from adafocus_rl.envs.patch_selection import PatchSelectionVectorEnv
from adafocus_rl.envs.render import Picture
from adafocus_rl.envs.specification import Specified
from adafocus_rl.envs.stepping import VideoVectorEnv
from adafocus_rl.envs.window import Window
from adafocus_rl.errors import UserError
from adafocus_rl.features.source import FeatureSource

RenderMode = Literal["rgb_array", "human"]


class DecisionEnv(Specified, gym.Env[Arrays, Any]):
    """One video at a time; one step is one frame; an episode is the T frames of a clip.

    Observations, actions and rewards are those of one row of the vector environment, which implements the transition:
    a NumPy observation (or a dict of arrays), an action of ``action_space``, a float. Maps are flattened
    (channel, row, column), because Stable-Baselines3 treats every array with three axes as a uint8 image, and infinite
    bounds of spaces are replaced by float32's limits.

    The info always holds ``video``, ``label``, ``visit`` (int) and ``true_box`` (T, 4) in pixels, with an empty box
    (0, 0, 0, 0) where there is none, and after each step ``logits`` (K,) of f_C. All but the logits are privileged:
    learning agents must not read them.

    ``render()`` draws the frame of the last action, the box of f_L's input (orange), the true box (blue), the
    probability of the true class after the step, and the step. After a reset, it draws the first frame without a
    box of f_L.

    Args:
        env: a vector environment with ``num_envs=1`` and DISABLED autoreset.
        render_mode: ``rgb_array``: ``render`` returns a picture (H, W, 3) uint8; ``human``: every reset and step
            shows it in a window.
        flatten: False keeps maps (C, h, w).
        frames: frames to draw on; None uses those of the vector environment.

    Raises:
        UserError: the environment has another B or autoreset mode, the render mode is unknown, or there is no screen.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array", "human"], "render_fps": 4}  # noqa: RUF012  # as in the base class

    def __init__(
        self,
        env: VideoVectorEnv[Any],
        *,
        render_mode: RenderMode | None = None,
        flatten: bool = True,
        frames: Frames | None = None,
    ) -> None:
        mode = env.metadata["autoreset_mode"]
        if env.num_envs != 1 or mode != AutoresetMode.DISABLED:
            raise UserError(
                f"a single environment is made of one of {env.num_envs} videos with autoreset_mode {mode.name}; "
                "give num_envs=1 and AutoresetMode.DISABLED"
            )
        if render_mode not in (None, *self.metadata["render_modes"]):
            raise UserError(f"render_mode is {render_mode!r}; give 'rgb_array', 'human' or None")
        self.env = env
        self.flatten = flatten
        self.observation_space = tidy(env.single_observation_space, flatten=flatten)
        self.action_space = env.single_action_space
        self.render_mode = render_mode
        self._pictures = StepPictures(env.frames if frames is None else frames, env.longest_episode)
        self._window = Window("AdaFocus", fps=self.metadata["render_fps"]) if render_mode == "human" else None
        self._info: dict[str, Any] | None = None
        self._converted: dict[str, tuple[Any, Any]] = {}
        self._step = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Arrays, dict[str, Any]]:
        """Start the next video's episode.

        Args:
            seed: restarts the order of videos and the baseline's random numbers.
            options: ``{"video": row}`` selects this index row instead of the next one in order.

        Raises:
            UserError: an option is unknown, or the video is not usable.
        """
        super().reset(seed=seed)
        observation, info = self.env.reset(seed=seed, options=self._vector_options(options or {}))
        self._pictures.forget()
        self._info, self._step = info, 0
        self._show()
        return self._observation(observation), self._single_info(info)

    def step(self, action: Any) -> tuple[Arrays, float, bool, bool, dict[str, Any]]:
        """Take one action.

        Raises:
            UserError: the action has another shape or type than the action space, or is out of range; coordinates
                are clipped instead.
            gymnasium.error.ResetNeeded: before the first reset, or after the episode's end.
        """
        chosen = self.env.check_actions(action, ())
        observation, reward, terminated, truncated, info = self.env.step(chosen[None])
        self._info = info
        self._step += 1
        self._show()
        return (
            self._observation(observation),
            reward.item(),
            bool(terminated.item()),
            bool(truncated.item()),
            self._single_info(info),
        )

    def render(self) -> Picture | None:
        """Return the picture in mode ``rgb_array``; None in mode ``human`` (steps show it) and without a mode."""
        if self.render_mode is None:
            gym.logger.warn("render() draws nothing without a render_mode; give render_mode='rgb_array'")
        return self._draw() if self.render_mode == "rgb_array" else None

    def close(self) -> None:
        """Close the window, if there is one."""
        if self._window is not None:
            self._window.close()

    @property
    def source(self) -> FeatureSource:
        """The features."""
        return self.env.source

    def _vector_options(self, options: dict[str, Any]) -> dict[str, Any]:
        unknown = options.keys() - {"video"}
        if unknown:
            raise UserError(f"reset() got the options {', '.join(sorted(unknown))}; it knows 'video', an index row")
        if "video" not in options:
            return {}
        row = int(options["video"])
        if row not in self.env.source.videos:
            raise UserError(
                f"options['video'] is {row}, which is no usable video; give one of env.unwrapped.env.source.videos"
            )
        return {"videos": [row]}

    def _observation(self, observation: Any) -> Arrays:
        first = _first(observation)
        if not self.flatten:
            return first
        return {name: part.ravel() for name, part in first.items()} if isinstance(first, dict) else first.ravel()

    def _single_info(self, info: dict[str, Any]) -> dict[str, Any]:
        single: dict[str, Any] = {}
        for name, value in info.items():
            # Gymnasium's RecordEpisodeStatistics adds statistics itself, and rejects infos that already have them.
            if not name.startswith("_") and name not in STATISTICS:
                # Facts of the episode are the same tensors in every step, so they are converted once.
                if name not in self._converted or self._converted[name][0] is not value:
                    self._converted[name] = value, _fact(name, value)
                single[name] = to_arrays(self._converted[name][1])
        return single

    def _show(self) -> None:
        if self._window is not None:
            self._window.show(self._draw())

    def _draw(self) -> Picture:
        if self._info is None:
            raise gym.error.ResetNeeded("call reset() before render()")
        info = self._single_info(self._info)
        # Boxes are computed here and not in ``step``: most episodes are not drawn.
        boxes = self.env.last_boxes() if self._step else None
        box = None if boxes is None else to_arrays(boxes[0])
        return self._pictures.draw(info, step=self._step, box=box, confidence=_confidence(info))


class PatchSelectionEnv(DecisionEnv):
    """Patch selection one video at a time: one row of ``PatchSelectionVectorEnv``."""

    env: PatchSelectionVectorEnv


class LastCropEnv(DecisionEnv):
    """Patch by patch, one video at a time: one row of ``LastCropVectorEnv``."""

    env: LastCropVectorEnv


class FrameSkippingEnv(DecisionEnv):
    """Frame skipping (π′) one video at a time: one row of ``FrameSkippingVectorEnv``.

    An action is 0 (skip) or 1 (keep). ``render()`` draws π's patch if the frame was kept.
    """

    env: FrameSkippingVectorEnv


class FrameSelectionEnv(DecisionEnv):
    """Frame selection one video at a time: one row of ``FrameSelectionVectorEnv``.

    The info also holds ``frame`` (N,) and ``visited`` (T,). ``render()`` draws the agents' frames side by side.
    """

    env: FrameSelectionVectorEnv

    @property
    def longest_episode(self) -> int:
        """Largest number of moves."""
        return self.env.longest_episode


def _confidence(info: dict[str, Any]) -> float | None:
    if "logits" not in info:
        return None
    return float(torch.from_numpy(info["logits"]).softmax(-1)[info["label"]])


def _fact(name: str, value: Any) -> Any:
    """Return the only row of an entry of an info, in NumPy; a number if it is one."""
    first = _first(value)
    if name == "true_box":
        # An empty box instead of NaN, because an info with NaN would not be equal to itself.
        return np.nan_to_num(first, nan=0.0)
    return first.item() if first.ndim == 0 else first


def _first(value: Any) -> Any:
    """Return the only row of a tree of tensors (1, …), in NumPy."""
    if isinstance(value, dict):
        return {name: _first(part) for name, part in value.items()}
    return to_arrays(value[0])


def tidy(space: gym.Space[Any], *, flatten: bool) -> gym.Space[Any]:
    """Return the space with finite bounds in its boxes, each flattened to one axis if ``flatten``."""
    if isinstance(space, gym.spaces.Dict):
        return gym.spaces.Dict({name: tidy(part, flatten=flatten) for name, part in space.items()})
    if not isinstance(space, gym.spaces.Box) or not np.issubdtype(space.dtype, np.floating):
        return space
    limits = np.finfo(space.dtype)
    low, high = (np.clip(bound, limits.min, limits.max) for bound in (space.low, space.high))
    if flatten:
        low, high = low.ravel(), high.ravel()
    return gym.spaces.Box(low, high, low.shape, space.dtype.type)
