"""Inspection of one video for its first fault, with advice for the user."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from adafocus_rl.data.decode import DecodeError, decode_frames, probe
from adafocus_rl.data.ffmpeg import NoVideoError
from adafocus_rl.data.findings import Depth
from adafocus_rl.data.frame_names import MOST_GAPS, FrameFamily, frame_images, image_names, split_families
from adafocus_rl.data.index import absence
from adafocus_rl.data.locate import VIDEO_SUFFIXES
from adafocus_rl.data.sampling import clip_indices
from adafocus_rl.data.video_file import stored_frames

CLOSE = 3
"""Number of names that a message lists before it counts the rest."""


@dataclass(frozen=True, kw_only=True)
class VideoJob:
    """A video to inspect."""

    path: Path
    """Expected path."""
    listed: int
    """Number of frames according to the list; 0 if it does not say."""
    frame_sets: tuple[int, ...]
    """T, frames of a clip; or those of each of its sets."""
    template: str | None = None
    """Pattern of the names of frames in a folder."""
    depth: Depth = "clip"
    """How much to decode."""
    min_side: int = 0
    """Smallest allowed short side of its frames in pixels; 0 if frames are resized."""


@dataclass(frozen=True, kw_only=True)
class VideoReport:
    """Result of an inspection."""

    frames: int = 0
    """Number of frames by the list or, if it does not say, of the video; 0 if it cannot be read."""
    height: int = 0
    """Height of a frame in pixels; 0 if it cannot be read."""
    width: int = 0
    """Width of a frame in pixels."""
    folder: bool = False
    """Whether it is a folder of images."""
    fault: tuple[str, str] | None = None
    """(kind, description and advice); None for a usable video."""
    notes: list[tuple[str, str]] = field(default_factory=list)
    """(kind, description) of each note on a usable video."""


class _FaultError(Exception):
    def __init__(self, kind: str, text: str) -> None:
        super().__init__(kind, text)
        self.kind, self.text = kind, text


def inspect_video(job: VideoJob) -> VideoReport:
    """Inspect a video from its path to its frames, and stop at the first fault."""
    try:
        return _inspect(job)
    except OSError as error:  # a name too long, circular links, a folder without read permission
        reason = error.strerror or str(error)
        return VideoReport(fault=("missing", f"it cannot be looked at ({reason}); correct its name or permissions"))


def _inspect(job: VideoJob) -> VideoReport:
    notes: list[tuple[str, str]] = []
    folder = job.path.is_dir()
    try:
        if not folder:
            _check_file(job.path)
        held = _count_images(job, notes) if folder else _count_packets(job)
        held = _check_count(job, held, notes)
        pixels = _decode(job, held)
        height, width = pixels.shape[1:3]
        if min(height, width) < job.min_side:
            raise _FaultError(
                "small",
                f"frames of {width}×{height} pixels are smaller than frame_size {job.min_side}, and are not resized "
                "(data.resize_short 0); choose a smaller frame_size, or let them be resized",
            )
    except _FaultError as found:
        return VideoReport(folder=folder, fault=(found.kind, found.text))
    most, whole = max(job.frame_sets), "a clip" if len(job.frame_sets) == 1 else "a clip's larger set"
    if held < most:
        notes.append(("short", f"its {held} frames are fewer than the {most} of {whole}: the last is repeated"))
    if len(pixels) > 1 and all(np.array_equal(frame, pixels[0]) for frame in pixels[1:]):
        notes.append(("still", "all frames of the clip are the same picture; is the video what it should be?"))
    return VideoReport(frames=held, height=height, width=width, folder=folder, notes=notes)


def _check_file(path: Path) -> None:
    if not path.exists():
        raise _FaultError("missing", f"there is no {path}{_near(path)}")
    reason = absence(path)
    if reason is not None:
        raise _FaultError("empty_file", f"{reason}; copy or download it again")
    if path.suffix.lower() not in VIDEO_SUFFIXES:
        known = " ".join(sorted(VIDEO_SUFFIXES))
        ending = path.suffix or "no ending"
        raise _FaultError("not_a_video", f"{ending} is not the ending of a video; expected {known}, or a folder")


def _near(path: Path) -> str:
    """Suggest an existing name that differs only in its suffix or in case."""
    if not path.parent.is_dir():
        return f", for there is no folder {path.parent}; is --root right?"
    for child in sorted(path.parent.iterdir()):
        if child.name.casefold() == path.name.casefold() or child.stem.casefold() == path.stem.casefold():
            return f"; there is {child.name!r}: correct the list or the name"
    return "; get the video or remove its line"


def _count_packets(job: VideoJob) -> int:
    """Count the frames in the container without decoding any."""
    try:
        return stored_frames(job.path)
    except NoVideoError as error:
        holds = "sound only" if "sound" in error.kinds else "no pictures"
        raise _FaultError("no_video", f"the file holds {holds}; get the video with pictures") from None
    except DecodeError as error:
        raise _FaultError("not_a_video", f"{error.reason}; download or convert it again") from None


def _check_count(job: VideoJob, held: int, notes: list[tuple[str, str]]) -> int:
    """Count the usable frames, at most the listed number."""
    if job.listed in (0, held):
        return held
    if not job.path.is_dir():
        # Not every codec has one packet per frame, so a difference is verified.
        try:
            held = probe(job.path).video_frames
        except DecodeError as error:
            raise _FaultError("unreadable", f"{error.reason}; download or convert it again") from None
    if held < job.listed:
        raise _FaultError(
            "frame_count",
            f"the list says {job.listed} frames, but there are {held}: get all of it, or write {held} in the list",
        )
    if held > job.listed:
        notes.append(
            ("unused_frames", f"the list says {job.listed} frames, but there are {held}: the rest is not used")
        )
    return job.listed


def _count_images(job: VideoJob, notes: list[tuple[str, str]]) -> int:
    images = frame_images(job.path, job.template)
    others = sorted(set(image_names(job.path)) - {image.name for image in images})
    if not images:
        if others:
            raise _FaultError(
                "template", f"none of its {len(others)} images (such as {others[0]!r}) is named like {job.template!r}"
            )
        raise _FaultError("empty_folder", "the folder holds no .jpg or .png image; extract its frames again")
    odd = [image.name for image in images if not image.is_file()]
    if odd:
        raise _FaultError(
            "odd_frames", f"{_some(odd)} of its images are no files (a folder, a pipe, a link that leads nowhere)"
        )
    empty = [image.name for image in images if image.stat().st_size == 0]
    if empty:
        raise _FaultError("empty_frames", f"{_some(empty)} of its images have 0 bytes; extract its frames again")
    families = split_families([image.name for image in images])
    if len({family.prefix for family in families}) > 1:
        kinds = [family.template for family in families]
        raise _FaultError("mixed_frames", f"images of several kinds ({_some(kinds)}); name the frames' with --template")
    gaps = [name for family in families[:1] for name in _gap_names(family, families)]
    if gaps:
        lacking = _some(gaps) if len(gaps) < MOST_GAPS else f"{', '.join(gaps[:CLOSE])} and many more"
        raise _FaultError("frame_gap", f"{lacking} of its frames missing in the middle; extract its frames again")
    if others:
        notes.append(("other_images", f"{_some(others)} are images, but no frames, by their names"))
    return len(images)


def _gap_names(family: FrameFamily, families: list[FrameFamily]) -> list[str]:
    """List missing names between the first and the last; a frame present as .jpg or .png is not missing."""
    elsewhere = {number for other in families[1:] for number in other.names}
    return [family.name(number) for number in family.gaps if number not in elsewhere]


def _decode(job: VideoJob, held: int) -> NDArray[np.uint8]:
    """Decode the first frame or the frames of a clip, (n, H, W, 3); depth ``all`` first decodes every frame."""
    if held == 0:
        raise _FaultError("unreadable", "opens as a video, but holds no frame; download or convert it again")
    wanted = clip_indices(held, job.frame_sets, rng=None) if job.depth != "quick" else np.zeros(1, dtype=np.int64)
    try:
        if job.depth == "all":
            _decode_all(job, held)
        return decode_frames(job.path, wanted, template=job.template)
    except DecodeError as error:
        raise _FaultError("unreadable", f"{error.reason}; download, convert or extract it again") from None


def _decode_all(job: VideoJob, held: int) -> None:
    if not job.path.is_dir():
        counted = probe(job.path).video_frames
        if counted < held:
            raise DecodeError(job.path, f"truncated: {held} frames are stored, only {counted} decode")
        return
    for start in range(0, held, 16):  # in parts, since a folder may exceed memory; with image 0, to compare sizes
        decode_frames(job.path, [0, *range(start, min(start + 16, held))], template=job.template)


def _some(names: list[str]) -> str:
    """The first few names, and how many more there are."""
    listed = ", ".join(names[:CLOSE])
    return listed if len(names) <= CLOSE else f"{listed} and {len(names) - CLOSE} more"
