"""What lies in a run folder beside its configuration and checkpoints: banks, records, results, metrics."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from adafocus_rl.checksums import checksum_of, read_sealed, write_sealed
from adafocus_rl.data.clip_source import ClipSource
from adafocus_rl.errors import UserError
from adafocus_rl.features.known import KnownRows
from adafocus_rl.features.manifest import digest, read_manifest, shard_count, videos_in_shard
from adafocus_rl.features.shards import shard_folder
from adafocus_rl.features.sources import Sources, write_sources
from adafocus_rl.features.store import TableStore
from fuzz.cases import Case, reader
from fuzz.corpus import Corpus
from fuzz.mutate_bytes import mutate_bytes, mutate_text
from fuzz.mutate_trees import mutate_tree, to_json
from fuzz.old_banks import as_old
from fuzz.readers.calls import command, one_of
from fuzz.readers.weights import attack_checkpoint

_CHANGES: tuple[Callable[[Any], Any], ...] = (
    lambda t: t.astype("<f8"), lambda t: t.astype("<i8"), lambda t: t[:0], lambda t: t[None], lambda t: t.T,
    lambda t: t.astype(">f4"), lambda t: t.astype("c8"), lambda t: t.astype("S3"), np.asfortranarray,
    lambda t: np.concatenate([t, t]), lambda t: -t.astype("<i8"), lambda t: t.astype("<i8") + 10**9,
    lambda t: np.full_like(t, np.nan) if t.dtype.kind == "f" else t * 0 + 1,
)  # fmt: skip
"""Tables of other types, shapes and numbers."""


def _npy(rng: Random, path: Path) -> None:
    """Another header, other numbers or other bytes in a table; sometimes a table that NumPy writes anew."""
    content = path.read_bytes()
    kind = rng.random()
    if kind < 0.3:
        table = np.load(path)
        with contextlib.suppress(TypeError, ValueError):
            np.save(path, rng.choice(_CHANGES)(table))
        return
    if kind < 0.65:
        header = rng.choice(
            (
                b"'descr': '|O'",
                b"'descr': '<f2', 'x': 1",
                b"'shape': (10000000000,)",
                b"'shape': (-1, 4)",
                b"'descr': 'V999999999'",
                b"'shape': __import__('os').system('id > owned')",
                b"'shape': (2,)",
                b"'fortran_order': True",
                b"'descr': [('a', '<f2')]",
                b"'shape': " + b"(" * 500,
                b"\0" * 20,
            )
        )
        old = header.split(b":")[0]
        at = content.find(old) if old else 10
        end = content.find(b"), }" if b"shape" in old else b",", at)
        if at >= 0:
            new = content[:at] + header + content[max(at, end + (b"shape" in old)) :]
            # The header keeps its length, so that what it says is what is wrong.
            size = len(content) - int.from_bytes(content[8:10], "little") - 10
            body = new[10 : len(new) - size].rstrip(b" \n")
            body = (
                body[: int.from_bytes(content[8:10], "little") - 1].ljust(int.from_bytes(content[8:10], "little") - 1)
                + b"\n"
            )
            path.write_bytes(content[:10] + body + content[len(content) - size :])
        return
    path.write_bytes(mutate_bytes(rng, content))


def _agree(shard: Path, manifest: Mapping[str, Any] | None = None) -> None:
    """Makes a done mark say of tables and manifest what is so: who changes them on purpose can change the mark."""
    mark = shard / "done.json"
    with contextlib.suppress(UserError, OSError, TypeError, AttributeError):
        content, _ = read_sealed(mark, "mark")
        tables = {path.name: path for path in shard.glob("*.npy") if path.is_file()}
        content["bytes"] = {name: path.stat().st_size for name, path in tables.items()}
        content["checksums"] = {name: checksum_of(path) for name, path in tables.items()}
        if manifest is not None:
            content["manifest"] = digest(manifest)
        write_sealed(mark, content)


def _attack_json(rng: Random, path: Path) -> Any:
    """Spoil a JSON file; return its new content if its checksum is right."""
    text = path.read_text()
    tree = mutate_tree(rng, json.loads(text), values=("../../x", "/etc/passwd", 10**12))
    if rng.random() < 0.5 and isinstance(tree, dict):
        with contextlib.suppress(ValueError, RecursionError):
            tree.pop("checksum", None)
            write_sealed(path, tree)
            return tree
    else:
        path.write_bytes(to_json(rng, tree) if rng.random() < 0.8 else mutate_text(rng, text))
    return None


def _attack_table(rng: Random, table: Path) -> Path:
    """Spoil a file of a table, and return it."""
    shard = rng.choice(sorted(table.glob("shard_*")))
    kind = rng.random()
    if kind < 0.25:
        path = table / "manifest.json"
        tree = _attack_json(rng, path)
        if tree is not None and rng.random() < 0.7:
            with contextlib.suppress(ValueError, RecursionError):
                for one in table.glob("shard_*"):
                    _agree(one, tree)
    elif kind < 0.52:
        path = shard / "done.json"
        _attack_json(rng, path)
    else:
        path = rng.choice(sorted(shard.glob("*.npy")))
        if rng.random() < 0.1:
            path.unlink()
            with contextlib.suppress(OSError):
                rng.choice((path.mkdir, lambda: os.mkfifo(path), lambda: path.symlink_to(path), lambda: None))()
        else:
            _npy(rng, path)
            if rng.random() < 0.6:
                _agree(shard)
    return path


@reader("banks", weight=7)
def banks(rng: Random, corpus: Corpus, folder: Path) -> Case:
    """Feature banks: manifests, done marks, tables, and the note of where they lie."""
    run = corpus.copy(corpus.run, folder / "run")
    bank = run / "features" / rng.choice(("train", "val"))
    if rng.random() < 0.25:
        as_old(bank, rng.choice((1, 2)))
    if rng.random() < 0.06:
        path = run / "features.json"
        path.write_text(json.dumps({"store": str(run / "features" / "train"), "index": {"train": "0", "val": "0"}}))
        _attack_json(rng, path)
    else:
        path = _attack_table(rng, rng.choice(sorted(path.parent for path in bank.rglob("manifest.json"))))
    names = (path.name, "features", "bank")
    if rng.random() < 0.55:
        return Case(call=command("features", "check", run), names=names)

    def opened() -> None:
        import torch

        from adafocus_rl.features import FeatureBank

        found = FeatureBank(bank, device=torch.device("cpu"), resident=rng.choice(("always", "never")))
        for episodes in found.batches(3):
            episodes.full()

    return Case(call=opened, names=names)


@reader("copies", weight=2)
def copies(rng: Random, corpus: Corpus, folder: Path) -> Case:
    """Feature banks at a URL."""
    run, there = corpus.copy(corpus.run, folder / "run"), folder / "there"
    there.mkdir()
    for path in (run / "features").glob("*/*/manifest.json"):
        shutil.move(path.parent, TableStore(there, shared=True).path(read_manifest(path.parent)))
    path = _attack_table(rng, rng.choice(sorted(there.iterdir())))
    return Case(call=command("features", "pull", run, f"file://{there}"), names=(path.name, "there", "features"))


@reader("known rows", weight=1)
def known_rows(rng: Random, corpus: Corpus, folder: Path) -> Case:
    """Tables of other lists in a shared store, of which rows are copied."""
    bank = corpus.copy(corpus.run, folder / "run") / "features" / "val"
    store = TableStore(folder / "there", shared=True)
    store.folder.mkdir()
    manifests = {}
    for path in sorted(bank.glob("*/manifest.json")):
        manifest = read_manifest(path.parent)
        for number in range(shard_count(manifest)):
            clips = [ClipSource(str(row), "") for row in range(videos_in_shard(manifest, number))]
            write_sources(shard_folder(path.parent, number), Sources("", clips))
        manifests[path.parent.name] = {**manifest, "index": "another", "boxes": None}
        shutil.move(path.parent, store.path(manifest))
    table = rng.choice(sorted(store.folder.iterdir()))
    if rng.random() < 0.4:
        path = rng.choice(sorted(table.glob("shard_*/sources.json")))
        _attack_json(rng, path)
    else:
        path = _attack_table(rng, table)

    def copied() -> None:
        known = KnownRows(store, manifests, {row: ClipSource(str(row), "") for row in range(10)})
        for name in manifests:
            if rows := sorted(known.rows([name], range(10))):
                known.arrays(name, rows)

    return Case(call=copied, names=(path.name, "there"))


@reader("records", weight=6)
def records(rng: Random, corpus: Corpus, folder: Path) -> Case:
    """Episode records."""
    path = folder / "episodes.safetensors"
    shutil.copy(corpus.run / "episodes.safetensors", path)
    attack_checkpoint(rng, path)
    if rng.random() < 0.5:

        def load() -> None:
            from adafocus_rl.record import EpisodeRecord

            record = EpisodeRecord.load(path)
            for trace in record.last_traces():
                record.right(trace)

        return Case(call=load, names=(path.name,))
    run = corpus.copy(corpus.run, folder / "run")
    shutil.copy(path, run / path.name)
    action = one_of(
        rng,
        ["replay", run, "--out", folder / "x.html"],
        ["replay", run, "--out", folder / "x.png"],
        ["replay", run, "--video", "0", "--out", folder / "x.png"],
        ["predict", run, corpus.data / "0.mp4"],
    )
    return Case(call=command(*action), names=(path.name, "agents", "video"))


@reader("results", weight=4)
def results(rng: Random, corpus: Corpus, folder: Path) -> Case:
    """results.json and metrics.jsonl of a run that goes on or is looked at."""
    if rng.random() < 0.6:
        run = corpus.copy(corpus.run, folder / "run")
        path = run / "results.json"
        text = path.read_text()
        tree = mutate_tree(rng, json.loads(text), values=("</script><script>", "\x1b[1m", 10**400))
        path.write_bytes(to_json(rng, tree) if rng.random() < 0.8 else mutate_text(rng, text))
        out = folder / "x.html"
        action: list[str | Path] = ["replay", run, "--out", out] if rng.random() < 0.75 else ["evaluate", run]
        return Case(call=command(*action), names=(path.name,))
    source = corpus.stopped if rng.random() < 0.6 else corpus.run
    run = corpus.copy(source, folder / "run")
    path = run / "metrics.jsonl"
    text = path.read_text()
    if rng.random() < 0.6:
        lines = text.splitlines()
        at = rng.randrange(len(lines))
        tree = mutate_tree(rng, json.loads(lines[at]))
        lines[at] = to_json(rng, tree).decode("utf-8", "surrogateescape")
        path.write_bytes("\n".join(lines).encode("utf-8", "surrogateescape"))
    else:
        path.write_bytes(mutate_text(rng, text))
    extra = ["--stage1.epochs=2"] if source == corpus.stopped else []
    call = command("train", corpus.recipe, "--out", run, "--resume", *extra, "--stages", "0", "1")
    return Case(call=call, names=(path.name, "results.json"))
