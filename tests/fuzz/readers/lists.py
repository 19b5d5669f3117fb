"""Lists of videos in every format, annotations, class names, boxes."""

from __future__ import annotations

import gzip
import json
import struct
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any, get_args

from fuzz.cases import Case, reader
from fuzz.corpus import Corpus
from fuzz.mutate_bytes import NAMES, mutate_bytes, mutate_header, mutate_text, word
from fuzz.mutate_trees import mutate_tree, to_json
from fuzz.readers.calls import command

LISTS = {
    "csv": "path,label,num_frames,group\n0.mp4,0,6,a\n1.mp4,1,,b\nframes/x,0;1,4,\n\"a,b.mp4\",1,0,c\n",
    "comma": "v_0,150,3\nv_1,20,0,1\nv_2,7,5\n",
    "space": "0.mp4 6 0\na b/1.mp4 6 1\nv_2 20 3 4 5\n2.mp4 1\n",
    "semicolon": "100218;Drumming Fingers\n12;1\nx/1.mp4;20;3\npath;label\n1 finger;2 fingers\n",
}  # fmt: skip
"""By format: a list that is right."""

CLASSES = {
    "classes.txt": "walk\nrun\njump\nDrumming Fingers\n1 finger\n",
    "classInd.txt": "0,walk\n1,run\n2,jump\n",
    "category.txt": "walk\nrun\n",
    "jester-v1-labels.csv": "walk\nDrumming Fingers\n",
    "labels.json": '{"walk": "0", "run": "1"}',
}
"""By file name: class names that are right."""


def _endless(rng: Random, text: str) -> bytes:
    """Sometimes what no list has: a line, a number of lines or a value without end."""
    kind = rng.random()
    if kind < 0.02:
        return text.encode() + b"x" * 3_000_000
    if kind < 0.03:
        return text.encode() + b"y.mp4,0\n" * 100_000
    return mutate_text(rng, text)


def _write_list(rng: Random, folder: Path, content: bytes, suffixes: tuple[str, ...] = (".csv", ".txt", "")) -> Path:
    name = rng.choice(("list", "list", "train", "a b", "λ", "[x]"))
    path = folder / f"{name}{rng.choice(suffixes)}"
    if rng.random() < 0.1:
        path = path.with_name(path.name + ".gz")
        packed = gzip.compress(content)
        content = rng.choice((packed, content, mutate_bytes(rng, packed), packed + content, packed[:-5]))
        if rng.random() < 0.05:
            content = gzip.compress(b"\0" * (1 << 20)) * 3000  # 3 GB
    path.write_bytes(content)
    return path


def _beside(rng: Random, folder: Path) -> None:
    """Sometimes class names beside the list, right or not."""
    if rng.random() < 0.4:
        name, text = rng.choice(list(CLASSES.items()))
        (folder / name).write_bytes(text.encode() if rng.random() < 0.6 else mutate_text(rng, text))


def _read(path: Path, **options: Any) -> Callable[[], object]:
    def call() -> None:
        from adafocus_rl.data.index import missing, read_boxes
        from adafocus_rl.data.read import read_index

        index = read_index(path, **options)
        index.hash()
        missing(index)
        read_boxes(index)

    return call


def _either(rng: Random, path: Path, folder: Path, corpus: Corpus, *, others: tuple[str, ...] = ()) -> Case:
    """Read by the function that all commands read with, or checked by the command."""
    from adafocus_rl.data.formats import ListFormat

    names = (path.name, "classes.txt", *others)
    if rng.random() < 0.75:
        options = {
            "format": rng.choice(get_args(ListFormat)) if rng.random() < 0.3 else "auto",
            "split": rng.choice((None, "train", "val")),
            "template": rng.choice((None, None, None, "image_{:05d}.jpg", "{", "{:d}{:d}", "x", word(rng))),
        }
        return Case(call=_read(path, **options), names=(*names, "template"))
    val = ["--val", str(corpus.data / "val.csv")] if rng.random() < 0.4 else []
    extra = ["--json"] if rng.random() < 0.3 else []
    fast = ["--workers", "0", "--videos", rng.choice("012"), "--depth", "quick"]
    return Case(call=command("data", "check", path, *val, *fast, *extra), names=(*names, "val.csv"))


@reader("lists", weight=14)
def lists(rng: Random, corpus: Corpus, folder: Path) -> Case:
    """CSV, comma, space and semicolon lists."""
    _beside(rng, folder)
    content = _endless(rng, rng.choice(list(LISTS.values())))
    return _either(rng, _write_list(rng, folder, content), folder, corpus, others=tuple(CLASSES))


@reader("annotations", weight=8)
def annotation_files(rng: Random, corpus: Corpus, folder: Path) -> Case:
    """ActivityNet's and Something-Something's JSON."""
    segments = [{"label": "walk", "segment": [0.5, 3.0]}, {"label": "run", "segment": [1, 2]}]
    database = {
        name: {"subset": subset, "duration": 12.5, "annotations": segments, "url": "x"}
        for name, subset in (("v_0", "training"), ("v_1", "validation"), ("v_2", "testing"))
    }
    something = [
        {
            "id": str(number),
            "label": "putting a cup",
            "template": "Putting [something] there",
            "placeholders": ["a cup"],
        }
        for number in range(3)
    ]
    tree = rng.choice(({"version": "1.3", "database": database}, database, something))
    names = ("walk", "../x", "a\x00b", "\ud800", "n" * 5000, "v_0")
    _beside(rng, folder)
    content = to_json(rng, mutate_tree(rng, tree, values=names))
    return _either(rng, _write_list(rng, folder, content, (".json", ".txt")), folder, corpus, others=tuple(CLASSES))


@reader("class-names", weight=5)
def class_names(rng: Random, corpus: Corpus, folder: Path) -> Case:
    """Files of class names, read by themselves and beside a list."""
    name, text = rng.choice(list(CLASSES.items()))
    path = folder / name
    if name.endswith(".json"):
        tree = rng.choice((json.loads(text), ["walk", "run"]))
        path.write_bytes(to_json(rng, mutate_tree(rng, tree)))
    else:
        path.write_bytes(mutate_text(rng, text))
    (folder / "list.csv").write_text("path,label\n0.mp4,0\n1.mp4,1\n")
    (folder / "named.csv").write_text("0.mp4;walk\n1.mp4;run\n")
    listed = folder / rng.choice(("list.csv", "named.csv"))
    names = (*CLASSES, listed.name)
    if rng.random() < 0.5:
        return Case(call=_read(listed, classes=path), names=names)

    def alone() -> None:
        from adafocus_rl.data.class_names import read_class_names

        found = read_class_names(path)
        found.label("walk")
        found.note()
        found.unknown("wlak")

    return Case(call=alone, names=names)


@reader("boxes", weight=5)
def boxes(rng: Random, corpus: Corpus, folder: Path) -> Case:
    """Files of true boxes."""
    counts = rng.choice(("6", "", "0"))
    (folder / "list.csv").write_text(f"path,label,num_frames\n0.mp4,0,{counts}\n1.mp4,1,{counts}\n")
    rows = "".join(f"{video}.mp4,{frame},2,3.5,8,8\n" for video in range(2) for frame in range(4))
    (folder / "list_boxes.csv").write_bytes(_endless(rng, f"path,frame,top,left,height,width\n{rows}"))
    return Case(call=_read(folder / "list.csv"), names=("list_boxes.csv",))


@reader("own-folders", weight=3)
def own_folders(rng: Random, corpus: Corpus, folder: Path) -> Case:
    """``data index`` of folders and tables of anybody's own."""
    source = folder / "videos"
    for _ in range(rng.randrange(1, 5)):
        label, name = (_usable(rng.choice(NAMES)) if rng.random() < 0.5 else rng.choice(("walk", "run")) for _ in "ab")
        for number in range(rng.randrange(3)):
            path = source / label / f"{name}{number}.mp4"
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(b"x")
            except (OSError, ValueError):
                continue
    source.mkdir(exist_ok=True)
    kept = {}
    if rng.random() < 0.3:
        kept = {source / "train.csv": b"path,label\nkept.mp4,0\n", source / "classes.txt": b"kept\n"}
        for path, content in kept.items():
            path.write_bytes(content)
    extra = rng.choice(([], ["--json"], ["--overwrite"], ["--val", rng.choice(("0.5", "nan", "-1", "1", "inf"))]))
    if rng.random() < 0.4:
        table = "path,label,group,fold\nwalk/a.mp4,walk,g,0\nrun/b.mp4,run,h,1\n"
        (folder / "table.csv").write_bytes(mutate_text(rng, table))
        extra += ["--fold", rng.choice(("0", "1", "x"))] if rng.random() < 0.4 else []
        # What is wrong may be in the names, so any of the values may be what a sentence names.
        return Case(call=command("data", "index", folder / "table.csv", "--out", folder / "lists", *extra))
    run = command("data", "index", source, *extra)

    def whole_or_not_at_all() -> int:
        code = run()
        if code == 2 and any(path.read_bytes() != content for path, content in kept.items()):
            raise AssertionError("refused, and the lists that were there are not as they were")
        return code

    return Case(call=whole_or_not_at_all)


def _usable(name: str) -> str:
    """A name that a file may have."""
    return name.replace("/", "∕").replace("\0", "0")[:100] or "x"


@reader("products", weight=2)
def products(rng: Random, corpus: Corpus, folder: Path) -> Case:
    """The files of Fashion-MNIST, which ``adafocus data make moving_products`` reads, one of them damaged."""
    names = [f"{part}-{kind}-ubyte" for part in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")]
    damaged = rng.choice(names)
    for name in names:
        axes, count = (3 if "images" in name else 1), 10
        header = struct.pack(f">BBBB{axes}I", 0, 0, 8, axes, *((count, 28, 28) if axes == 3 else (count,)))
        content = header + (bytes(range(count)) if axes == 1 else b"\x80" * (count * 28 * 28))
        if name == damaged:
            content = mutate_header(rng, content, len(header)) if rng.random() < 0.5 else mutate_bytes(rng, content)
        packed = rng.random() < 0.3
        (folder / f"{name}{'.gz' * packed}").write_bytes(gzip.compress(content) if packed else content)

    def read() -> None:
        from adafocus_rl.data.fashion_mnist import read_fashion_mnist

        read_fashion_mnist.__wrapped__(str(folder))

    return Case(call=read, names=tuple(names))
