"""Video files as FFmpeg opens them, by PyAV: paths only, formats of videos only, and one exception for all faults."""

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
"""FFmpeg's names of the formats that are read: files of video, which name no other files. Left out are playlists (HLS,
DASH, ffconcat), which open the files that they name, single images, text, subtitles and devices."""

SOUND_FORMATS = ("wav", "w64", "mp3", "aac", "ac3", "eac3", "flac", "aiff", "au", "amr", "caf")
"""Formats that are opened to say that they hold sound only."""

_KEEPS_TO_FILES = {
    "protocol_whitelist": "file",
    "format_whitelist": ",".join((*FORMATS, *SOUND_FORMATS)),
    "enable_drefs": "0",  # MP4's tracks in other files
}

_DECODER_OPTIONS = {"max_pixels": str(FRAME_PIXELS)}
"""The decoders refuse larger frames before they take memory for them, also where the size changes on the way."""

_ONE_THREAD: dict[str, Any] = {"threads": 1} if "threads" in (VideoReformatter.reformat.__doc__ or "") else {}
"""For converting to RGB. Left to itself, PyAV starts threads for every small frame, which takes ten times as long as
the frame; older versions have no such argument, and one thread."""

_ANY_TITLE: dict[str, Any] = {"metadata_errors": "replace"} if int(av.__version__.split(".")[0]) < 19 else {}
"""Titles in other encodings than UTF-8 are no reason not to read the frames; PyAV 19 takes them, and no argument."""


class NoVideoError(DecodeError):
    """A file of sound, a cover picture, subtitles or data: ``kinds`` says which."""

    def __init__(self, path: Path | str, kinds: str) -> None:
        super().__init__(path, f"no video in it, only {kinds}")
        self.kinds = kinds


@dataclass(kw_only=True)
class VideoFile:
    """An open video file. Every call into FFmpeg is made by its methods, which raise ``DecodeError`` only."""

    path: Path
    """Where it lies."""
    container: InputContainer
    """The file."""
    stream: VideoStream
    """Its first video that is no cover picture."""
    _converter: VideoReformatter = field(default_factory=VideoReformatter)  # setting one up costs more than a frame
    _library: DecoderAtWork = field(init=False)

    def __post_init__(self) -> None:
        self._library = DecoderAtWork(self.path)

    @property
    def codec(self) -> Codec:
        """What its frames are coded in."""
        return self.stream.codec_context.codec

    @property
    def fps(self) -> float:
        """Frames per second, on average; 0 when the file does not say."""
        with self._library:
            return float(self.stream.average_rate or 0)

    def packets(self) -> Iterator[Packet[VideoStream]]:
        """The stream's packets, and last an empty one.

        Raises:
            DecodeError: the file ends within a packet, or cannot be read on.
        """
        with self._library:
            yield from self.container.demux(self.stream)

    def decode(self, packet: Packet[VideoStream] | None) -> list[VideoFrame]:
        """The frames that come out with a packet; with None, those left in the decoder."""
        with self._library:
            return self.stream.codec_context.decode(packet)

    def decode_damaged(self, packet: Packet[VideoStream] | None) -> list[VideoFrame]:
        """The same, and nothing for a damaged packet, which players pass over."""
        with self._library:
            try:
                return self.stream.codec_context.decode(packet)
            except av.error.InvalidDataError:
                return []

    def skip(self, frames: Literal["DEFAULT", "NONREF"]) -> None:
        """From now on, decode all frames, or pass over those that nothing refers to."""
        with self._library:
            self.stream.codec_context.skip_frame = frames

    def restart(self) -> None:
        """Make the decoder ready for packets from another place."""
        with self._library:
            self.stream.codec_context.flush_buffers()

    def image(self, frame: VideoFrame, *, held: int = 1) -> Image:
        """A frame (H, W, 3) in RGB as it is shown: turned and mirrored as the file asks for.

        Args:
            frame: what was decoded.
            held: how many of this size will be in memory.
        """
        check_frame_size(self.path, frame.width, frame.height, held=held)
        with self._library:
            stored = self._converter.reformat(frame, format="rgb24", **_ONE_THREAD).to_ndarray()
        return self.orientation(frame).apply(stored.astype(np.uint8, copy=False))

    def orientation(self, frame: VideoFrame) -> Orientation:
        """How a frame is to be turned and mirrored."""
        with self._library:
            matrix: Any = frame.side_data.get("DISPLAYMATRIX")
            return UPRIGHT if matrix is None else read_display_matrix(bytes(matrix))


@contextmanager
def open_video(path: Path, *, held: int = 1) -> Iterator[VideoFile]:
    """Opens a video file.

    Args:
        path: a path and never a URL, whatever it looks like (``http:/…``, ``concat:…``, ``12:30 talk.mp4``).
        held: how many of its frames will be in memory at once.

    Raises:
        DecodeError: not a video, in a codec that FFmpeg cannot decode, or too large.
        NoVideoError: no video in it.
    """
    with _open(path) as container:
        with DecoderAtWork(path):
            stream = _first_video(path, container)
            context = stream.codec_context
            # One thread: loader processes are the parallelism, and decoding threads would only contend.
            context.thread_count = 1
            context.options = {**context.options, **_DECODER_OPTIONS}
        check_frame_size(path, context.width, context.height, held=held, decoder_bytes=_decoder_bytes(context))
        yield VideoFile(path=path, container=container, stream=stream)


def _decoder_bytes(context: VideoCodecContext) -> float:
    """What a decoder takes at most, in bytes per pixel of the frame."""
    bits = context.format.padded_bits_per_pixel if context.format is not None else 24
    return bits / 8 * (2 if context.codec.intra_only else DECODER_FRAMES)


def _open(path: Path) -> InputContainer:
    try:
        container: InputContainer = av.open(
            f"file:{path}",  # without it, what stands before a colon is taken for a protocol
            container_options=_KEEPS_TO_FILES,
            options=_DECODER_OPTIONS,
            **_ANY_TITLE,
        )
        return container
    except PermissionError:
        raise DecodeError(path, "no permission to read it") from None
    except av.error.ArgumentError:  # what FFmpeg says of formats that are not on the list
        raise DecodeError(
            path, f"{_bytes(path)}, but not a video: FFmpeg takes it for an image, a playlist or text"
        ) from None
    except Exception:  # whatever a library raises: see DecoderAtWork
        raise DecodeError(path, f"{_bytes(path)}, but not a video that FFmpeg can open") from None


def _bytes(path: Path) -> str:
    try:
        return f"{path.stat().st_size} bytes"
    except (OSError, ValueError):
        return "something"


def _first_video(path: Path, container: InputContainer) -> VideoStream:
    # A sound file's cover picture is none.
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
