"""Files that claim, name or contain what no video should: one reason each, and no other file is opened."""

from __future__ import annotations

import io
import os
import struct
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from adafocus_rl.data import ffmpeg, frame_folder, frame_limits, video_file
from adafocus_rl.data.decode import DecodeError, decode_frames, opencv, probe
from adafocus_rl.data.decode_error import DecoderAtWork
from adafocus_rl.data.encode import write_video
from adafocus_rl.data.extract import ExtractJob, extract_video
from adafocus_rl.data.image_header import image_size
from adafocus_rl.data.inspect_video import VideoJob, inspect_video

posix = pytest.mark.skipif(sys.platform == "win32", reason="such names and files do not exist on Windows")

THROWN = [
    ValueError("of a library"),
    MemoryError(),
    OverflowError("too large"),
    RecursionError("too deep"),
    AssertionError("inside a library"),
    SyntaxError("broken PNG file"),
    struct.error("unpack requires 4 bytes"),
    Image.DecompressionBombError("a bomb"),
    av.error.PatchWelcomeError(0x45574150, "Not yet implemented in FFmpeg, patches welcome"),
    OSError(5, "Input/output error"),
    opencv().error("(-4:Insufficient memory) Failed to allocate 12870750000 bytes"),
]


def _ways(path: Path) -> list[str]:
    """What every reader says about a video that cannot be used."""
    reasons = []
    for read in (probe, lambda path: decode_frames(path, [0, 0])):
        with pytest.raises(DecodeError) as caught:
            read(path)
        assert "\n" not in caught.value.reason
        reasons.append(caught.value.reason)
    fault = inspect_video(VideoJob(path=path, listed=0, frame_sets=(2,))).fault
    assert fault is not None
    extracted = extract_video(ExtractJob(source=path, out=path.with_name("extracted"))).fault
    assert extracted is not None
    return [*reasons, fault[1], extracted]


def _png_header(width: int, height: int) -> bytes:
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))


def _encoded(kind: str, image: Image.Image | None = None, **options: Any) -> bytes:
    file = io.BytesIO()
    (image or Image.new("RGB", (40, 24))).save(file, kind, **options)
    return file.getvalue()


def _jpeg_that_claims(width: int, height: int) -> bytes:
    content = bytearray(_encoded("JPEG"))
    struct.pack_into(">HH", content, content.index(b"\xff\xc0") + 5, height, width)
    return bytes(content)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("1.jpg", _jpeg_that_claims(65500, 65500)),
        ("1.png", _png_header(30000, 30000)),
        ("1.jpg", _png_header(7000, 7000)),
    ],
)
def test_an_image_that_claims_too_many_pixels_is_not_decoded(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / "frames").mkdir()
    (tmp_path / "frames" / name).write_bytes(content)
    for reason in _ways(tmp_path / "frames"):
        assert f"{name} has " in reason
        assert "more than 40 million; scale it down" in reason


def test_a_clip_larger_than_memory_is_not_decoded(
    tmp_path: Path, numbered: Any, write_folder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_folder(tmp_path / "frames", numbered(12))
    write_video(tmp_path / "a.mp4", numbered(12))
    # Of 64×48 pixels: ten frames in RGB, and for the film 18 in the decoder, of a byte and a half for each pixel.
    monkeypatch.setattr(frame_limits, "MEMORY", 64 * 48 * 3 * 10)
    assert len(decode_frames(folder, range(10))) == 10
    with pytest.raises(DecodeError, match=r"11 frames of 64×48 pixels at once may take .*adafocus data extract"):
        decode_frames(folder, range(11))
    monkeypatch.setattr(frame_limits, "MEMORY", 64 * 48 * 3 * 19)
    assert len(decode_frames(tmp_path / "a.mp4", range(10))) == 10
    with pytest.raises(DecodeError, match="11 frames of 64×48 pixels"):
        decode_frames(tmp_path / "a.mp4", range(11))


def test_a_video_of_too_many_pixels_is_not_decoded(
    tmp_path: Path, numbered: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_video(tmp_path / "a.mp4", numbered(3))
    monkeypatch.setattr(frame_limits, "FRAME_PIXELS", 64 * 48 - 1)
    for reason in _ways(tmp_path / "a.mp4"):
        assert "its frames have 64×48 pixels" in reason


def test_a_size_that_grows_on_the_way_is_refused_by_the_decoder(
    tmp_path: Path, numbered: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, side in (("small.ts", 48), ("large.ts", 480)):
        write_video(tmp_path / name, numbered(6, height=side))
    (tmp_path / "both.ts").write_bytes((tmp_path / "small.ts").read_bytes() + (tmp_path / "large.ts").read_bytes())
    assert probe(tmp_path / "both.ts").video_frames == 12
    with pytest.raises(DecodeError, match="frame 7 has 480×64 pixels, frame 0 has 48×64"):
        decode_frames(tmp_path / "both.ts", [0, 7])
    monkeypatch.setattr(ffmpeg, "_DECODER_OPTIONS", {"max_pixels": "10000"})
    assert probe(tmp_path / "both.ts").video_frames == 6


def _exr() -> bytes:
    context = av.CodecContext.create("exr", "w")
    context.width, context.height, context.pix_fmt, context.time_base = 40, 24, "gbrpf32le", 1
    frame = av.VideoFrame(40, 24, "gbrpf32le")
    frame.pts = 0
    return b"".join(bytes(packet) for packet in [*context.encode(frame), *context.encode(None)])


PLAYLIST = "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{other}\n#EXT-X-ENDLIST\n"
NO_VIDEOS: dict[str, Callable[[Path], bytes]] = {
    "exr.mp4": lambda _: _exr(),
    "svg.mp4": lambda _: b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>',
    "png.mp4": lambda _: _encoded("PNG"),
    "jpeg.mp4": lambda _: _encoded("JPEG"),
    "webp.mp4": lambda _: _encoded("WEBP", save_all=True, append_images=[Image.new("RGB", (40, 24), "red")]),
    "image.png": lambda _: _encoded("PNG"),
    "image%d.png": lambda _: _encoded("PNG"),
    "text.mp4": lambda _: b"hello\n" * 500,
    "text.txt": lambda _: b"hello\n" * 500,
    "words.srt": lambda _: b"1\n00:00:00,000 --> 00:00:09,000\nhello\n\n" * 9,
    "hls.m3u8": lambda other: PLAYLIST.format(other=other).encode(),
    "hls.mp4": lambda other: PLAYLIST.format(other=other).encode(),
    "concat.mp4": lambda other: f"ffconcat version 1.0\nfile '{other}'\n".encode(),
    "concat.txt": lambda other: f"ffconcat version 1.0\nfile '{other.name}'\n".encode(),
    "dash.mpd": lambda other: (
        f'<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"><Period><AdaptationSet '
        f'mimeType="video/mp4"><Representation id="1" bandwidth="1"><BaseURL>{other}</BaseURL></Representation>'
        f"</AdaptationSet></Period></MPD>"
    ).encode(),
    "session.sdp": lambda _: b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 9 RTP/AVP 96\n",
    "zeros.mp4": lambda _: bytes(5000),
}


@pytest.mark.parametrize("name", NO_VIDEOS)
def test_only_formats_of_videos_are_read(tmp_path: Path, numbered: Any, name: str) -> None:
    write_video(tmp_path / "other.mp4", numbered(4))
    (tmp_path / name).write_bytes(NO_VIDEOS[name](tmp_path / "other.mp4"))
    for reason in _ways(tmp_path / name):
        assert "not a video" in reason or "is not the ending of a video" in reason


@pytest.mark.parametrize("kind", ["GIF", "PNG"])
def test_animations_are_videos(tmp_path: Path, kind: str) -> None:
    pictures = [Image.new("RGB", (40, 24), (20 * i, 0, 0)) for i in range(5)]
    (tmp_path / "a.mp4").write_bytes(
        _encoded(kind, pictures[0], save_all=True, append_images=pictures[1:], duration=80)
    )
    assert probe(tmp_path / "a.mp4").video_frames == 5
    assert decode_frames(tmp_path / "a.mp4", [4, 1])[:, 0, 0, 0].tolist() == pytest.approx([80, 20], abs=2)


@posix
@pytest.mark.parametrize(
    "name",
    [
        "12:30 talk.mp4",
        "http:/127.0.0.1:9/a.mp4",
        "file:a.mp4",
        "concat:other.mp4|other.mp4",
        "subfile,,start,0,end,100,,:other.mp4",
        "async:other.mp4",
        "cache:other.mp4",
        "crypto:other.mp4",
        "pipe:0",
        "data:video/mp4;base64,AAAA",
        "frame%03d.mp4",
        "[a]*?.mp4",
        "-",
        "-i.mp4",
        b"caf\xe9.mp4".decode("utf-8", "surrogateescape"),
    ],
)
def test_a_path_is_a_path(
    tmp_path: Path, numbered: Any, read_numbers: Any, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write_video(Path("other.mp4"), numbered(3))
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_video(Path("own.mp4"), numbered(12))
    Path("own.mp4").rename(path)
    for same in (path, tmp_path / path):
        assert probe(same).video_frames == 12
        assert read_numbers(decode_frames(same, [3, 11])) == [3, 11]
    assert extract_video(ExtractJob(source=path, out=tmp_path / "out")).frames == 12
    path.unlink()
    for reason in _ways(path):
        assert "no such file" in reason or "there is no" in reason


@posix
def test_a_film_is_written_where_its_path_says(tmp_path: Path, numbered: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_video(Path("12:30 talk.mp4"), numbered(3))
    assert [path.name for path in tmp_path.iterdir()] == ["12:30 talk.mp4"]


@posix
def test_only_files_and_folders_are_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    (tmp_path / "circle.mp4").symlink_to(tmp_path / "circle.mp4")
    (tmp_path / "nowhere.mp4").symlink_to(tmp_path / "gone.mp4")
    for path, reason in [
        (tmp_path / "pipe.mp4", "a pipe, a socket or a device"),
        (Path("/dev/zero"), "a pipe, a socket or a device"),
        (tmp_path / "circle.mp4", "cannot be read (Too many levels of symbolic links)"),
        (tmp_path / "nowhere.mp4", "no such file or folder"),
        (tmp_path / ("x" * 300 + ".mp4"), "cannot be read (File name too long)"),
        (tmp_path / "nul\0.mp4", "embedded null"),
        (tmp_path / "lone\ud800.mp4", "cannot be read"),
    ]:
        for read in (probe, lambda path: decode_frames(path, [0])):
            with pytest.raises(DecodeError) as caught:
                read(path)
            assert reason in caught.value.reason


@posix
@pytest.mark.parametrize("kind", ["pipe", "folder", "circle", "nowhere", "device"])
def test_a_frame_that_is_no_file_is_named(tmp_path: Path, numbered: Any, write_folder: Any, kind: str) -> None:
    folder = write_folder(tmp_path / "frames", numbered(4))
    odd = sorted(folder.iterdir())[1]
    odd.unlink()
    make: dict[str, Callable[[], Any]] = {
        "pipe": lambda: os.mkfifo(odd),
        "folder": odd.mkdir,
        "circle": lambda: odd.symlink_to(odd),
        "nowhere": lambda: odd.symlink_to(tmp_path / "gone"),
        "device": lambda: odd.symlink_to("/dev/zero"),
    }
    make[kind]()
    with pytest.raises(DecodeError, match=odd.name):
        decode_frames(folder, [0, 1])
    fault = inspect_video(VideoJob(path=folder, listed=0, frame_sets=(2,))).fault
    assert fault is not None
    assert odd.name in fault[1]
    assert odd.name in (extract_video(ExtractJob(source=folder, out=tmp_path / "out")).fault or "")


@pytest.mark.parametrize("thrown", THROWN, ids=lambda error: type(error).__name__)
def test_whatever_a_decoder_throws_the_video_is_named(
    tmp_path: Path, numbered: Any, write_folder: Any, monkeypatch: pytest.MonkeyPatch, thrown: Exception
) -> None:
    def throws(*_: Any, **__: Any) -> None:
        raise thrown

    folder = write_folder(tmp_path / "frames", numbered(3))
    write_video(tmp_path / "a.mp4", numbered(3))
    with monkeypatch.context() as patch:
        patch.setattr(opencv(), "imdecode", throws)
        for reason in _ways(folder):
            assert "cannot be decoded (" in reason
    (tmp_path / "cut").mkdir()
    (tmp_path / "cut" / "1.jpg").write_bytes(_encoded("JPEG") + bytes(100))
    with monkeypatch.context() as patch:
        patch.setattr(frame_folder.PillowImage, "open", throws)
        assert all("1.jpg is cut short (" in reason for reason in _ways(tmp_path / "cut"))
    with monkeypatch.context() as patch:
        patch.setattr(ffmpeg.av, "open", throws)
        assert all("not a video" in reason for reason in _ways(tmp_path / "a.mp4"))
    with pytest.raises(DecodeError, match=r"^a: it cannot be decoded \([^\n]+\)$"), DecoderAtWork(Path("a")):
        raise thrown


def test_a_fault_of_ours_is_not_the_videos(tmp_path: Path, numbered: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fault(*_: Any) -> None:
        raise KeyError("ours")

    write_video(tmp_path / "a.mp4", numbered(3))
    monkeypatch.setattr(video_file, "_runs", fault)
    with pytest.raises(KeyError, match="ours"):
        decode_frames(tmp_path / "a.mp4", [0])


def _patched(content: bytes, box: bytes, offset: int, layout: str, *values: int) -> bytes:
    """An MP4 with other numbers in a box, `offset` bytes behind its name."""
    changed = bytearray(content)
    struct.pack_into(layout, changed, changed.index(box) + 4 + offset, *values)
    return bytes(changed)


@pytest.mark.parametrize(
    "claim",
    [
        (b"stts", 8, ">II", 10**9, 1),  # frames
        (b"stts", 8, ">II", 10, 0x7FFFFFFF),  # time from one to the next
        (b"stts", 8, ">II", 10, 0xFFFFFFF0),  # backwards
        (b"stsz", 8, ">I", 10**9),  # sizes of frames in a table that is not there
        (b"stsz", 4, ">II", 1, 10**9),  # frames of one byte
        (b"mdhd", 12, ">II", 0, 0),  # ticks per second
        (b"mdhd", 12, ">II", 1, 0xFFFFFFFF),
        (b"tkhd", 76, ">II", 0xFFFFFFFF, 0xFFFFFFFF),  # width and height
        (b"avc1", 24, ">HH", 65535, 65535),
        (b"stco", 4, ">II", 1, 0xFFFFFFFF),  # where the frames are
    ],
)
def test_a_header_may_say_what_it_likes(tmp_path: Path, numbered: Any, claim: Any) -> None:
    write_video(tmp_path / "a.mp4", numbered(10))
    (tmp_path / "a.mp4").write_bytes(_patched((tmp_path / "a.mp4").read_bytes(), *claim))
    try:
        count = probe(tmp_path / "a.mp4").video_frames
    except DecodeError:
        return
    assert 0 < count <= 10
    assert decode_frames(tmp_path / "a.mp4", range(count)).shape == (count, 48, 64, 3)


@pytest.mark.parametrize(
    ("kind", "image"),
    [
        ("JPEG", Image.new("CMYK", (40, 24))),
        ("PNG", Image.fromarray(np.full((24, 40), 65535, np.uint16))),
        ("PNG", Image.new("P", (40, 24))),
        ("PNG", Image.new("LA", (40, 24))),
        ("PNG", Image.new("1", (40, 24))),
        ("WEBP", Image.new("RGB", (40, 24))),
        ("BMP", Image.new("RGB", (40, 24))),
    ],
)
def test_images_of_all_kinds_become_rgb(tmp_path: Path, kind: str, image: Image.Image) -> None:
    content = _encoded(kind, image)
    assert image_size(content) == (40, 24)
    (tmp_path / "1.jpg").write_bytes(content)
    assert decode_frames(tmp_path, [0]).shape == (1, 24, 40, 3)


def test_the_size_of_a_jpeg_is_found_behind_other_segments() -> None:
    plain = _encoded("JPEG", progressive=True)
    thumbnail = b"\xff\xe1" + struct.pack(">H", 2 + len(plain)) + plain
    other = _jpeg_that_claims(300, 200)
    assert image_size(other[:2] + thumbnail + b"\0\xff\xff" + other[3:]) == (300, 200)
    for broken in (
        b"\xff\xd8",
        b"\xff\xd8\xff",
        b"\xff\xd8\xff\xc0\0",
        b"\xff\xd8\xff\xe1\0",
        b"\x89PNG\r\n\x1a\n",
        b"",
    ):
        with pytest.raises(ValueError, match="it "):
            image_size(broken)


def test_a_part_of_a_png_takes_no_more_memory_than_an_image_may() -> None:
    whole = opencv().imencode(".png", np.zeros((2, 4, 3), np.uint8))[1].tobytes()
    assert image_size(whole) == (4, 2)
    at = whole.index(b"IDAT") - 4
    with pytest.raises(ValueError, match="claims 2147483647 bytes"):
        image_size(whole[:at] + b"\x7f\xff\xff\xff" + whole[at + 4 :])
