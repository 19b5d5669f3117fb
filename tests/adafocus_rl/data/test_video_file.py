"""Frame i is the i-th frame, whatever the container, the codec and the time stamps, and by whichever way it is read."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from adafocus_rl.data import video_file
from adafocus_rl.data.decode import DecodeError, decode_frames, opencv, probe
from adafocus_rl.data.encode import write_video
from adafocus_rl.data.extract import ExtractJob, extract_video
from adafocus_rl.data.ffmpeg import VideoFile, open_video
from adafocus_rl.data.inspect_video import VideoJob, inspect_video
from adafocus_rl.data.orientation import Orientation, read_display_matrix

Frames = NDArray[np.uint8]
COUNT = 40
SHARED = Path(os.environ.get("ADAFOCUS_SHARED_DATA", Path(__file__).parents[4] / "shared" / "data"))


def _write(
    path: Path,
    frames: Sequence[NDArray[Any]],
    codec: str,
    pix_fmt: str = "yuv420p",
    times: Sequence[int] | None = None,
    **options: str,
) -> None:
    """Times are in hundredths of a second; without them there are 25 frames per second."""
    if codec not in av.codecs_available:
        pytest.skip(f"this PyAV has no encoder {codec}")
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = pix_fmt
        stream.options = {"g": "12", **options}
        if times is not None:
            stream.codec_context.time_base = Fraction(1, 100)
        try:
            stream.codec_context.open()
        except av.FFmpegError as error:
            pytest.skip(f"this PyAV's {codec} does not take {options}: {error}")
        for number, image in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            if times is not None:
                frame.pts, frame.time_base = times[number], stream.codec_context.time_base
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def _every_frame(path: Path) -> Frames:
    """All frames by PyAV's own loop."""
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


@pytest.fixture
def in_order(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that were decoded in order."""
    files: list[Path] = []
    decode = video_file._in_order

    def noted(video: VideoFile, *rest: Any) -> dict[int, Frames]:
        files.append(video.path)
        return decode(video, *rest)

    monkeypatch.setattr(video_file, "_in_order", noted)
    return files


X264 = {"preset": "veryfast", "bf": "3"}
X265 = {"preset": "ultrafast", "bf": "3"}
VPX = {"deadline": "realtime", "cpu-used": "8", "b": "300k"}
UNEVEN = [3 * number + number % 2 + (50 if number > 17 else 0) for number in range(COUNT)]
LATE = [500 + 4 * number for number in range(COUNT)]
CASES: dict[str, tuple[bool, dict[str, Any]]] = {
    # name of the file: whether the index serves, and how it is written
    "b_frames.mp4": (True, {"codec": "libx264", **X264}),
    "b_frames.mov": (True, {"codec": "libx264", **X264}),
    "b_frames.mkv": (True, {"codec": "libx264", **X264}),
    "b_frames.ts": (False, {"codec": "libx264", **X264}),
    "b_frames.flv": (False, {"codec": "libx264", **X264}),
    "b_frames.avi": (False, {"codec": "libx264", **X264}),
    "open_gop.mp4": (True, {"codec": "libx264", **X264, "x264-params": "open-gop=1"}),
    "open_gop.mkv": (True, {"codec": "libx264", **X264, "x264-params": "open-gop=1"}),
    "open_gop.ts": (False, {"codec": "libx264", **X264, "x264-params": "open-gop=1"}),
    "intra_refresh.mp4": (False, {"codec": "libx264", "x264-params": "intra-refresh=1:bframes=0"}),
    "interlaced.mp4": (False, {"codec": "libx264", **X264, "x264-params": "tff=1"}),
    "uneven.mp4": (True, {"codec": "libx264", **X264, "times": UNEVEN}),
    "uneven.mkv": (True, {"codec": "libx264", **X264, "times": UNEVEN}),
    "late.mp4": (True, {"codec": "libx264", **X264, "times": LATE}),
    "late.mkv": (True, {"codec": "libx264", **X264, "times": LATE}),
    "late.ts": (False, {"codec": "libx264", **X264, "times": LATE}),
    "ten_bits.mkv": (True, {"codec": "libx264", "pix_fmt": "yuv420p10le", **X264}),
    "all_colours.mp4": (True, {"codec": "libx264", "pix_fmt": "yuv444p", **X264}),
    "grey.mkv": (True, {"codec": "libx264", "pix_fmt": "gray", **X264}),
    "hevc.mp4": (True, {"codec": "libx265", **X265, "x265-params": "open-gop=1:log-level=none"}),
    "vp8.webm": (False, {"codec": "libvpx", **VPX, "auto-alt-ref": "1", "lag-in-frames": "16"}),
    "vp9.webm": (True, {"codec": "libvpx-vp9", "cpu-used": "8", "auto-alt-ref": "1", "lag-in-frames": "16"}),
    "av1.mp4": (True, {"codec": "libsvtav1", "preset": "10"}),
    "mpeg4.avi": (False, {"codec": "mpeg4", "bf": "2"}),
    "mpeg4.mp4": (False, {"codec": "mpeg4", "bf": "2"}),
    "mpeg2.ts": (False, {"codec": "mpeg2video", "bf": "2"}),
    "mpeg1.mpg": (False, {"codec": "mpeg1video", "bf": "2"}),
    "wmv.wmv": (False, {"codec": "wmv2"}),
    "mjpeg.avi": (True, {"codec": "mjpeg", "pix_fmt": "yuvj420p"}),
    "prores.mov": (True, {"codec": "prores_ks", "pix_fmt": "yuv422p10le"}),
}


@pytest.mark.parametrize("name", CASES)
def test_frames_are_exact(tmp_path: Path, in_order: list[Path], numbered: Any, read_numbers: Any, name: str) -> None:
    by_index, how = CASES[name]
    path = tmp_path / name
    _write(path, numbered(COUNT), **how)
    expected = _every_frame(path)
    assert read_numbers(expected) == list(range(COUNT))
    assert probe(path).video_frames == COUNT
    draw = np.random.default_rng(0)
    for wanted in ([0], [COUNT - 1], [13, 11], *(draw.choice(COUNT, 8, replace=False) for _ in range(4))):
        assert np.array_equal(decode_frames(path, wanted), expected[wanted]), wanted
    # Every frame alone: what is decoded before it differs each time.
    for i in range(0, COUNT, 3):
        assert np.array_equal(decode_frames(path, [i])[0], expected[i]), i
    assert (not in_order) == by_index


@pytest.mark.parametrize("name", ["vp9.mkv", "h264.mkv"])
def test_odd_sizes(tmp_path: Path, numbered: Any, read_numbers: Any, name: str) -> None:
    # x264 takes odd sizes only without halved colour planes.
    how = {"codec": "libvpx-vp9", **VPX} if name == "vp9.mkv" else {"codec": "libx264", "pix_fmt": "yuv444p"}
    _write(tmp_path / name, numbered(20, height=49, width=67), **how)
    frames = decode_frames(tmp_path / name, [3, 17])
    assert frames.shape == (2, 49, 67, 3)
    assert read_numbers(frames) == [3, 17]


def test_a_file_too_large_to_keep_is_read_twice(
    tmp_path: Path, in_order: list[Path], numbered: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    _write(tmp_path / "a.mp4", numbered(COUNT), "libx264", **X264)
    monkeypatch.setattr(video_file, "KEPT_BYTES", 100)
    wanted = [39, 3, 20, 4]
    assert np.array_equal(decode_frames(tmp_path / "a.mp4", wanted), _every_frame(tmp_path / "a.mp4")[wanted])
    assert not in_order


def test_only_what_a_frame_needs_is_decoded(tmp_path: Path, numbered: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    _write(tmp_path / "a.mp4", numbered(COUNT), "libx264", preset="veryfast", bf="0", sc_threshold="0")
    with open_video(tmp_path / "a.mp4") as video:
        packets = video_file._read_packets(video)
    assert packets is not None
    assert packets.keys == [0, 12, 24, 36]
    runs = video_file._runs(packets, [1, 2, 14, 38])
    assert [(run.start, run.stop, len(run.wanted)) for run in runs] == [(0, 2, 2), (12, 14, 1), (36, 38, 1)]
    # A run that reaches the next key frame goes on.
    assert [(run.start, run.stop) for run in video_file._runs(packets, [11, 12, 13])] == [(0, 11), (12, 13)]


LYING: dict[str, tuple[tuple[int, int, int, int], Callable[[Frames], Frames]]] = {
    # a, b, c, d of the matrix in the track's header, which shows (x, y) at (ax + cy, bx + dy); and what is shown, of
    # frames (T, H, W, 3).
    "turned clockwise": ((0, 1, -1, 0), lambda frames: np.rot90(frames, -1, axes=(1, 2))),
    "upside down": ((-1, 0, 0, -1), lambda frames: np.rot90(frames, 2, axes=(1, 2))),
    "turned anticlockwise": ((0, -1, 1, 0), lambda frames: np.rot90(frames, 1, axes=(1, 2))),
    "mirrored left to right": ((-1, 0, 0, 1), lambda frames: frames[:, :, ::-1]),
    "mirrored top to bottom": ((1, 0, 0, -1), lambda frames: frames[:, ::-1]),
    "mirrored at the diagonal": ((0, 1, 1, 0), lambda frames: frames.swapaxes(1, 2)),
    "mirrored at the other diagonal": ((0, -1, -1, 0), lambda frames: frames[:, ::-1, ::-1].swapaxes(1, 2)),
    "as stored": ((1, 0, 0, 1), lambda frames: frames),
}


def _lay(path: Path, a: int, b: int, c: int, d: int) -> None:
    """Write a display matrix into an MP4."""
    content = bytearray(path.read_bytes())
    start = content.index(b"tkhd") + 4 + 40  # version, times, number, duration, layer, volume
    struct.pack_into(">5i", content, start, *(65536 * one for one in (a, b, 0, c, d)))
    path.write_bytes(content)


@pytest.mark.parametrize("lying", LYING)
def test_frames_are_shown_as_a_player_shows_them(
    tmp_path: Path, in_order: list[Path], numbered: Any, lying: str
) -> None:
    matrix, show = LYING[lying]
    path = tmp_path / "phone.mp4"
    write_video(path, numbered(12))
    stored = decode_frames(path, [5, 9])
    _lay(path, *matrix)
    shown = show(stored)
    assert np.array_equal(decode_frames(path, [5, 9]), shown)
    assert not in_order
    with open_video(path) as video:
        assert np.array_equal(video_file._in_order(video, [9], 1)[9], shown[1])
    info = probe(path)
    assert (info.height, info.width) == shown.shape[1:3]
    report = inspect_video(VideoJob(path=path, listed=0, frame_sets=(4,)))
    assert (report.height, report.width) == shown.shape[1:3]
    assert extract_video(ExtractJob(source=path, out=tmp_path / "frames", quality=100)).frames == 12
    assert np.abs(decode_frames(tmp_path / "frames", [9])[0].astype(int) - shown[1]).mean() < 3
    if "mirrored" in lying:
        return  # OpenCV reads the angle only
    cv2 = opencv()
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    read = [capture.read()[1][..., ::-1] for _ in range(10)]
    capture.release()
    assert np.abs(read[9].astype(int) - shown[1]).mean() < 2


@pytest.mark.parametrize(
    ("matrix", "orientation"),
    [
        ((0, 0, 0, 0), Orientation()),
        ((3, 1, -1, 3), Orientation()),  # turned by 18 degrees: the nearest quarter
        ((-2, 0, 0, 5), Orientation(mirrored=True)),  # and scaled, which is left out
        ((1, 9, -9, 1), Orientation(swap=True, mirrored=True)),
    ],
)
def test_odd_matrices(matrix: tuple[int, int, int, int], orientation: Orientation) -> None:
    a, b, c, d = matrix
    assert read_display_matrix(struct.pack("=9i", a, b, 0, c, d, 0, 7, 7, 1 << 30)) == orientation
    assert read_display_matrix(b"too short") == Orientation()


def _sound(path: Path, *, cover: bool = False) -> None:
    with av.open(str(path), "w") as container:
        sound = container.add_stream("aac", rate=16000)
        if cover:
            picture = container.add_stream("mjpeg", rate=1)
            picture.width, picture.height, picture.pix_fmt = 32, 32, "yuvj420p"
            picture.disposition = av.stream.Disposition.attached_pic.value
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 16000
        container.mux(sound.encode(frame))
        container.mux(sound.encode(None))
        if cover:
            image = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
            container.mux(picture.encode(image.reformat(format="yuvj420p")))
            container.mux(picture.encode(None))


def test_sound_is_no_video(tmp_path: Path) -> None:
    _sound(tmp_path / "sound.mp4")
    with pytest.raises(DecodeError, match=r"no video in it, only sound$"):
        decode_frames(tmp_path / "sound.mp4", [0])
    _sound(tmp_path / "song.mp4", cover=True)
    for read in (probe, lambda path: decode_frames(path, [0])):
        with pytest.raises(DecodeError, match="no video in it, only sound and a cover picture"):
            read(tmp_path / "song.mp4")


def _no_packets(path: Path) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        container.start_encoding()


def _no_pictures(path: Path) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuvj420p"
        for number in range(5):
            packet = av.Packet(b"not a picture" * 20)
            packet.stream, packet.pts, packet.dts = stream, number, number
            container.mux(packet)


@pytest.mark.parametrize(
    ("make", "reason"), [(_no_packets, "not a video"), (_no_pictures, "opens as a video, but no frame decodes")]
)
def test_no_frames(tmp_path: Path, make: Any, reason: str) -> None:
    make(tmp_path / "none.mkv")
    for read in (probe, lambda path: decode_frames(path, [0])):
        with pytest.raises(DecodeError, match=reason):
            read(tmp_path / "none.mkv")


@pytest.mark.parametrize("name", ["cut.mp4", "cut.mkv", "cut.ts", "cut.avi"])
def test_what_is_left_of_a_file_cut_short(tmp_path: Path, numbered: Any, read_numbers: Any, name: str) -> None:
    """Frames of the part that is there are read and right; the first that is not is named with their number."""
    path = tmp_path / name
    if name == "cut.mp4":
        write_video(path, numbered(COUNT))  # its table of contents comes first
    else:
        _write(path, numbered(COUNT), "libx264" if name != "cut.avi" else "mpeg4")
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])
    left = probe(path).video_frames
    assert 0 < left < COUNT
    # The last frames may show what was there before them: the cut goes through one.
    assert read_numbers(decode_frames(path, range(left - 2))) == list(range(left - 2))
    with pytest.raises(DecodeError, match=f"truncated: wanted frame {left}, only {left} decode"):
        decode_frames(path, [0, left])


@pytest.mark.parametrize("name", ["b_frames.mkv", "b_frames.mp4", "hevc.mp4", "vp9.webm", "mjpeg.avi"])
def test_damage_within_a_file(tmp_path: Path, numbered: Any, name: str) -> None:
    """Nothing worse than an error in words: all frames that are counted can be read."""
    path = tmp_path / name
    _write(path, numbered(COUNT), **CASES[name][1])
    content = bytearray(path.read_bytes())
    draw = np.random.default_rng(0)
    for place in draw.integers(len(content) // 3, len(content) * 2 // 3, 20):
        content[place] ^= int(draw.integers(1, 256))
    path.write_bytes(content)
    try:
        count = probe(path).video_frames
    except DecodeError:
        return
    assert 0 < count <= COUNT
    for wanted in ([0], [count - 1], range(count)):
        assert len(decode_frames(path, wanted)) == len(wanted)


def test_the_container_may_claim_what_it_likes(tmp_path: Path, numbered: Any) -> None:
    """The number of frames and the length in a header are not looked at."""
    path = tmp_path / "liar.mkv"
    _write(path, numbered(COUNT), "libx264")
    content = path.read_bytes()
    length = content.index(b"\x44\x89\x88") + 3  # Matroska's Duration, a double
    path.write_bytes(content[:length] + struct.pack(">d", 9e6) + content[length + 8 :])
    assert probe(path).video_frames == COUNT
    with pytest.raises(DecodeError, match="wanted frame 40, only 40 decode"):
        decode_frames(path, [40])


XVID = sorted((SHARED / "xvid_avi").glob("*/*.avi"))


@pytest.mark.slow
@pytest.mark.skipif(not XVID, reason=f"no XviD files in {SHARED}")
def test_real_xvid_files() -> None:
    assert len(XVID) == 15
    for path in XVID:
        expected = _every_frame(path)
        wanted = np.random.default_rng(0).choice(len(expected), 16, replace=False)
        assert np.array_equal(decode_frames(path, wanted), expected[wanted]), path
        assert np.array_equal(decode_frames(path, range(len(expected))), expected), path
        assert probe(path).video_frames == len(expected)
        cv2 = opencv()
        capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
        for frame in expected:
            assert np.abs(capture.read()[1][..., ::-1].astype(int) - frame).mean() < 2, path
        assert not capture.grab()
        capture.release()
