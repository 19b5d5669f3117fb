"""Videos to show: their frames, and the agents' recorded actions and predictions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath

import torch
from torch import Tensor

from adafocus_rl.agents import AGENTS
from adafocus_rl.agents.methods import METHODS
from adafocus_rl.data.dataset import ClipDataset, make_loader
from adafocus_rl.data.list_text import number
from adafocus_rl.envs.render import Crop
from adafocus_rl.errors import UserError
from adafocus_rl.printable import printable
from adafocus_rl.record import EpisodeRecord, Trace


@dataclass(frozen=True, kw_only=True)
class Panel:
    """Episode of one agent on one video of T frames; unprintable characters in its text are escaped."""

    title: str
    """Title of the agent."""
    boxes: Tensor
    """(T, 4) (top, left, height, width) of the patches in pixels of the shown frames."""
    kept: list[bool]
    """Whether f_L processed each frame."""
    says: list[str]
    """Name of the predicted class after each frame."""
    confidence: list[float]
    """Probability of the predicted class after each frame."""
    right: bool | None
    """Whether the last prediction is correct; None if the true class is unknown."""
    true_confidence: list[float] | None = None
    """Probability of the (first) true class after each frame; None if it is unknown."""
    reward: list[float] | None = None
    """Reward of each action."""
    gmacs: float = 0.0
    """10⁹ multiply-accumulates of the video."""
    probabilities: Tensor | None = None
    """(T, A) probabilities of the grid's positions."""
    patch_size: int = 0
    """P, if there are probabilities."""
    patch_scales: tuple[float, ...] = (1.0,)
    """Scales of the patches, likewise."""
    notes: list[str] | None = None
    """What to say of each frame, such as the size of f_L's input; None if the box and ``kept`` say all."""
    stopped: int | None = None
    """Number of frames after which the method stopped; None if it did not."""

    @property
    def looked(self) -> str | None:
        """How many frames f_L processed, and where the method stopped; None if it processed all."""
        if all(self.kept):
            return None
        end = "" if self.stopped is None else f", stopped after {self.stopped}"
        return f"looked at {sum(self.kept)} of {len(self.kept)}{end}"

    def __post_init__(self) -> None:
        object.__setattr__(self, "title", printable(self.title, None))
        object.__setattr__(self, "says", [printable(name, None) for name in self.says])

    def over(self, frames: int) -> Panel:
        """Return the panel for this number of frames, repeating a single step for all of them."""
        if len(self.kept) == frames:
            return self
        return replace(
            self,
            boxes=self.boxes.expand(frames, -1),
            kept=self.kept * frames,
            says=self.says * frames,
            confidence=self.confidence * frames,
            true_confidence=self.true_confidence and self.true_confidence * frames,
            reward=self.reward and self.reward * frames,
            probabilities=None if self.probabilities is None else self.probabilities.expand(frames, -1),
            notes=self.notes and self.notes * frames,
        )


@dataclass(frozen=True, kw_only=True)
class ShownVideo:
    """One video, and one panel for each agent. An action for the whole clip is shown on all its frames.

    Unprintable characters in its text are escaped, so that it may differ from the text in a list or record.
    """

    row: int
    """Row of the video in its index."""
    path: str
    """The path as listed, with unprintable characters escaped."""
    clip: Tensor
    """(T, 3, S, S) uint8, or the video's own frames (T, 3, H, W)."""
    true_boxes: Tensor
    """(T, 4) float32, NaN where absent or unknown."""
    true_names: list[str]
    """Names of its true classes; empty if unknown."""
    panels: list[Panel]
    crop: Crop | None = None
    """The part of the shown frames that the networks process; None if they process all."""

    def __post_init__(self) -> None:
        frames = len(self.clip)
        object.__setattr__(self, "path", printable(self.path, None))
        object.__setattr__(self, "true_names", [printable(name, None) for name in self.true_names])
        object.__setattr__(self, "true_boxes", self.true_boxes.expand(frames, -1))
        object.__setattr__(self, "panels", [panel.over(frames) for panel in self.panels])


def frame_notes(
    kept: Tensor, *, sizes: Tensor | None = None, order: Tensor | None = None, ran: Tensor | None = None
) -> tuple[list[str] | None, int | None]:
    """Return what to say of each frame of a video, and the number of frames after which the method stopped.

    Args:
        kept: (T,) bool, whether f_L processed the frame.
        sizes: (T,) sides to which f_L's inputs were resized; None if they were not.
        order: (T,) when f_L processed the frame; None in the frames' order.
        ran: (T,) bool, False in frames that the method skips or after which it has stopped; None without any.

    Returns:
        None for the notes if ``kept`` and the boxes say all, and None for the number if the method did not stop.
    """
    stopped = None if ran is None else stop_of(ran.tolist())
    if sizes is None and order is None and stopped is None:
        return None, None
    notes = []
    for step, look in enumerate(kept.tolist()):
        words = [] if look else ["stopped" if stopped is not None and step >= stopped else "skipped"]
        if look and order is not None:
            words.append(f"look {int(order[step]) + 1}")
        if look and sizes is not None:
            words.append(f"at {int(sizes[step])} pixels")
        notes.append(", ".join(words))
    return notes, stopped


def stop_of(ran: Sequence[bool]) -> int | None:
    """Return the number of frames after which a method did nothing more; None if it processed the last frame.

    Args:
        ran: T values, False in frames that were not processed.
    """
    return None if ran[-1] else max((place + 1 for place, done in enumerate(ran) if done), default=0)


def make_panel(record: EpisodeRecord, trace: Trace, place: int, *, title: str | None = None) -> Panel:
    """Return the panel of a trace for the video at a place in the record."""
    probabilities, reward = trace.probabilities, trace.reward
    notes, stopped = frame_notes(trace.kept[place], **trace.choices(place))
    return Panel(
        title=title or trace.title,
        boxes=trace.boxes[place],
        kept=trace.kept[place].tolist(),
        says=[record.class_names[label] for label in trace.predicted[place].tolist()],
        confidence=trace.confidence[place].tolist(),
        right=bool(record.right(trace)[place]),
        true_confidence=trace.true_confidence[place].tolist(),
        reward=None if reward is None else reward[place].tolist(),
        gmacs=int(trace.macs[place].sum()) / 1e9,
        probabilities=None if probabilities is None else probabilities[place].float(),
        patch_size=trace.patch_size,
        patch_scales=trace.patch_scales,
        notes=notes,
        stopped=stopped,
    )


def spread(count: int, wanted: int) -> list[int]:
    """Return ``wanted`` places evenly spread over ``count``; all places if there are fewer."""
    return [int(place) for place in torch.linspace(0, count - 1, min(wanted, count)).round()] if wanted else []


def find_video(record: EpisodeRecord, name: str) -> int:
    """Return the place in the record of a video given by its row in the index, path, or file name.

    Raises:
        UserError: if no video or several match.
    """
    rows = record.videos.tolist()
    if name in record.paths:
        return record.paths.index(name)
    row = number(name)
    if row in rows:
        return rows.index(row)
    same = [place for place, path in enumerate(record.paths) if name in (PurePath(path).name, PurePath(path).stem)]
    if len(same) == 1:
        return same[0]
    if same:
        paths = ", ".join(record.paths[place] for place in same[:3])
        raise UserError(f"{len(same)} videos are called {name!r} ({paths} …); give the path as it is listed")
    raise UserError(
        f"there is no video {name!r} in the record; give a row of the validation list, from {min(rows)} to "
        f"{max(rows)}, a path as it is listed there, {record.paths[0]!r} say, or a file name"
    )


def choose_traces(record: EpisodeRecord, names: Sequence[str] | None) -> list[Trace]:
    """Return the traces of these agents and methods, by label or by class, or of all if None, each of its last variant.

    Raises:
        UserError: if the record lacks an agent.
    """
    last = record.last_traces()
    if not names:
        return last
    known = list(dict.fromkeys(trace.name for trace in last))
    names = [name if name in known else _label(name) for name in names]
    if missing := [name for name in names if name not in known]:
        raise UserError(f"the record has no agent {missing[0]!r}; it has {', '.join(known)}")
    return [trace for name in names for trace in last if trace.name == name]


def _label(name: str) -> str:
    """Return the label of a registered class; any other name unchanged."""
    registry = AGENTS if name in AGENTS else METHODS
    return str(registry.get(name).label) if name in registry else name


def show(
    record: EpisodeRecord, dataset: ClipDataset, places: Sequence[int], traces: Sequence[Trace], *, workers: int = 0
) -> tuple[list[ShownVideo], list[tuple[str, str]]]:
    """Decode videos of the record, and combine them with the recorded actions.

    Args:
        record: the episode record.
        dataset: the clips of its videos.
        places: places of the videos in the record.
        traces: traces of the record to show.
        workers: number of decoding processes.

    Returns:
        The videos, and (path, reason) of those that can no longer be decoded.

    Raises:
        UserError: if the record belongs to another list of videos, or to clips of another size or length.
    """
    there = (record.index_hash, record.frame_size, record.num_frames)
    if there != (dataset.index.hash(), dataset.config.frame_size, dataset.num_steps):
        raise UserError(
            "the episode record was made of another list of videos, or of clips of another size; write it again with "
            "`adafocus evaluate RUN`"
        )
    rows = record.videos[list(places)].tolist()
    shown, failed = [], []
    for place, batch in zip(
        places, make_loader(dataset, batches=[[row] for row in rows], workers=workers), strict=True
    ):
        failed += batch.failed
        if len(batch):
            shown.append(
                ShownVideo(
                    row=int(record.videos[place]),
                    path=record.paths[place],
                    clip=dataset.focus_frames(batch.clips[0]),
                    true_boxes=record.true_boxes[place],
                    true_names=[record.class_names[int(label)] for label in record.multi_hot[place].nonzero()],
                    panels=[make_panel(record, trace, place) for trace in traces],
                )
            )
    return shown, failed
