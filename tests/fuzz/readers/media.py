"""Videos, images, folders of frames, and texts that a decoder could take for a list of places to read from."""

from __future__ import annotations

import os
import shutil
import struct
import zlib
from pathlib import Path
from random import Random

from fuzz.cases import Case, reader
from fuzz.corpus import Corpus
from fuzz.mutate_bytes import mutate_bytes, mutate_header, word
from fuzz.readers.calls import command, one_of


def _decode(rng: Random, corpus: Corpus, folder: Path, path: Path, *, refuse: bool = False) -> Case:
    """Decoded by the function that all commands decode with, or recognised by the command."""
    kind = rng.random()
    if kind < 0.8:

        def decode() -> None:
            from adafocus_rl.data.decode import DecodeError, decode_frames, probe
            from adafocus_rl.errors import UserError

            try:
                if kind < 0.2:
                    probe(path)
                else:
                    decode_frames(path, [0, 2, 5, 2])
            except DecodeError as error:
                # What whoever decodes makes of it: named, counted, left out.
                raise UserError(str(error)) from error

        return Case(call=decode, names=(path.name,), refuse=refuse)
    if refuse:

        def nothing_recognised() -> int:
            if command("predict", corpus.run, path)() == 0:
                raise AssertionError(f"{path.name} was recognised")
            return 0

        return Case(call=nothing_recognised)
    (folder / "list.csv").write_text(
        f"path,label\n{corpus.data / '0.mp4'},0\n{_cell(path)},1\n", errors="surrogateescape"
    )
    action = one_of(
        rng,
        ["predict", corpus.run, path],
        [
            "data",
            "check",
            folder / "list.csv",
            "--workers",
            "0",
            "--videos",
            "0",
            "--depth",
            rng.choice(("quick", "all")),
        ],
        ["data", "extract", folder / "list.csv", "--out", folder / "out", "--workers", "0"],
    )
    return Case(call=command(*action))


def _cell(path: Path) -> str:
    return '"' + str(path).replace('"', '""') + '"'


@reader("videos", weight=16)
def videos(rng: Random, corpus: Corpus, folder: Path) -> Case:
    """Damaged videos in every container that FFmpeg writes here."""
    sources = sorted(corpus.media.glob("v.*"))
    source = rng.choice(sources)
    content = source.read_bytes()
    others = [path.read_bytes() for path in sources]
    kind = rng.random()
    if kind < 0.25:
        content = mutate_header(rng, content, rng.choice((32, 200, 1000)))
    elif kind < 0.85:
        content = mutate_bytes(rng, content, others)
    elif kind < 0.9:
        content = rng.choice(others) + content
    elif kind < 0.95:
        content = _large_mp4(rng, content) if source.suffix == ".mp4" else content[: rng.randrange(300)]
    else:
        content = rng.randbytes(rng.choice((1, 100, 5000)))
    ending = source.suffix if rng.random() < 0.7 else rng.choice((".mp4", ".avi", ".exr", ".txt", ".mkv", "", ".jpg"))
    path = folder / f"clip{ending}"
    path.write_bytes(content)
    return _decode(rng, corpus, folder, path)


def _large_mp4(rng: Random, content: bytes) -> bytes:
    """Other sizes, durations and rates in the boxes that hold them."""
    for box in rng.sample(
        (b"tkhd", b"mvhd", b"mdhd", b"stts", b"stsz", b"stco", b"avc1", b"ctts", b"elst", b"avcC"), 3
    ):
        at = content.find(box)
        if at >= 0:
            at += rng.randrange(4, 90)
            content = (
                content[:at]
                + rng.choice((b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\0\0", b"\xff\xfe"))
                + content[at + 4 :]
            )
    return content


@reader("playlists", weight=5)
def playlists(rng: Random, corpus: Corpus, folder: Path) -> Case:
    """Texts that name other videos, under any ending, and names that are addresses to FFmpeg."""
    secret, port = corpus.outside / "secret.mp4", os.environ["FUZZ_PORT"]
    targets = (
        str(secret),
        f"file:{secret}",
        f"http://127.0.0.1:{port}/v.mp4",
        f"tcp://127.0.0.1:{port}",
        f"concat:{secret}",
        f"subfile,,start,0,end,0,,:{secret}",
        f"rtmp://127.0.0.1:{port}/x",
        f"crypto:{secret}",
        "data:video/mp4;base64,AAAA",
        f"udp://127.0.0.1:{port}",
        f"async:{secret}",
        f"cache:{secret}",
        "pipe:0",
        "fd:0",
        f"ffrtmphttp://127.0.0.1:{port}/",
        f"hls+http://127.0.0.1:{port}/x.m3u8",
        f"rtsp://127.0.0.1:{port}/x",
        f"md5:{secret}",
        f"tee:{secret}",
        "lavfi:testsrc",
    )
    target = rng.choice(targets)
    if rng.random() < 0.5:
        # A file beside it is no more meant than any other.
        ending = rng.choice((".mp4", ".ts", ".mkv"))
        shutil.copy(corpus.media / f"v{ending}", folder / f"local{ending}")
        target = rng.choice((f"local{ending}", f"./local{ending}", str(folder / f"local{ending}")))
    elif rng.random() < 0.6:
        # The name itself is the address; sometimes there is a file of that very name, which is then what is meant.
        target = rng.choice(targets[1:])
        path = Path(target) if rng.random() < 0.5 else folder / target
        there = rng.random() < 0.4 and _file_called(Path(target), corpus)
        return (
            _decode(rng, corpus, folder, path) if there else _decode(rng, corpus, folder, folder / target, refuse=True)
        )
    text = rng.choice(
        (
            f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{target}\n#EXT-X-ENDLIST\n",
            f"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n{target}\n",
            f"ffconcat version 1.0\nfile '{target}'\n",
            f"file '{target}'\n",
            f"ffconcat version 1.0\nfile {target}\nduration 1\nfile {target}\n",
            f'#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-MAP:URI="{target}"\n#EXTINF:1,\n{target}\n#EXT-X-ENDLIST\n',
            f'<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"><Period><AdaptationSet>'
            f"<Representation><BaseURL>{target}</BaseURL></Representation></AdaptationSet></Period></MPD>",
            "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\n"
            f"m=video {port} RTP/AVP 96\na=rtpmap:96 H264/90000\n",
            f"[playlist]\nFile1={target}\n",
            f"{target}\n",
            "plain text and nothing else " * 40,
            "\x1b[1mANSI art\x1b[0m\n" * 20,
            f";FFMETADATA1\ntitle={target}\n",
            f"<ASX><Entry><Ref href='{target}'/></Entry></ASX>",
            f"<?xml version='1.0'?><svg xmlns='http://www.w3.org/2000/svg'><image href='{target}'/></svg>",
            f"!<symlink>{target}",
            f"RTSP/1.0 200 OK\nLocation: {target}\n",
            f"avs: FFmpegSource2('{target}')",
            f"movie={target}",
            f"{secret.name}",
        )
    )
    endings = (
        ".mp4",
        ".m3u8",
        ".avi",
        ".txt",
        ".ffconcat",
        ".mpd",
        ".sdp",
        ".ts",
        ".avs",
        ".svg",
        "",
        ".ass",
        ".nfo",
        ".ans",
        ".srt",
    )
    path = folder / f"clip{rng.choice(endings)}"
    path.write_text(text)
    return _decode(rng, corpus, folder, path, refuse=True)


def _file_called(path: Path, corpus: Corpus) -> bool:
    """Whether a real video can lie under that name in the working directory, and now does."""
    if path.is_absolute():
        return False
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(corpus.data / "0.mp4", path)
    except OSError:
        return False
    return True


def _png(width: int, height: int, *, depth: int = 8, colour: int = 2, data: bytes = b"") -> bytes:
    """A PNG that claims a size."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def _bomb(rng: Random) -> bytes:
    """An image that says, truly or not, that it is very large."""
    side = rng.choice((0, 1, 16384, 30000, 65500, 2**31 - 1))
    other = rng.choice((side, 1, 8))
    rows = zlib.compress(b"\0" * 100_000_000 if side == 30000 and rng.random() < 0.3 else b"\0" * 1000)
    return _png(side, other, depth=rng.choice((1, 8, 16, 77)), colour=rng.choice((0, 2, 3, 6, 9)), data=rows)


@reader("images", weight=8)
def images(rng: Random, corpus: Corpus, folder: Path) -> Case:
    """Folders of frames with damaged, wrong and huge images."""
    frames = Path(shutil.copytree(corpus.media / "frames", folder / rng.choice(("frames", "a [b]", "x.mp4", "λ"))))
    sources = sorted(corpus.media.glob("i.*"))
    for _ in range(rng.choice((1, 1, 2, 6))):
        path = rng.choice(sorted(frames.iterdir()))
        source = rng.choice(sources)
        kind = rng.random()
        if kind < 0.4:
            path.write_bytes(mutate_bytes(rng, path.read_bytes()))
        elif kind < 0.55:
            path.write_bytes(_bomb(rng))
        elif kind < 0.65:
            # A JPEG that claims another size: two bytes each after the start-of-frame marker.
            content = path.read_bytes()
            at = content.find(b"\xff\xc0") + 5
            path.write_bytes(
                content[:at]
                + struct.pack(">HH", *rng.choice(((65500, 65500), (0, 0), (1, 65535), (30000, 30000))))
                + content[at + 4 :]
            )
        elif kind < 0.8:
            path.write_bytes(mutate_bytes(rng, source.read_bytes()))
        elif kind < 0.85:
            path.unlink()
        else:
            name = rng.choice(
                ("image_99999999999999999999.jpg", "image_00003.png", ".jpg", "x.jpg", "image_-1.jpg", "1.jpg")
            )
            shutil.copy(source, frames / name)
        if not any(frames.iterdir()):
            break
    if rng.random() < 0.1 and (found := sorted(frames.iterdir())):
        path = rng.choice(found)
        path.unlink()
        rng.choice(
            (path.mkdir, lambda: os.mkfifo(path), lambda: path.symlink_to(path), lambda: path.symlink_to("/dev/zero"))
        )()
    if rng.random() < 0.15:
        single = folder / f"single{rng.choice(sources).suffix}"
        single.write_bytes(_bomb(rng) if rng.random() < 0.5 else mutate_bytes(rng, rng.choice(sources).read_bytes()))
        return _decode(rng, corpus, folder, single)
    if rng.random() < 0.1:
        (folder / "list.csv").write_text(f"path,label\n{_cell(frames)},0\n")
        call = command("data", "check", folder / "list.csv", "--workers=0", "--videos=0", f"--template={word(rng)}")
        return Case(call=call, names=("template",))
    return _decode(rng, corpus, folder, frames)
