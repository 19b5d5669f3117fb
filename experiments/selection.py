"""The frames and patches that a run selects in videos, as data for other recognisers (docs/select.md)."""

from __future__ import annotations

import dataclasses
import math
import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from adafocus_rl.data.decode_error import DecodeError
from adafocus_rl.data.frame_times import frame_times
from adafocus_rl.errors import UserError
from adafocus_rl.experiments.predict import Predictor
from adafocus_rl.experiments.report.prediction import Prediction, PredictionError, stored_frames
from adafocus_rl.files import new_folder, replacing, user_path

VERSION = 1
"""Version of the file format; increased by every change that breaks a reader of the previous version."""

Box = tuple[float, float, float, float]


@dataclass(frozen=True, kw_only=True)
class SelectedFrame:
    """A frame that the method sampled, and its patch."""

    frame: int
    """Number of the frame in the video, from 0."""
    seconds: float | None
    """Time from the first frame of the video; None if it is unknown, as in a folder of images."""
    looked: bool
    """Whether f_L processed the patch; if not, ``box`` is where it would have."""
    box: Box
    """(top, left, height, width) of the patch in pixels of the stored, upright frame, not rounded."""
    probability: float | None
    """π's probability of the patch among the positions and scales of its grid; None if the method has no such
    probabilities."""
    gain: float
    """Increase of the predicted class's probability by this frame; before the first, it is 1/K."""
    class_probabilities: list[float]
    """Probabilities of the K classes after this frame."""
    crop: str | None = None
    """Image file of the patch, relative to the folder of crops; None if none was written."""


@dataclass(frozen=True, kw_only=True)
class SelectedVideo:
    """The selected frames of one video, in their order in the video."""

    path: str
    """The path as given."""
    height: int
    """Height of the stored, upright frames in pixels."""
    width: int
    """Their width in pixels."""
    label: str
    """Predicted class."""
    confidence: float
    """Its probability."""
    frames: list[SelectedFrame]
    """The selected frames."""


@dataclass(frozen=True, kw_only=True)
class FailedVideo:
    """A video that could not be recognised."""

    path: str
    """The path as given."""
    reason: str
    """Why, in plain words."""


@dataclass(frozen=True, kw_only=True)
class Selection:
    """What one method selected in several videos: the content of the file that ``adafocus select`` writes."""

    version: int = VERSION
    """Version of the format."""
    run: str
    """The run folder as given."""
    method: str
    """Label of the method: ``ppo``, ``full_frame``."""
    knob: float | None
    """Operating point of the method; None if it has only one."""
    classes: list[str]
    """Names of the K classes."""
    crops: str | None
    """Folder of the crops as given; None if none were written."""
    videos: list[SelectedVideo] = field(default_factory=list)
    """The recognised videos, in the order in which they were given."""
    failed: list[FailedVideo] = field(default_factory=list)
    """The other videos."""

    def plain(self) -> dict[str, Any]:
        """Return the selection as plain values for JSON."""
        return dataclasses.asdict(self)


def select(
    predictor: Predictor,
    videos: Sequence[str | Path],
    *,
    frames: int | None = None,
    crops: str | Path | None = None,
    seconds: float | None = None,
    progress: Callable[[str, str | None], None] | None = None,
) -> Selection:
    """Recognise videos and return the frames and patches on which the predictions are based.

    Args:
        predictor: the run with its method; load it with ``probabilities=True`` for the probabilities of the patches.
        videos: video files, folders of frames, and numbers of webcams.
        frames: number of frames to return of each video, at least 1: those that mattered most (``most_important``).
            None returns all frames that the method sampled.
        crops: new or empty folder, into which the patches that f_L processed are written as PNG files, cut from the
            stored frames. None writes none.
        seconds: seconds to record from a webcam, if a video is the number of one; None takes numbers for paths, too.
        progress: called after each video with its path, and with the reason if it could not be recognised.

    Raises:
        UserError: if ``frames`` is below 1, or the folder is not empty or not a folder.
        OSError: if a crop cannot be written.
    """
    if frames is not None and frames < 1:
        raise UserError(f"the number of frames is {frames}; give at least 1")
    folder = None if crops is None else new_folder(crops, "folder of crops")
    selection = Selection(
        run=str(predictor.run.folder.path),
        method=predictor.method.label,
        knob=predictor.knob,
        classes=list(predictor.names),
        crops=None if crops is None else str(crops),
    )
    for number, path in enumerate(videos):
        reason = None
        try:
            found = select_in_video(predictor, path, frames=frames, crops=folder, number=number, seconds=seconds)
            selection.videos.append(found)
        except PredictionError as error:
            reason = error.reason
            selection.failed.append(FailedVideo(path=str(path), reason=reason))
        if progress is not None:
            progress(str(path), reason)
    return selection


def select_in_video(
    predictor: Predictor,
    path: str | Path,
    *,
    frames: int | None = None,
    crops: Path | None = None,
    number: int = 0,
    seconds: float | None = None,
) -> SelectedVideo:
    """Recognise one video and return the frames and patches on which the prediction is based.

    Args:
        predictor: as in ``select``.
        path: a video file, a folder of frames, or the number of a webcam.
        frames: as in ``select``.
        crops: folder of the crops; the video gets a folder of its own in it.
        number: number of the video, with which the name of this folder begins.
        seconds: as in ``select``.

    Raises:
        PredictionError: if the video cannot be decoded; the reason says why.
        OSError: if a crop cannot be written.
    """
    prediction, recording = predictor.predict_named(path, seconds=seconds)
    numbers = prediction.frames.tolist()
    times: list[float | None]
    if recording is not None:
        times = [recording.seconds[place] for place in numbers]
    else:
        try:
            times = frame_times(user_path(path).absolute(), numbers)
        except DecodeError as error:
            raise PredictionError(str(path), error.reason) from None
    pixels = None
    if crops is not None:
        template = predictor.run.config.data.frame_template
        pixels = stored_frames(str(path), numbers, recording=recording, template=template)
    (height, width), boxes = prediction.size, prediction.stored_boxes.tolist()
    after = prediction.trace.logits[0].float().softmax(-1).cpu()
    predicted = int(prediction.probabilities.argmax())
    gain = after[:, predicted].diff(prepend=torch.tensor([1 / after.shape[-1]]))
    steps = [0] * len(numbers) if len(after) == 1 else list(range(len(numbers)))  # the clip may be one step
    chosen = _patch_probabilities(predictor, prediction)
    looked, gains = prediction.kept.tolist(), gain[steps].tolist()
    selected = []
    for place in range(len(numbers)) if frames is None else most_important(numbers, looked, gains, frames):
        crop = None
        if crops is not None and pixels is not None and looked[place]:
            crop = f"{_folder_name(str(path), number)}/{place:04d}_frame_{numbers[place]:06d}.png"
            _write_crop(crops / crop, pixels[place], boxes[place])
        selected.append(
            SelectedFrame(
                frame=numbers[place],
                seconds=times[place],
                looked=looked[place],
                box=tuple(boxes[place]),
                probability=chosen[place],
                gain=gains[place],
                class_probabilities=after[steps[place]].tolist(),
                crop=crop,
            )
        )
    label, confidence = prediction.top(1)[0]
    return SelectedVideo(
        path=str(path) if recording is None else prediction.path,
        height=height,
        width=width,
        label=label,
        confidence=confidence,
        frames=selected,
    )


def most_important(numbers: Sequence[int], looked: Sequence[bool], gains: Sequence[float], count: int) -> list[int]:
    """Return the indices, in ascending order, of the frames that mattered most for the prediction.

    Frames that f_L processed precede the others. Among each, those with the largest increase of the predicted class's
    probability come first, and of equal ones the earlier. A frame that was sampled twice, as in a video of less than T
    frames, counts once.

    Args:
        numbers: numbers of the T frames.
        looked: whether f_L processed each frame.
        gains: increase of the predicted class's probability by each frame.
        count: number of frames to return; fewer if there are not as many.
    """
    ranked = sorted(range(len(numbers)), key=lambda place: (not looked[place], -gains[place], place))
    first: dict[int, int] = {}
    for place in ranked:
        first.setdefault(numbers[place], place)
    return sorted(list(first.values())[:count])


def _patch_probabilities(predictor: Predictor, prediction: Prediction) -> list[float | None]:
    """Return π's probability of each selected patch: the sum over all positions of the grid with its box."""
    panel = prediction.shown.panels[0]
    if panel.probabilities is None:
        return [None] * len(prediction.frames)
    grid = predictor.recognizer.grid
    every = grid.action_box(torch.arange(grid.num_actions))
    same = (panel.boxes[:, None] == every).all(-1)
    share = torch.where(same, panel.probabilities, 0).sum(-1).tolist()
    return [value if known else None for value, known in zip(share, same.any(-1).tolist(), strict=True)]


def _folder_name(path: str, number: int) -> str:
    """Return a folder name in ASCII that sorts by ``number``, is unique by it, and resembles the video's name."""
    stem = unicodedata.normalize("NFKD", Path(path).stem).encode("ascii", "ignore").decode()
    readable = re.sub(r"[^A-Za-z0-9]+", "_", stem)[:60].strip("_")
    return f"{number:06d}_{readable}" if readable else f"{number:06d}"


def _write_crop(path: Path, pixels: Any, box: Sequence[float]) -> None:
    """Write all pixels that a box covers, even in part."""
    top, left, height, width = box
    # The tolerance is for edges that rounding moved off a whole pixel.
    rows, columns = ((math.floor(a + 1e-6), math.ceil(a + b - 1e-6)) for a, b in ((top, height), (left, width)))
    with replacing(path) as temporary:
        Image.fromarray(pixels[slice(*rows), slice(*columns)]).save(temporary, format="PNG")
