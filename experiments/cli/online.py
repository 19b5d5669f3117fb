"""``adafocus predict --online``: recognise a stream frame by frame."""

from __future__ import annotations

import itertools
import math
import signal
import sys
from collections.abc import Generator
from contextlib import closing
from typing import Any

from adafocus_rl.data.file_stream import Every, StreamedFrame, stream_frames
from adafocus_rl.data.list_text import number
from adafocus_rl.data.webcam import webcam_frames, webcam_number, webcam_title
from adafocus_rl.errors import UserError
from adafocus_rl.experiments.online.predictor import FramePrediction
from adafocus_rl.experiments.predict import Predictor
from adafocus_rl.experiments.terminal.command_line import print_json_line
from adafocus_rl.experiments.terminal.interrupts import Interrupted
from adafocus_rl.experiments.terminal.progress import say
from adafocus_rl.experiments.terminal.tables import print_plain
from adafocus_rl.files import user_path


def distance(text: str) -> Every:
    """Return the distance of frames that ``--every`` gives: ``5`` frames, or ``0.5s``.

    Raises:
        UserError: if it is neither.
    """
    frames = number(text)
    if frames:
        return Every(frames=frames)
    try:
        seconds = float(text.removesuffix("s")) if text.endswith("s") else math.nan
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise UserError(f"--every is {text}; give a number of frames, such as 5, or of seconds, such as 0.5s")
    return Every(seconds=seconds)


def recognise_online(
    predictor: Predictor,
    name: str,
    *,
    every: Every,
    exit_at: float | None,
    seconds: float | None,
    top: int,
    as_json: bool,
) -> int:
    """Recognise a stream, and print a line for each frame.

    The stream ends with the video, at ``exit_at``, or with Ctrl-C, with which streams of a webcam usually end.

    Args:
        predictor: the networks.
        name: a video file, a folder of frames, or the number of a webcam.
        every: the distance of the frames.
        exit_at: confidence to stop at; None does not stop.
        seconds: duration of a webcam's stream; None has no limit.
        top: number of classes in a line of JSON.
        as_json: whether to print JSON instead of text.

    Returns:
        The exit code.

    Raises:
        DecodeError: if the video or the webcam cannot be read.
        UserError: if the method cannot recognise frame by frame.
    """
    online = predictor.stream(exit_at=exit_at)
    camera = webcam_number(name)
    title = name if camera is None else webcam_title(camera)
    last: FramePrediction | None = None
    try:
        with closing(_frames(predictor, name, camera, every, seconds)) as frames:
            for frame in frames:
                last = online.step(frame.pixels)
                _print(frame, last, top=top, as_json=as_json)
                if last.stopped:
                    break
    except KeyboardInterrupt as error:
        if camera is None or (isinstance(error, Interrupted) and error.number != signal.SIGINT):
            raise
    finally:
        if last is not None:
            say(_summary(title, last))
    return 0


def _frames(
    predictor: Predictor, name: str, camera: int | None, every: Every, seconds: float | None
) -> Generator[StreamedFrame, None, None]:
    if camera is None:
        yield from stream_frames(user_path(name).absolute(), every, template=predictor.run.config.data.frame_template)
        return
    with closing(webcam_frames(camera)) as stream:
        for place, (at, pixels) in zip(itertools.count(), stream, strict=False):
            if seconds is not None and at > seconds:
                return
            if every.wants(place, at):
                yield StreamedFrame(number=place, seconds=at, pixels=pixels)


def plain(frame: StreamedFrame, found: FramePrediction, top: int) -> dict[str, Any]:
    """Return the line of a frame as plain values for JSON."""
    return {
        "frame": frame.number,
        "seconds": frame.seconds,
        "top": [{"label": label, "confidence": confidence} for label, confidence in found.top(top)],
        "box": list(found.box),
        "stored_box": list(found.stored_box),
        "looked": found.looked,
        "side": found.side,
        "gmacs": found.gmacs,
        "ms": found.ms,
        "stopped": found.stopped,
    }


def _print(frame: StreamedFrame, found: FramePrediction, *, top: int, as_json: bool) -> None:
    if as_json:
        print_json_line(plain(frame, found, top))
    else:
        at = "" if frame.seconds is None else f" {frame.seconds:8.2f} s"
        top, left, height, width = map(round, found.stored_box)
        look = f"patch ({top}, {left}) of {height}×{width}" if found.looked else "not looked at"
        resized = f" at {found.side}" if found.looked and found.side != found.box[2] else ""
        print_plain(f"frame {frame.number:5d}{at}  {100 * found.confidence:5.1f} % {found.label}  {look}{resized}")
    sys.stdout.flush()  # readers of a pipe want each line at once


def _summary(title: str, last: FramePrediction) -> str:
    frames = "1 frame" if last.frames == 1 else f"{last.frames} frames"
    early = ", stopped early" if last.stopped else ""
    return f"{title}: {last.label} with {100 * last.confidence:.1f} % after {frames}{early}; {last.gmacs:.4g} GMACs"
