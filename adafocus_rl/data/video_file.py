"""Exact frames of a video file, by PyAV.

Frame i is the i-th frame that comes out when the whole file is decoded from its start. There are two ways to
it, which give the same pixels; docs/decoding.md has the measurements behind the rule:

- in order: every frame up to the last wanted one is decoded;
- by index: all packets are read first, which costs little; their time stamps say which packet shows frame i,
  and only what that frame needs is decoded. This is for files whose time stamps can be trusted, and whatever
  contradicts the index on the way leads back to the first way.

There is no seeking: containers' seeking lands on other packets than asked for in many files.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import av
import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream
from numpy.typing import NDArray

from adafocus_rl.data.decode_error import DecodeError

STAMPED_CONTAINERS = frozenset({"mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm"})
"""FFmpeg's names of the containers that store every frame's own time. AVI stores none, and transport streams
may store one for several frames."""

INDEXED_CODECS = frozenset({"h264", "hevc", "vp9", "av1"})
"""Codecs whose packets are one shown frame each. MPEG-4's (XviD's) may be none or two, VP8's may be hidden."""

SKIPPING_CODECS = frozenset({"h264", "hevc"})
"""Codecs that say in the packet that no other frame refers to it, and whose decoders then pass over it."""

KEPT_BYTES = 1 << 25
"""Compressed bytes kept between reading the packets and decoding; larger files are read a second time."""

_KEY_PICTURE = 1
"""FFmpeg's AV_PICTURE_TYPE_I."""

_ONE_THREAD: dict[str, Any] = {"threads": 1} if "threads" in (VideoReformatter.reformat.__doc__ or "") else {}
"""For converting to RGB. Left to itself, PyAV starts threads for every small frame, which takes ten times as long as
the frame; older versions have no such argument, and one thread."""

Image = NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class VideoInfo:
    """What a video holds."""

    num_frames: int
    """Frames that decode, counted."""
    height: int
    """Height in pixels, as displayed."""
    width: int
    """Width in pixels, as displayed."""
    fps: float
    """Frames per second, on average; 0 when unknown (a folder of images)."""


@dataclass(frozen=True, kw_only=True)
class _Packets:
    """The packets of a video stream in decoding order."""

    times: list[int]
    """When each one's frame is shown, in the stream's own unit; all different."""
    keys: list[int]
    """Positions of the packets that decoding may start at."""
    kept: list[Packet[VideoStream]] | None
    """The packets; None when there is too much of them."""


@dataclass(kw_only=True)
class _Run:
    """Packets to decode one after another from a key packet."""

    start: int
    """Position of the key packet."""
    stop: int
    """Position of the last packet that a wanted frame is in."""
    wanted: dict[int, int] = field(default_factory=dict)
    """Time shown: number of the frame."""


def file_frames(path: Path, wanted: Sequence[int]) -> dict[int, Image]:
    """Decode the frames with these numbers, in one thread.

    Args:
        path: a video file.
        wanted: numbers from 0, at least one.

    Returns:
        {number: (H, W, 3) RGB uint8}, upright: a rotation that the file asks for is applied.

    Raises:
        DecodeError: not a video, nothing decodable, or fewer frames than wanted.
    """
    needed = sorted(set(wanted))
    with _opened(path) as (container, stream):
        if not _has_index(container, stream):
            return _in_order(path, container, stream, needed)
        with suppress(av.FFmpegError):
            packets = _read_packets(container, stream)
            frames = None if packets is None else _by_index(path, stream, packets, needed)
            if frames is not None:
                return frames
    with _opened(path) as (container, stream):
        return _in_order(path, container, stream, needed)


def every_frame(path: Path) -> Iterator[Image]:
    """All frames of a file from its start, (H, W, 3) RGB uint8, upright: frame i of `file_frames` is the i-th.

    Raises:
        DecodeError: not a video.
    """
    with _opened(path) as (container, stream):
        converter = VideoReformatter()
        for frame in _all_frames(container, stream):
            yield _image(frame, converter)


def file_info(path: Path) -> VideoInfo:
    """Decode the whole file and count.

    Raises:
        DecodeError: not a video, or nothing decodable.
    """
    with _opened(path) as (container, stream):
        count = 0
        height, width = 0, 0
        for frame in _all_frames(container, stream):
            if count == 0:
                height, width = frame.height, frame.width
                if _quarter_turns(frame) % 2:
                    height, width = width, height
            count += 1
        if count == 0:
            raise DecodeError(path, "opens as a video, but no frame decodes")
        return VideoInfo(num_frames=count, height=height, width=width, fps=float(stream.average_rate or 0))


@contextmanager
def _opened(path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    try:
        # Titles in other encodings than UTF-8 are no reason not to read the frames.
        container = av.open(str(path), metadata_errors="replace")
    except (av.FFmpegError, ValueError) as error:
        if isinstance(error, PermissionError):
            raise DecodeError(path, "no permission to read it") from None
        raise DecodeError(path, f"{path.stat().st_size} bytes, but not a video that FFmpeg can open") from None
    with container:
        # The first that is no cover picture of a sound file.
        streams = [stream for stream in container.streams.video if not _is_cover(stream)]
        if not streams:
            raise DecodeError(path, f"no video in it, only {_kinds(container)}")
        stream = streams[0]
        if stream.codec_context is None:
            raise DecodeError(path, "its video is in a codec that FFmpeg cannot decode here")
        # One thread: loader processes are the parallelism, and decoding threads would only contend.
        stream.codec_context.thread_count = 1
        yield container, stream


def _is_cover(stream: VideoStream) -> bool:
    return bool(stream.disposition & stream.disposition.attached_pic)


def _kinds(container: InputContainer) -> str:
    words = {"audio": "sound", "video": "a cover picture", "subtitle": "subtitles"}
    kinds = {words.get(stream.type, "data"): None for stream in container.streams}
    return " and ".join(kinds) or "an empty container"


def _all_frames(container: InputContainer, stream: VideoStream) -> Iterator[VideoFrame]:
    """All frames that decode; damaged packets are passed over, as players do."""
    context = stream.codec_context
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except av.FFmpegError:
            packet = None  # the file ends within a packet: what is in the decoder still comes out
        if packet is not None and packet.size == 0:
            continue
        frames: list[VideoFrame] = []
        with suppress(av.error.InvalidDataError):
            frames = context.decode(packet)
        yield from frames
        if packet is None:
            return


def _in_order(path: Path, container: InputContainer, stream: VideoStream, needed: Sequence[int]) -> dict[int, Image]:
    frames: dict[int, Image] = {}
    converter = VideoReformatter()
    count = 0
    wanted = set(needed)
    for frame in _all_frames(container, stream):
        if count in wanted:
            frames[count] = _image(frame, converter)
        count += 1
        if count > needed[-1]:
            return frames
    if count == 0:
        raise DecodeError(path, "opens as a video, but no frame decodes")
    raise DecodeError(path, f"truncated: wanted frame {next(i for i in needed if i >= count)}, only {count} decode")


def _has_index(container: InputContainer, stream: VideoStream) -> bool:
    codec = stream.codec_context.codec
    stamped = container.format.name in STAMPED_CONTAINERS and codec.canonical_name in INDEXED_CODECS
    # Where each frame stands for itself, packets come in the order in which they are shown.
    return stamped or codec.intra_only


def _read_packets(container: InputContainer, stream: VideoStream) -> _Packets | None:
    """The packets, if the i-th time in them is surely the time of frame i; else None."""
    times: list[int] = []
    keys: list[int] = []
    kept: list[Packet[VideoStream]] | None = []
    size = 0
    for packet in container.demux(stream):
        if packet.size == 0 and packet.dts is None:
            continue  # the mark of the end
        if packet.pts is None or packet.size == 0 or packet.is_corrupt or packet.is_discard:
            return None
        if packet.is_keyframe:
            keys.append(len(times))
        times.append(packet.pts)
        size += packet.size
        if size > KEPT_BYTES:
            kept = None
        if kept is not None:
            kept.append(packet)
    # Frames before the first key frame do not decode, and two frames of one time cannot be told apart.
    if not keys or keys[0] != 0 or times[0] != min(times) or len(set(times)) != len(times):
        return None
    return _Packets(times=times, keys=keys, kept=kept)


def _runs(packets: _Packets, needed: Sequence[int]) -> list[_Run]:
    """What to decode for these frames: from the last key frame before each to the frame itself."""
    shown = sorted(packets.times)
    position = {time: place for place, time in enumerate(packets.times)}
    key_times = sorted((packets.times[place], place) for place in packets.keys)
    runs: list[_Run] = []
    for number in needed:
        time = shown[number]
        # Shown before it, and not only stored before it: frames that are stored after a key frame and shown
        # before it may refer to what was before both.
        _, key = key_times[bisect_right(key_times, (time, len(packets.times))) - 1]
        if not runs or key > runs[-1].stop:
            runs.append(_Run(start=key, stop=key))
        runs[-1].stop = max(runs[-1].stop, position[time])
        runs[-1].wanted[time] = number
    return runs


def _by_index(path: Path, stream: VideoStream, packets: _Packets, needed: Sequence[int]) -> dict[int, Image] | None:
    """The frames, or None when the file turns out to be other than its packets say."""
    if needed[-1] >= len(packets.times):
        return None
    runs = _runs(packets, needed)
    if packets.kept is not None:
        return _decode_runs(stream, packets.kept, packets.times, runs)
    with _opened(path) as (again, same_stream):
        return _decode_runs(same_stream, again.demux(same_stream), packets.times, runs)


def _decode_runs(
    stream: VideoStream, packets: Iterable[Packet[VideoStream]], times: Sequence[int], runs: Sequence[_Run]
) -> dict[int, Image] | None:
    context = stream.codec_context
    skips = context.codec.canonical_name in SKIPPING_CODECS
    converter = VideoReformatter()
    frames: dict[int, Image] = {}
    remaining = iter(runs)
    run = next(remaining)
    started = False
    for place, packet in enumerate(packets):
        if place < run.start:
            continue
        if packet.pts != times[place]:
            return None
        if skips:
            # Setting it costs more than comparing.
            skip: Literal["DEFAULT", "NONREF"] = "DEFAULT" if packet.pts in run.wanted else "NONREF"
            if context.skip_frame != skip:
                context.skip_frame = skip
        decoded = context.decode(packet)
        if place == run.stop:
            decoded += context.decode(None)
        for frame in decoded:
            if frame.pts == times[run.start]:
                # Some encoders mark a frame from which the picture is built up bit by bit.
                started = frame.key_frame and int(frame.pict_type) == _KEY_PICTURE
            if frame.pts not in run.wanted:
                continue
            # An interlaced frame may be stored as two packets.
            if not started or frame.is_corrupt or frame.interlaced_frame:
                return None
            frames[run.wanted.pop(frame.pts)] = _image(frame, converter)
        if place == run.stop or not run.wanted:
            if run.wanted:
                return None
            following = next(remaining, None)
            if following is None:
                return frames
            run, started = following, False
            context.flush_buffers()
    return None


def _image(frame: VideoFrame, converter: VideoReformatter) -> Image:
    """(H, W, 3) RGB, upright. One converter for a video: setting one up costs more than converting a frame."""
    image = converter.reformat(frame, format="rgb24", **_ONE_THREAD).to_ndarray().astype(np.uint8, copy=False)
    # FFmpeg's angle turns counter-clockwise, as NumPy does.
    return np.rot90(image, _quarter_turns(frame))


def _quarter_turns(frame: VideoFrame) -> int:
    return round(frame.rotation / 90)
