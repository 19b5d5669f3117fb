"""The networks of AdaFocus as modules of tensors only: one call for each network and frame.

A recurrent network is exported as its cell's formula with the state as an input and an output, not as a whole
sequence: a frame can then be recognised as soon as it is there, and there is no operator ``GRU``, whose variants
(``linear_before_reset``) differ between PyTorch and ONNX.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adafocus_rl.agents.methods import AdaFocus, Method
from adafocus_rl.errors import UserError


class Cell(nn.Module, ABC):
    """One network of an exported recogniser; ``forward`` takes the tensors of ``example`` in their order.

    Attributes:
        name: name of the network and, with ``.onnx``, of its file.
        outputs: names of the tensors that ``forward`` returns.
        images: name of an input of images of any side (N, 3, side, side); None if all sides are fixed.
    """

    name: str
    outputs: tuple[str, ...]
    images: str | None = None

    @abstractmethod
    def example(self, count: int, draw: torch.Generator) -> dict[str, Tensor]:
        """Return random inputs for ``count`` videos, by name.

        Args:
            count: N.
            draw: the generator.
        """

    def examples(self) -> list[dict[str, Tensor]]:
        """Return inputs with different sizes along every axis that is not fixed; the first is used for tracing."""
        draw = torch.Generator().manual_seed(0)
        return [self.example(count, draw) for count in (2, 1, 5)]


class GlanceCell(Cell):
    """f_G on whole frames and one step of the agent: from frames to where f_L looks.

    Inputs: ``frames`` (N, 3, S, S) uint8 and, if the agent has or observes them, ``memory`` (N, M), ``last_action``
    (N, 2), the previous ``position``, and ``time_step`` (N,), t / T. Outputs: ``vector`` (N, D_G); ``origin`` (N, 2)
    int64, top and left of the patch in pixels; ``position`` (N, 2), the same as shares of the range, if the agent
    observes its last action; ``next_memory``, if it has one.

    Args:
        method: the recogniser and its agent.

    Raises:
        UserError: if the agent cannot be exported, or observes motion.
    """

    name = "glance"

    def __init__(self, method: AdaFocus) -> None:
        super().__init__()
        self.recognizer, self.spaces = method.recognizer, method.env.problem.spaces
        if self.spaces.config.motion:
            raise UserError(
                "env.motion cannot be exported: it compares a frame with the one before, but each call sees one frame"
            )
        self.actions = method.agent.best_actions()
        spaces = self.spaces.config
        remembers, positions = self.actions.memory_dim > 0, spaces.last_action
        given = {"frames": True, "memory": remembers, "last_action": positions, "time_step": spaces.time_step}
        returned = {"vector": True, "origin": True, "position": positions, "next_memory": remembers}
        self.inputs, self.outputs = (tuple(name for name in part if part[name]) for part in (given, returned))
        config = method.recognizer.config
        # Anti-aliased resizing is linear, so it is a matrix for each axis: two products compute it in every runtime.
        shape, side = (config.glance_size, config.frame_size), torch.eye(config.frame_size)[None, None]
        self.resize: Tensor
        self.register_buffer("resize", F.interpolate(side, size=shape, mode="bilinear", antialias=True)[0, 0])
        self.resizes = config.glance_size != config.frame_size

    def example(self, count: int, draw: torch.Generator) -> dict[str, Tensor]:
        """Return random frames, memories, positions and shares of the frames."""
        side = self.recognizer.config.frame_size
        every = {
            "frames": random_images(count, side, draw),
            "memory": torch.randn(count, self.actions.memory_dim, generator=draw),
            "last_action": torch.rand(count, 2, generator=draw),
            "time_step": torch.rand(count, generator=draw),
        }
        return {name: every[name] for name in self.inputs}

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Return the outputs for one frame of N videos."""
        given = dict(zip(self.inputs, inputs, strict=True))
        frames = self.recognizer.prepare(given["frames"])
        if self.resizes:
            frames = self.resize @ frames @ self.resize.T
        maps = self.recognizer.glance.forward_map(frames)
        vector = self.recognizer.glance.pool(maps)
        features = maps if self.spaces.config.observation == "map" else vector
        missing = features.new_zeros(0)  # of observations and memories that the agent does not have
        observation = self.spaces.observe(features, given.get("last_action", missing), given.get("time_step", missing))
        action, memory = self.actions(observation, given.get("memory", missing))
        every = {
            "vector": vector,
            "origin": self.spaces.boxes(action)[..., :2],
            "position": self.spaces.position(action),
            "next_memory": memory,
        }
        return tuple(every[name] for name in self.outputs)


class FocusCell(Cell):
    """f_L: from ``images`` (N, 3, side, side) uint8, patches or whole frames, to ``local`` (N, D_L).

    Args:
        method: the recogniser.
    """

    name = "focus"
    inputs = ("images",)
    outputs = ("local",)
    images = "images"

    def __init__(self, method: AdaFocus) -> None:
        super().__init__()
        self.recognizer = method.recognizer

    def example(self, count: int, draw: torch.Generator) -> dict[str, Tensor]:
        """Return random patches."""
        return {"images": random_images(count, self.recognizer.config.patch_size, draw)}

    def examples(self) -> list[dict[str, Tensor]]:
        """Return random patches, and whole frames."""
        draw = torch.Generator().manual_seed(1)
        return [*super().examples(), {"images": random_images(3, self.recognizer.config.frame_size, draw)}]

    def forward(self, images: Tensor) -> Tensor:
        """Return f_L's vectors."""
        return self.recognizer.focus_features(self.recognizer.prepare(images))


class ClassifierCell(Cell):
    """One step of f_C: from ``vector`` (N, D_G), ``local`` (N, D_L) and ``state`` to ``logits`` (N, K) and the state.

    Args:
        method: the recogniser with the f_C that makes its predictions.
    """

    name = "classifier"
    inputs = ("vector", "local", "state")
    outputs = ("logits", "next_state")

    def __init__(self, method: AdaFocus) -> None:
        super().__init__()
        self.classifier = method.env.problem.classifier
        self.vector_dim = method.recognizer.glance.vector_dim
        self.local_dim = method.recognizer.focus.vector_dim

    def example(self, count: int, draw: torch.Generator) -> dict[str, Tensor]:
        """Return random features and states."""
        sizes = (self.vector_dim, self.local_dim, self.classifier.state_dim)
        return {name: torch.randn(count, size, generator=draw) for name, size in zip(self.inputs, sizes, strict=True)}

    def forward(self, vector: Tensor, local: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logits and the next state."""
        state = self.classifier.cell(torch.cat((vector, local), dim=-1), state)
        return self.classifier.logits(state), state


def cells_of(method: Method) -> list[Cell]:
    """Return the cells of a method: f_G with the agent, f_L, and f_C.

    Args:
        method: the method, on CPU.

    Raises:
        UserError: if the method is not AdaFocus, its encoders take the frames of a clip together, its patches have
            several sizes, or its agent cannot be exported.
    """
    if not isinstance(method, AdaFocus):
        raise UserError(
            f"{method.label} cannot be exported; only AdaFocus can, an agent that selects one patch a frame"
        )
    if method.recognizer.clip_frames is not None:
        raise UserError(
            "encoders of whole clips (model.glance.num_frames) cannot be exported: each call of a cell sees one frame"
        )
    if method.recognizer.grid.scales != (1.0,):
        raise UserError(
            f"model.patch_scales is {[*method.recognizer.grid.scales]}, which cannot be exported: programs that run "
            "the files crop patches of one size, without resizing them"
        )
    return [cell(method).eval() for cell in (GlanceCell, FocusCell, ClassifierCell)]


def random_images(count: int, side: int, draw: torch.Generator) -> Tensor:
    """Return images (N, 3, side, side) uint8 of uniform noise."""
    return torch.randint(0, 256, (count, 3, side, side), dtype=torch.uint8, generator=draw)
