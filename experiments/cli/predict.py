"""``adafocus predict``."""

from __future__ import annotations

import mimetypes
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adafocus_rl.data.decode import opencv
from adafocus_rl.data.list_text import number
from adafocus_rl.errors import UserError
from adafocus_rl.experiments.cli.replay import write_pictures
from adafocus_rl.experiments.predict import Prediction, PredictionError, Predictor
from adafocus_rl.experiments.terminal.command_line import CommandParser, at_most, print_json
from adafocus_rl.experiments.terminal.progress import Ticker, say
from adafocus_rl.experiments.terminal.tables import PlainTable, print_plain
from adafocus_rl.files import user_path

FAILED = 1
"""Exit code if some of the videos could not be recognised."""

OVERLAYS = (".mp4", ".png")

WEBCAMS = 10_000
"""Numbers below this may be webcams; greater ones, such as dates in file names, are not."""

MOST_SECONDS = 60
"""Maximum seconds to record from a webcam: all frames are held in memory, some 30 MB per second."""


def predict(argv: Sequence[str]) -> int:
    """Run ``adafocus predict RUN VIDEO…``."""
    parser = CommandParser(
        prog="adafocus predict",
        description="Recognise videos with a run's networks and agent. A frame is resized and its centre is cropped "
        "as in the run's evaluation; boxes are (top, left, height, width) in pixels of that crop.",
    )
    parser.add_argument("run", help="run folder")
    parser.add_argument(
        "videos", nargs="+", metavar="VIDEO", help="video file, folder of frames, or number of a webcam, such as 0"
    )
    parser.add_argument("--top", type=at_most(1_000_000), default=5, metavar="N", help="classes to print (default: 5)")
    add_system_options(parser)
    parser.add_argument("--seconds", type=float, default=4.0, help="seconds to record from a webcam (default: 4)")
    parser.add_argument(
        "--out", metavar="OUT", help="draw the patches: FILE.mp4, FILE.png, or, for several videos, a folder of films"
    )
    parser.add_argument("--probabilities", action="store_true", help="shade π's probabilities in the pictures")
    parser.add_argument("--json", action="store_true", help="print JSON on stdout instead of tables")
    options = parser.parse_args(argv)
    if options.top < 1:
        raise UserError(f"--top is {options.top}; give at least 1")
    if not 0 < options.seconds <= MOST_SECONDS:
        raise UserError(f"--seconds is {options.seconds}; give a number above 0, and at most {MOST_SECONDS}")
    out = user_path(options.out) if options.out else None
    if out is not None and out.suffix in OVERLAYS and len(options.videos) > 1:
        raise UserError(f"--out {out} is one file, but there are {len(options.videos)} videos; give a folder")
    if out is not None and out.suffix not in OVERLAYS and mimetypes.guess_type(out.name)[0] and not out.is_dir():
        raise UserError(f"--out is {out}; give a folder, or a file that ends in {' or '.join(OVERLAYS)}")
    predictor = Predictor.load(
        options.run,
        agent=options.agent,
        method=options.method,
        knob=options.knob,
        device=options.device,
        probabilities=options.probabilities,
    )
    found: list[tuple[dict[str, Any], float, Path | None]] = []
    failed: list[dict[str, str]] = []
    with Ticker("predict", len(options.videos)) as ticker:
        for name in options.videos:
            try:
                prediction = recognise(predictor, name, seconds=options.seconds)
            except PredictionError as error:
                failed.append({"path": name, "reason": error.reason})
                say(f"left out {name}: {error.reason}")
            else:
                # Drawn now, so that the frames of many videos are not held at once.
                drawn = _draw(prediction, out, len(found), heat=options.probabilities) if out is not None else None
                full = predictor.full_frame_milliseconds(prediction) if not found else found[0][1]
                found.append((plain(prediction, options.top), full, drawn))
            ticker.advance(1, name)
    if options.json:
        full_ms = found[0][1] if found else None
        print_json({"videos": [one for one, _, _ in found], "failed": failed, "full_frame_ms": full_ms})
    else:
        for one, full, drawn in found:
            print_prediction(one, full)
            if drawn is not None:
                say(f"wrote {drawn}")
    if failed:
        say(f"{len(failed)} of {len(options.videos)} videos could not be recognised")
    return FAILED if failed else 0


def add_system_options(parser: CommandParser) -> None:
    """Add the options that name the system with which videos are recognised: arguments of ``Predictor.load``."""
    parser.add_argument("--agent", metavar="NAME", help="another agent: RandomAgent, CenterAgent, …")
    parser.add_argument("--method", metavar="NAME", help="another method: WholeFrames, …, with the run's options")
    parser.add_argument(
        "--knob", type=float, metavar="X", help="operating point of the method; for the run's agent, λ of its π′"
    )
    parser.add_argument("--device", help="cpu, cuda, … (default: the run's)")


def recognise(predictor: Predictor, name: str, *, seconds: float) -> Prediction:
    """Recognise a file, a folder or, if there is no such path, the webcam with that number.

    Raises:
        PredictionError: if nothing can be decoded.
    """
    device = number(name)
    if device is not None and device < WEBCAMS and not Path(name).exists():
        return predictor.predict_frames(webcam(device, seconds), name=f"webcam {name}")
    return predictor.predict(name)


def webcam(number: int, seconds: float) -> NDArray[np.uint8]:
    """Record frames from a webcam.

    Returns:
        (n, H, W, 3) uint8 RGB.

    Raises:
        PredictionError: if there is no such webcam, or it returns no frames.
    """
    name = f"webcam {number}"
    cv2 = opencv()
    if hasattr(cv2.utils, "logging"):
        # The message below replaces OpenCV's own.
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    capture = cv2.VideoCapture(number)
    try:
        if not capture.isOpened():
            raise PredictionError(name, f"there is no webcam {number}, and no file or folder called so")
        say(f"{name}: looking for {seconds:g} s")
        frames = list(_frames(capture, seconds))
    finally:
        capture.release()
    if not frames:
        raise PredictionError(name, "it opens, but gives no frame")
    return np.stack(frames)


def _frames(capture: Any, seconds: float) -> Iterator[NDArray[np.uint8]]:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        good, frame = capture.read()
        if not good:
            return
        yield frame[..., ::-1]


def plain(prediction: Prediction, count: int) -> dict[str, Any]:
    """Return a prediction as plain values for JSON."""
    return {
        "path": prediction.path,
        "top": [{"label": label, "confidence": confidence} for label, confidence in prediction.top(count)],
        "boxes": prediction.boxes.tolist(),
        "kept": prediction.kept.tolist(),
        "frames": prediction.frames.tolist(),
        "gmacs": prediction.gmacs,
        "full_frame_gmacs": prediction.full_frame_gmacs,
        "ms": prediction.ms,
    }


def print_prediction(one: dict[str, Any], full_ms: float) -> None:
    """Print a prediction, as returned by ``plain``, on stdout in readable form."""
    print_plain(one["path"], style="bold")
    table = PlainTable(box=False)
    table.column("", "", "", right=False)
    for entry in one["top"]:
        share = entry["confidence"]
        table.row(f"{100 * share:5.1f} %", "█" * round(20 * share) or "▏", entry["label"])
    table.print()
    kept = one["kept"]
    looked = "all" if all(kept) else str(sum(kept))
    patches = "  ".join(
        f"{frame}: ({box[0]}, {box[1]})" if keep else f"{frame}: –"
        for frame, box, keep in zip(one["frames"], one["boxes"], kept, strict=True)
    )
    side = one["boxes"][0][2]
    print_plain(f"  patches of {side}×{side} pixels, by frame, (top, left): {patches}")
    print_plain(
        f"  f_L looked at {looked} of {len(kept)} frames: {one['gmacs']:.4g} GMACs, {one['ms']:.1f} ms; "
        f"on whole frames {one['full_frame_gmacs']:.4g} GMACs, {full_ms:.1f} ms"
    )
    print_plain("")


def _draw(prediction: Prediction, out: Path, number: int, *, heat: bool) -> Path:
    """Write the film or picture of one video; in a folder, under the video's name. Return its path."""
    if out.suffix not in OVERLAYS:
        out.mkdir(parents=True, exist_ok=True)
        stem = Path(prediction.path).stem.replace(" ", "_")
        path = out / f"{stem}.mp4"
        # Videos of different folders may have the same name.
        out = path if not path.exists() else out / f"{stem}.{number}.mp4"
    else:
        out.parent.mkdir(parents=True, exist_ok=True)
    write_pictures(out, [prediction.shown], name=prediction.path, heat=heat)
    return out
