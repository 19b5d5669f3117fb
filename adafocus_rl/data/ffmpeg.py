"""Access to video files by PyAV (FFmpeg), restricted to paths and video formats, with one exception for all errors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import av
import numpy as np
from av.codec import Codec
from av.container import InputContainer
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream
from numpy.typing import NDArray

from adafocus_rl.data.decode_error import DecodeError, DecoderAtWork
from adafocus_rl.data.frame_limits import DECODER_FRAMES, FRAME_PIXELS, check_frame_size
from adafocus_rl.data.orientation import UPRIGHT, Orientation, read_display_matrix

Image = NDArray[np.uint8]

FORMATS = (
    *("mov", "mp4", "matroska", "webm", "avi", "flv", "live_flv", "asf", "asf_o", "ogg", "rm", "mxf", "nut", "nuv"),
    *("mpegts", "mpeg", "mpegvideo", "m4v", "h261", "h263", "h264", "hevc", "vvc", "evc", "av1", "obu", "ivf", "vc1"),
    *("mjpeg", "mjpeg_2000", "smjpeg", "dirac", "dnxhd", "cavsvideo", "avs2", "avs3", "dv", "gxf", "lxf", "wtv", "ty"),
    *("yuv4mpegpipe", "gif", "apng", "swf", "flic", "nsv", "pva", "dhav", "r3d", "cine"),
)
"""FFmpeg's names of the accepted formats: video files that refer to no other files. Excluded are playlists (HLS, DASH,
ffconcat), which open the files that they name, single images, text, subtitles and devices."""

SOUND_FORMATS = ("wav", "w64", "mp3", "aac", "ac3", "eac3", "flac", "aiff", "au", "amr", "caf")
"""Sound formats, opened only to report that they contain no video."""

_KEEPS_TO_FILES = {
    "protocol_whitelist": "file",
    "format_whitelist": ",".join((*FORMATS, *SOUND_FORMATS)),
    "enable_drefs": "0",  # tracks of an MP4 that lie in other files
}

_DECODER_OPTIONS = {"max_pixels": str(FRAME_PIXELS)}
"""Decoders refuse larger frames before they allocate memory, also if the size changes within the file."""

_ONE_THREAD: dict[str, Any] = {"threads": 1} if "threads" in (VideoReformatter.reformat.__doc__ or "") else {}
"""Arguments for conversion to RGB. By default PyAV starts threads for every frame, which takes ten times as long as
converting a small one; older versions lack the argument and use one thread."""

_ANY_TITLE: dict[str, Any] = {"metadata_errors": "replace"} if int(av.__version__.split(".")[0]) < 19 else {}
"""Arguments for accepting titles that are not UTF-8; PyAV 19 accepts them by default and lacks the argument."""


class NoVideoError(DecodeError):
    """A file without video; ``kinds`` names its streams: sound, a cover picture, subtitles or data."""

    def __init__(self, path: Path | str, kinds: str) -> None:
        super().__init__(path, f"no video in it, only {kinds}")
        self.kinds = kinds


@dataclass(kw_only=True)
class VideoFile:
    """An open video file. Only its methods call FFmpeg, and they raise only ``DecodeError``."""

    path: Path
    """Path of the file."""
    container: InputContainer
    """The open container."""
    stream: VideoStream
    """Its first video stream that is not a cover picture."""
    _converter: VideoReformatter = field(default_factory=VideoReformatter)  # creating one costs more than a frame
    _library: DecoderAtWork = field(init=False)

    def __post_init__(self) -> None:
        self._library = DecoderAtWork(self.path)

    @property
    def codec(self) -> Codec:
        """Codec of the stream."""
        return self.stream.codec_context.codec

    @property
    def fps(self) -> float:
        """Average frames per second; 0 if the file does not say."""
        with self._library:
            return float(self.stream.average_rate or 0)

    def packets(self) -> Iterator[Packet[VideoStream]]:
        """Yield the stream's packets, then an empty one.

        Raises:
            DecodeError: the file ends within a packet, or reading fails.
        """
        with self._library:
            yield from self.container.demux(self.stream)

    def decode(self, packet: Packet[VideoStream] | None) -> list[VideoFrame]:
        """Decode a packet and return the resulting frames; None flushes the decoder."""
        with self._library:
            return self.stream.codec_context.decode(packet)

    def decode_damaged(self, packet: Packet[VideoStream] | None) -> list[VideoFrame]:
        """Like ``decode``, but return no frames for a damaged packet, as players do."""
        with self._library:
            try:
                return self.stream.codec_context.decode(packet)
            except av.error.InvalidDataError:
                return []

    def skip(self, frames: Literal["DEFAULT", "NONREF"]) -> None:
        """Set whether the decoder skips frames to which no other frame refers."""
        with self._library:
            self.stream.codec_context.skip_frame = frames

    def restart(self) -> None:
        """Flush the decoder before it gets packets from another position."""
        with self._library:
            self.stream.codec_context.flush_buffers()

    def image(self, frame: VideoFrame, *, held: int = 1) -> Image:
        """Convert a frame to RGB (H, W, 3), rotated and mirrored as the file specifies.

        Args:
            frame: the decoded frame.
            held: number of frames of this size that will be in memory.
        """
        check_frame_size(self.path, frame.width, frame.height, held=held)
        with self._library:
            stored = self._converter.reformat(frame, format="rgb24", **_ONE_THREAD).to_ndarray()
        return self.orientation(frame).apply(stored.astype(np.uint8, copy=False))

    def seconds(self, frame: VideoFrame) -> float | None:
        """Return a frame's presentation time in seconds; None if the file stores none."""
        with self._library:
            # The stream's unit: frames that only the flush of the decoder returns have none of their own.
            unit = self.stream.time_base
            return None if frame.pts is None or unit is None else float(frame.pts * unit)

    def orientation(self, frame: VideoFrame) -> Orientation:
        """Read a frame's orientation."""
        with self._library:
            matrix: Any = frame.side_data.get("DISPLAYMATRIX")
            return UPRIGHT if matrix is None else read_display_matrix(bytes(matrix))


@contextmanager
def open_video(path: Path, *, held: int = 1) -> Iterator[VideoFile]:
    """Open a video file within the context.

    Args:
        path: a path, never a URL, whatever it looks like (``http:/…``, ``concat:…``, ``12:30 talk.mp4``).
        held: number of its frames that will be in memory at once.

    Raises:
        DecodeError: the file is not a video, uses a codec that FFmpeg cannot decode, or is too large.
        NoVideoError: the file contains no video.
    """
    with _open(path) as container:
        with DecoderAtWork(path):
            stream = _first_video(path, container)
            context = stream.codec_context
            # One thread: decoding is parallel over loader processes, and threads would only compete with them.
            context.thread_count = 1
            context.options = {**context.options, **_DECODER_OPTIONS}
        check_frame_size(path, context.width, context.height, held=held, decoder_bytes=_decoder_bytes(context))
        yield VideoFile(path=path, container=container, stream=stream)


def _decoder_bytes(context: VideoCodecContext) -> float:
    """Upper bound of a decoder's memory, in bytes per pixel of the frame."""
    bits = context.format.padded_bits_per_pixel if context.format is not None else 24
    return bits / 8 * (2 if context.codec.intra_only else DECODER_FRAMES)


def _open(path: Path) -> InputContainer:
    try:
        container: InputContainer = av.open(
            f"file:{path}",  # otherwise FFmpeg takes text before a colon for a protocol
            container_options=_KEEPS_TO_FILES,
            options=_DECODER_OPTIONS,
            **_ANY_TITLE,
        )
        return container
    except PermissionError:
        raise DecodeError(path, "no permission to read it") from None
    except av.error.ArgumentError:  # raised by FFmpeg for formats that are not on the list
        raise DecodeError(
            path, f"{_bytes(path)}, but not a video: FFmpeg takes it for an image, a playlist or text"
        ) from None
    except Exception:  # a library may raise anything: see DecoderAtWork
        raise DecodeError(path, f"{_bytes(path)}, but not a video that FFmpeg can open") from None


def _bytes(path: Path) -> str:
    try:
        return f"{path.stat().st_size} bytes"
    except (OSError, ValueError):
        return "something"


def _first_video(path: Path, container: InputContainer) -> VideoStream:
    # The cover picture of a sound file is not a video.
    streams = [stream for stream in container.streams.video if not _is_cover(stream)]
    if not streams:
        raise NoVideoError(path, _kinds(container))
    if streams[0].codec_context is None:
        raise DecodeError(path, "its video is in a codec that FFmpeg cannot decode here")
    return streams[0]


def _is_cover(stream: VideoStream) -> bool:
    return bool(stream.disposition & stream.disposition.attached_pic)


def _kinds(container: InputContainer) -> str:
    words = {"audio": "sound", "video": "a cover picture", "subtitle": "subtitles"}
    kinds = {words.get(stream.type, "data"): None for stream in container.streams}
    return " and ".join(kinds) or "an empty container"
