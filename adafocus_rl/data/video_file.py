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
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from adafocus_rl.data.decode_error import DecodeError
from adafocus_rl.data.ffmpeg import Image, VideoFile, open_video

STAMPED_CONTAINERS = frozenset({"mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm"})
"""FFmpeg's names of the containers that store every frame's own time. AVI stores none, and transport streams
may store one for several frames."""

INDEXED_CODECS = frozenset({"h264", "hevc", "vp9", "av1"})
"""Codecs whose packets are one shown frame each. MPEG-4's (XviD's) may be none or two, VP8's may be hidden."""

SKIPPING_CODECS = frozenset({"h264", "hevc"})
"""Codecs that say in the packet that no other frame refers to it, and whose decoders then pass over it."""

KEPT_BYTES = 1 << 25
"""Compressed bytes kept between reading the packets and decoding; larger files are read a second time."""

INDEXED_FRAMES = 2_000_000
"""Packets in an index at most; a day of video at 25 frames per second has 2,160,000."""

_KEY_PICTURE = 1
"""FFmpeg's AV_PICTURE_TYPE_I."""


@dataclass(frozen=True, kw_only=True)
class VideoInfo:
    """What a video holds."""

    video_frames: int
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
    held = len(wanted)
    with open_video(path, held=held) as video:
        if not _has_index(video):
            return _in_order(video, needed, held)
        # Whatever the decoder dislikes about this way, it gets a second chance.
        with suppress(DecodeError):
            packets = _read_packets(video)
            frames = None if packets is None else _by_index(video, packets, needed, held)
            if frames is not None:
                return frames
    with open_video(path, held=held) as video:
        return _in_order(video, needed, held)


def every_frame(path: Path) -> Iterator[Image]:
    """All frames of a file from its start, (H, W, 3) RGB uint8, upright: frame i of ``file_frames`` is the i-th.

    Raises:
        DecodeError: not a video.
    """
    with open_video(path) as video:
        for frame in _all_frames(video):
            yield video.image(frame)


def file_info(path: Path) -> VideoInfo:
    """Decode the whole file and count.

    Raises:
        DecodeError: not a video, or nothing decodable.
    """
    with open_video(path) as video:
        count = 0
        height, width = 0, 0
        for frame in _all_frames(video):
            if count == 0:
                height, width = video.orientation(frame).size(frame.height, frame.width)
            count += 1
        if count == 0:
            raise DecodeError(path, "opens as a video, but no frame decodes")
        return VideoInfo(video_frames=count, height=height, width=width, fps=video.fps)


def stored_frames(path: Path) -> int:
    """Packets of the video, which are its frames in most codecs; none is decoded.

    Raises:
        DecodeError: not a video, or it cannot be read to its end.
        NoVideoError: no video in it.
    """
    with open_video(path) as video:
        return sum(1 for packet in video.packets() if packet.size)


def _all_frames(video: VideoFile) -> Iterator[VideoFrame]:
    """All frames that decode; damaged packets are passed over, as players do."""
    packets = video.packets()
    while True:
        try:
            packet = next(packets, None)
        except DecodeError:
            packet = None  # the file ends within a packet: what is in the decoder still comes out
        if packet is not None and packet.size == 0:
            continue
        yield from video.decode_damaged(packet)
        if packet is None:
            return


def _in_order(video: VideoFile, needed: Sequence[int], held: int) -> dict[int, Image]:
    frames: dict[int, Image] = {}
    count = 0
    wanted = set(needed)
    for frame in _all_frames(video):
        if count in wanted:
            frames[count] = video.image(frame, held=held)
        count += 1
        if count > needed[-1]:
            return frames
    if count == 0:
        raise DecodeError(video.path, "opens as a video, but no frame decodes")
    beyond = next(i for i in needed if i >= count)
    raise DecodeError(video.path, f"truncated: wanted frame {beyond}, only {count} decode")


def _has_index(video: VideoFile) -> bool:
    codec = video.codec
    stamped = video.container.format.name in STAMPED_CONTAINERS and codec.canonical_name in INDEXED_CODECS
    # Where each frame stands for itself, packets come in the order in which they are shown.
    return stamped or codec.intra_only


def _read_packets(video: VideoFile) -> _Packets | None:
    """The packets, if the i-th time in them is surely the time of frame i; else None."""
    times: list[int] = []
    keys: list[int] = []
    kept: list[Packet[VideoStream]] | None = []
    size = 0
    for packet in video.packets():
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
        if len(times) > INDEXED_FRAMES:
            return None
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


def _by_index(video: VideoFile, packets: _Packets, needed: Sequence[int], held: int) -> dict[int, Image] | None:
    """The frames, or None when the file turns out to be other than its packets say."""
    if needed[-1] >= len(packets.times):
        return None
    runs = _runs(packets, needed)
    if packets.kept is not None:
        return _decode_runs(video, packets.kept, packets.times, runs, held)
    with open_video(video.path, held=held) as again:
        return _decode_runs(again, again.packets(), packets.times, runs, held)


def _decode_runs(
    video: VideoFile, packets: Iterable[Packet[VideoStream]], times: Sequence[int], runs: Sequence[_Run], held: int
) -> dict[int, Image] | None:
    skipping = ""
    skips = video.codec.canonical_name in SKIPPING_CODECS
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
            if skip != skipping:
                video.skip(skip)
                skipping = skip
        decoded = video.decode(packet)
        if place == run.stop:
            decoded += video.decode(None)
        for frame in decoded:
            if frame.pts == times[run.start]:
                # Some encoders mark a frame from which the picture is built up bit by bit.
                started = frame.key_frame and int(frame.pict_type) == _KEY_PICTURE
            if frame.pts not in run.wanted:
                continue
            # An interlaced frame may be stored as two packets.
            if not started or frame.is_corrupt or frame.interlaced_frame:
                return None
            frames[run.wanted.pop(frame.pts)] = video.image(frame, held=held)
        if place == run.stop or not run.wanted:
            if run.wanted:
                return None
            following = next(remaining, None)
            if following is None:
                return frames
            run, started = following, False
            video.restart()
    return None
