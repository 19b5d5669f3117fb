"""Frame-exact decoding of video files, by PyAV.

Frame i is the i-th frame obtained when the whole file is decoded from its start. Two methods give the same pixels;
docs/decoding.md has the measurements behind the choice:

- in order: decode every frame up to the last wanted one;
- by index: first read all packets, which is cheap. Their time stamps tell which packet shows frame i, and only the
  packets that this frame needs are decoded. This method requires reliable time stamps; if anything contradicts the
  index, the first method is used instead.

Seeking is not used, because in many files it lands on other packets than requested.
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
"""FFmpeg's names of the containers that store a time stamp for every frame. AVI stores none, and transport streams may
store one for several frames."""

INDEXED_CODECS = frozenset({"h264", "hevc", "vp9", "av1"})
"""Codecs with exactly one shown frame per packet. An MPEG-4 (XviD) packet may have none or two, VP8 has hidden ones."""

SKIPPING_CODECS = frozenset({"h264", "hevc"})
"""Codecs that mark packets to which no other frame refers, and whose decoders can skip them."""

KEPT_BYTES = 1 << 25
"""Largest amount of compressed data kept between reading and decoding, in bytes; larger files are read twice."""

INDEXED_FRAMES = 2_000_000
"""Largest number of packets in an index; a day of video at 25 frames per second has 2,160,000."""

_KEY_PICTURE = 1
"""FFmpeg's AV_PICTURE_TYPE_I."""


@dataclass(frozen=True, kw_only=True)
class VideoInfo:
    """Length, size and frame rate of a video."""

    video_frames: int
    """Number of frames that decode."""
    height: int
    """Displayed height in pixels."""
    width: int
    """Displayed width in pixels."""
    fps: float
    """Average frames per second; 0 if unknown (a folder of images)."""


@dataclass(frozen=True, kw_only=True)
class _Packets:
    """The packets of a video stream in decoding order."""

    times: list[int]
    """Presentation time of each packet's frame, in the stream's time base; all are distinct."""
    keys: list[int]
    """Positions of the packets at which decoding may start."""
    kept: list[Packet[VideoStream]] | None
    """The packets; None if they exceed ``KEPT_BYTES``."""


@dataclass(kw_only=True)
class _Run:
    """A run of consecutive packets to decode, from a key packet on."""

    start: int
    """Position of the key packet."""
    stop: int
    """Position of the last packet with a wanted frame."""
    wanted: dict[int, int] = field(default_factory=dict)
    """Frame number by presentation time."""


def file_frames(path: Path, wanted: Sequence[int]) -> dict[int, Image]:
    """Decode frames by number, in one thread.

    Args:
        path: a video file.
        wanted: one or more frame numbers from 0.

    Returns:
        {number: (H, W, 3) RGB uint8}, with the rotation that the file specifies applied.

    Raises:
        DecodeError: the file is not a video, does not decode, or has too few frames.
    """
    needed = sorted(set(wanted))
    held = len(wanted)
    with open_video(path, held=held) as video:
        if not _has_index(video):
            return _in_order(video, needed, held)
        # After any error of this method, the other one is tried.
        with suppress(DecodeError):
            packets = _read_packets(video)
            frames = None if packets is None else _by_index(video, packets, needed, held)
            if frames is not None:
                return frames
    with open_video(path, held=held) as video:
        return _in_order(video, needed, held)


def every_frame(path: Path) -> Iterator[Image]:
    """Yield all frames of a file in order, upright, (H, W, 3) RGB uint8; the i-th is frame i of ``file_frames``.

    Raises:
        DecodeError: the file is not a video.
    """
    with open_video(path) as video:
        for frame in all_frames(video):
            yield video.image(frame)


def file_info(path: Path) -> VideoInfo:
    """Decode the whole file and count its frames.

    Raises:
        DecodeError: the file is not a video, or does not decode.
    """
    with open_video(path) as video:
        count = 0
        height, width = 0, 0
        for frame in all_frames(video):
            if count == 0:
                height, width = video.orientation(frame).size(frame.height, frame.width)
            count += 1
        if count == 0:
            raise DecodeError(path, "opens as a video, but no frame decodes")
        return VideoInfo(video_frames=count, height=height, width=width, fps=video.fps)


def stored_frames(path: Path) -> int:
    """Count the packets of the video without decoding; in most codecs each packet is one frame.

    Raises:
        DecodeError: the file is not a video, or cannot be read to its end.
        NoVideoError: the file contains no video.
    """
    with open_video(path) as video:
        return sum(1 for packet in video.packets() if packet.size)


def all_frames(video: VideoFile) -> Iterator[VideoFrame]:
    """Yield all frames that decode; damaged packets are skipped, as players do."""
    packets = video.packets()
    while True:
        try:
            packet = next(packets, None)
        except DecodeError:
            packet = None  # the file ends within a packet; flush the decoder
        if packet is not None and packet.size == 0:
            continue
        yield from video.decode_damaged(packet)
        if packet is None:
            return


def _in_order(video: VideoFile, needed: Sequence[int], held: int) -> dict[int, Image]:
    frames: dict[int, Image] = {}
    count = 0
    wanted = set(needed)
    for frame in all_frames(video):
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
    # In an intra-only codec, packets are stored in presentation order.
    return stamped or codec.intra_only


def _read_packets(video: VideoFile) -> _Packets | None:
    """Read the packets; None unless the i-th presentation time is certainly that of frame i."""
    times: list[int] = []
    keys: list[int] = []
    kept: list[Packet[VideoStream]] | None = []
    size = 0
    for packet in video.packets():
        if packet.size == 0 and packet.dts is None:
            continue  # the empty packet at the end
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
    # Frames before the first key frame do not decode, and frames with equal times cannot be told apart.
    if not keys or keys[0] != 0 or times[0] != min(times) or len(set(times)) != len(times):
        return None
    return _Packets(times=times, keys=keys, kept=kept)


def _runs(packets: _Packets, needed: Sequence[int]) -> list[_Run]:
    """Plan the decoding of frames: each from the last key frame before it."""
    shown = sorted(packets.times)
    position = {time: place for place, time in enumerate(packets.times)}
    key_times = sorted((packets.times[place], place) for place in packets.keys)
    runs: list[_Run] = []
    for number in needed:
        time = shown[number]
        # The key frame must precede the frame in presentation order, not only in the file: frames stored after a key
        # frame but shown before it may refer to earlier frames.
        _, key = key_times[bisect_right(key_times, (time, len(packets.times))) - 1]
        if not runs or key > runs[-1].stop:
            runs.append(_Run(start=key, stop=key))
        runs[-1].stop = max(runs[-1].stop, position[time])
        runs[-1].wanted[time] = number
    return runs


def _by_index(video: VideoFile, packets: _Packets, needed: Sequence[int], held: int) -> dict[int, Image] | None:
    """Decode frames by index; None if decoding contradicts the packets."""
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
            # Setting the mode costs more than comparing it.
            skip: Literal["DEFAULT", "NONREF"] = "DEFAULT" if packet.pts in run.wanted else "NONREF"
            if skip != skipping:
                video.skip(skip)
                skipping = skip
        decoded = video.decode(packet)
        if place == run.stop:
            decoded += video.decode(None)
        for frame in decoded:
            if frame.pts == times[run.start]:
                # Some encoders mark as key frames those from which the picture builds up gradually.
                started = frame.key_frame and int(frame.pict_type) == _KEY_PICTURE
            if frame.pts not in run.wanted:
                continue
            # An interlaced frame may consist of two packets.
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
