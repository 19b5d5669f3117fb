"""What commands keep for their next call: made and extracted data, comparisons; and runs that environments open."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from random import Random
from typing import Any

from fuzz.cases import Case, reader
from fuzz.corpus import MADE, Corpus
from fuzz.mutate_bytes import mutate_bytes, mutate_text
from fuzz.mutate_trees import mutate_tree, to_json
from fuzz.readers.calls import command
from fuzz.readers.weights import attack_checkpoint


def _attack_json(rng: Random, path: Path) -> None:
    """Makes a JSON file hostile, or puts something else in its place."""
    if rng.random() < 0.08:
        path.unlink()
        rng.choice((lambda: os.mkfifo(path), path.mkdir, lambda: path.symlink_to(path)))()
        return
    text = path.read_text()
    tree = mutate_tree(rng, json.loads(text), values=(10**12, "../x", [["a"]]))
    path.write_bytes(to_json(rng, tree) if rng.random() < 0.8 else mutate_text(rng, text))


@reader("made-data", weight=3)
def made_data(rng: Random, corpus: Corpus, folder: Path) -> Case:
    """Folders that ``data make`` and ``data extract`` find from an earlier call."""
    if rng.random() < 0.5:
        made = Path(shutil.copytree(corpus.made, folder / "made"))
        _attack_json(rng, made / "dataset.json")
        return Case(call=command("data", "make", "moving_digits", made, *MADE), names=("made",))
    out = Path(shutil.copytree(corpus.extracted, folder / "out"))
    frames = rng.choice([path for path in sorted(out.iterdir()) if path.is_dir()])
    if rng.random() < 0.7:
        _attack_json(rng, frames / "frames.json")
    else:
        image = rng.choice(sorted(frames.glob("*.jpg")))
        image.write_bytes(mutate_bytes(rng, image.read_bytes()))
    return Case(call=command("data", "extract", corpus.data / "val.csv", "--out", out, "--workers=0"), names=("out",))


@reader("comparisons", weight=1)
def comparisons(rng: Random, corpus: Corpus, folder: Path) -> Case:
    """Trainings that ``compare`` finds finished from an earlier call."""
    run = corpus.copy(corpus.compared, folder / "run")
    files = [
        path for path in sorted((run / "compare").rglob("*")) if path.suffix in (".json", ".jsonl", ".safetensors")
    ]
    path = rng.choice(files)
    if path.suffix == ".safetensors":
        attack_checkpoint(rng, path)
    elif path.suffix == ".json":
        _attack_json(rng, path)
    else:
        path.write_bytes(mutate_text(rng, path.read_text()))
    call = command("compare", run, "--agents", "RandomAgent", "CenterAgent", "--seeds", "1", "--jobs", "1")
    return Case(call=call, names=(path.name, "RandomAgent", "CenterAgent"))


@reader("environments", weight=3)
def environments(rng: Random, corpus: Corpus, folder: Path) -> Case:
    """A run that ``gymnasium.make`` opens."""
    run = corpus.copy(corpus.run, folder / "run")
    kind = rng.random()
    options: dict[str, Any] = {}
    if kind < 0.4:
        path = run / "checkpoints" / f"{rng.choice(('stage1', 'stage2', 'stage3'))}.safetensors"
        attack_checkpoint(rng, path)
    elif kind < 0.7:
        path = run / "features" / "val" / rng.choice(("clips", "global_map", "local")) / "manifest.json"
        _attack_json(rng, path)
    elif kind < 0.9:
        path = run / "config.yaml"
        path.write_bytes(mutate_text(rng, path.read_text()))
    else:
        path = run
        wrong: tuple[Any, ...] = ("x", -1, 10**9, None, [], {}, float("nan"), "\x00")
        options = {rng.choice(("split", "num_envs", "reward", "device", "agent", "resident", "x")): rng.choice(wrong)}

    def play() -> None:
        import gymnasium

        try:
            env = gymnasium.make("adafocus_rl:AdaFocus/PatchSelection-v0", run=str(run), **options)
        except (TypeError, ValueError):
            if options:
                return  # arguments are a programmer's, whose mistakes are Python's errors
            raise
        env.reset(seed=0)
        env.step(env.action_space.sample())
        env.close()

    # The configuration has keys of its own to name, which `config.yaml` looks at.
    return Case(call=play, names=(path.name, "features", "bank", "run") if path.suffix != ".yaml" else ())
