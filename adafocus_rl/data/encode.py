"""Writing of frames to H.264 files that browsers play, by PyAV: OpenCV's wheels cannot write H.264."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_LUMA = np.rint(16 + np.arange(256) * (219 / 255)).astype(np.uint8)


def write_video(
    path: Path,
    frames: NDArray[np.uint8],
    *,
    fps: int = 25,
    crf: int = 18,
    preset: str = "veryfast",
) -> None:
    """Write one H.264 video (yuv420p, one thread, so that the same frames give the same bytes).

    Args:
        path: file to write; the suffix selects the container, and ``.part`` of a temporary name selects MP4.
        frames: (T, H, W, 3) RGB or (T, H, W) grey, uint8, T ≥ 1, even H and W (4:2:0 halves the colour planes).
        fps: frames per second.
        crf: x264's constant rate factor, 0 (lossless) to 51.
        preset: x264's speed preset.

    Raises:
        ValueError: the array has another shape or dtype.
    """
    import av  # heavy (the whole of FFmpeg), and only writers need it
    from av.video.reformatter import VideoReformatter

    if frames.dtype != np.uint8 or not (frames.ndim == 3 or (frames.ndim == 4 and frames.shape[-1] == 3)):
        raise ValueError(f"frames are {frames.dtype} {frames.shape}; expected uint8 of shape (T, H, W, 3) or (T, H, W)")
    count, height, width = frames.shape[:3]
    if count == 0 or height % 2 or width % 2:
        raise ValueError(f"frames have shape {frames.shape}; expected at least one frame with even height and width")
    container_format = "mp4" if path.suffix == ".part" else None
    # With "file:", FFmpeg does not take text before a colon in the name for a protocol.
    with av.open(f"file:{path}", "w", format=container_format, options={"movflags": "faststart"}) as container:
        stream = container.add_stream("libx264", rate=fps)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.thread_count = 1
        # A single key frame at the start: clips are short and are read from the start.
        stream.options = {"crf": str(crf), "preset": preset, "g": str(count)}
        # One converter for the whole file: creating one costs more than encoding a small frame.
        reformatter = VideoReformatter()
        for image in frames if frames.ndim == 4 else _grey_to_yuv(frames):
            if image.ndim == 2:
                frame = av.VideoFrame.from_ndarray(image, format="yuv420p")
            else:
                rgb = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
                frame = reformatter.reformat(rgb, format="yuv420p")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def _grey_to_yuv(frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Convert grey (T, H, W) to 4:2:0 planes in one array (T, 3H/2, W): luma in [16, 235], neutral colour."""
    count, height, width = frames.shape
    planes = np.full((count, height * 3 // 2, width), 128, dtype=np.uint8)
    planes[:, :height] = _LUMA[frames]
    return planes
