"""Extraction of videos to folders of JPEG images, which load several times faster than videos.

A folder is written under a hidden name beside the final one, ``.NAME.partial``, and renamed when it is complete. Its
``frames.json`` records the source and the settings. A folder whose image count or total size has changed is extracted
again. A folder without that file was not written by this module and stays unchanged.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adafocus_rl.data.decode import DecodeError, opencv
from adafocus_rl.data.frame_folder import listed_images, read_image
from adafocus_rl.data.index import absence
from adafocus_rl.data.video_file import every_frame
from adafocus_rl.errors import UserError
from adafocus_rl.files import read_json

TEMPLATE = "image_{:05d}.jpg"
"""Pattern of the names of written frames, which count from 1."""

MANIFEST = "frames.json"
"""Name of the manifest beside the frames."""


@dataclass(frozen=True, kw_only=True)
class ExtractJob:
    """A video to extract."""

    source: Path
    """A video file, or a folder of images."""
    out: Path
    """The folder to write."""
    limit: int = 0
    """Number of frames to extract, from the start; 0 for all. With a limit, a shorter video is an error."""
    template: str | None = None
    """Pattern of the names of the frames, if the source is a folder."""
    short: int = 256
    """Short side of the images in pixels; smaller frames keep their size, and 0 keeps the size of all."""
    quality: int = 95
    """JPEG quality, 1 to 100."""


@dataclass(frozen=True, kw_only=True)
class Extracted:
    """The result of an extraction."""

    frames: int = 0
    """Number of images in the folder."""
    scale: float = 1.0
    """Side of an image divided by the side of the stored frame."""
    fresh: bool = False
    """Whether the folder was written now; False if it existed."""
    fault: str | None = None
    """Why there is no folder; None if there is one."""


def extract_video(job: ExtractJob) -> Extracted:
    """Extract a video unless it has been extracted already."""
    reason = absence(job.source)
    if reason is not None:
        return Extracted(fault=reason)
    origin = _origin(job)
    done = _whole(job.out, origin)
    if done is not None:
        return Extracted(frames=done["frames"], scale=done["scale"])
    if job.out.exists() and not (job.out / MANIFEST).is_file():
        return Extracted(fault=f"{job.out} is there already and was not extracted by this command; remove it")
    partial = job.out.with_name(f".{job.out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        count, size, scale = 0, 0, 1.0
        for frame in _frames(job):
            image, scale = _resize(frame, job.short)
            good, encoded = opencv().imencode(".jpg", image[..., ::-1], [opencv().IMWRITE_JPEG_QUALITY, job.quality])
            if not good:
                raise DecodeError(job.source, f"frame {count} cannot be written as JPEG")
            count += 1
            (partial / TEMPLATE.format(count)).write_bytes(encoded.tobytes())
            size += len(encoded)
        if count == 0:
            raise DecodeError(job.source, "opens as a video, but no frame decodes")
        if count < job.limit:
            raise DecodeError(job.source, f"the list says {job.limit} frames, but only {count} decode")
        manifest = {**origin, "frames": count, "bytes": size, "scale": scale}
        (partial / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
        if job.out.exists():
            shutil.rmtree(job.out)
        partial.rename(job.out)
    except DecodeError as error:
        return Extracted(fault=error.reason)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return Extracted(frames=count, scale=scale, fresh=True)


def _origin(job: ExtractJob) -> dict[str, Any]:
    """Settings and source that determine the folder's content; the source is identified by size and date."""
    options = {key: value for key, value in asdict(job).items() if key not in ("source", "out")}
    stat = job.source.stat()
    return {
        "source": job.source.name,
        "source_bytes": stat.st_size,
        "source_time": stat.st_mtime_ns,
        **options,
    }


def _whole(folder: Path, origin: dict[str, Any]) -> dict[str, Any] | None:
    """Read the manifest of a folder that was extracted in this way and has not changed; None otherwise."""
    try:
        manifest: dict[str, Any] = read_json(folder / MANIFEST, "manifest")
        if {**manifest, **origin} != manifest:
            return None
        sizes = {entry.name: entry.stat().st_size for entry in os.scandir(folder) if entry.name != MANIFEST}
        # One name per image on disk, whatever number the manifest claims.
        names = {TEMPLATE.format(number) for number in range(1, len(sizes) + 1)}
        whole = manifest["frames"] == len(sizes) and set(sizes) == names and sum(sizes.values()) == manifest["bytes"]
        return manifest if whole and type(manifest["scale"]) is float and 0 < manifest["scale"] <= 1 else None
    except (UserError, OSError, ValueError, KeyError, TypeError):
        return None


def _frames(job: ExtractJob) -> Iterator[NDArray[np.uint8]]:
    """Yield the frames in order, (H, W, 3) RGB."""
    if job.source.is_dir():
        names = listed_images(job.source, job.template)
        frames: Iterator[NDArray[np.uint8]] = (read_image(job.source, name) for name in names)
    else:
        frames = every_frame(job.source)
    yield from islice(frames, job.limit or None)


def _resize(frame: NDArray[np.uint8], short: int) -> tuple[NDArray[np.uint8], float]:
    """Resize a frame to this short side; also return the scale."""
    height, width = frame.shape[:2]
    scale = short / min(height, width)
    if short == 0 or scale >= 1:
        return frame, 1.0
    cv2 = opencv()
    cv2.setNumThreads(0)  # work is parallel over processes, and OpenCV's thread pool does not survive a fork
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    smaller: NDArray[np.uint8] = cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
    return smaller, scale


def folder_names(paths: list[str]) -> list[str]:
    """Choose a folder for each listed path: relative and without suffix, unless two would then be equal.

    Absolute paths and paths with ``..`` would leave the output folder, so only their last two parts are used.
    """
    plain = []
    for path in paths:
        parts = Path(path).parts
        inside = [part for part in parts if part not in ("..", ".", Path(path).anchor)]
        plain.append("/".join(inside if len(inside) == len(parts) else inside[-2:]))
    stems = [path[: len(path) - len(Path(path).suffix)] for path in plain]
    taken: dict[str, int] = {}
    for stem in stems:
        taken[stem.casefold()] = taken.get(stem.casefold(), 0) + 1
    return [stem if taken[stem.casefold()] == 1 else path for stem, path in zip(stems, plain, strict=True)]
