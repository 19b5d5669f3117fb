"""What is typed: names, paths that are no plain files, and values of every option."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from random import Random

from fuzz.cases import Case, reader
from fuzz.corpus import Corpus
from fuzz.mutate_bytes import FLOATS, INTEGERS, NAMES, word
from fuzz.readers.calls import command, one_of


def _argument(text: str) -> str:
    """As the operating system hands an argument over: no NUL, surrogates only for bytes that are no UTF-8."""
    return text.replace("\0", "").encode("utf-8", "surrogatepass").decode("utf-8", "surrogateescape")


@reader("names", weight=5)
def names(rng: Random, corpus: Corpus, folder: Path) -> Case:
    """Videos, runs and lists with hostile names that are all right otherwise."""
    text = _argument(rng.choice(NAMES)).replace("/", "∕")
    text = text if text.strip(". ") and not text.startswith("~") else f"x{text}"
    name = text.encode("utf-8", "surrogateescape")[:200]
    path = folder / os.fsdecode(name + rng.choice((b"", b".mp4")))
    kind = rng.choice(("video", "video", "folder", "run", "list", "class"))
    if kind == "video":
        shutil.copy(corpus.data / "0.mp4", path)
        out: list[list[str | Path]] = [[], ["--out", folder / "x.png"], ["--out", folder / "films"], ["--json"]]
        if rng.random() < 0.4:
            return Case(
                call=command("select", corpus.run, path, "--out", folder / "x.json", "--crops", folder / "crops")
            )
        return Case(call=command("predict", corpus.run, path, *rng.choice(out)))
    if kind == "folder":
        shutil.copytree(corpus.media / "frames", path)
        return Case(call=command("predict", corpus.run, path))
    if kind == "run":
        corpus.copy(corpus.run, path)
        return Case(
            call=rng.choice(
                (
                    command("predict", path, corpus.data / "0.mp4"),
                    command("features", "check", path),
                    command("replay", path),
                    command("replay", path, "--out", folder / "x.png"),
                )
            )
        )
    if kind == "list":
        for source in ("0.mp4", "1.mp4"):
            shutil.copy(corpus.data / source, folder)
        path.write_text("path,label\n0.mp4,0\n1.mp4,1\n")
        action = one_of(
            rng, ["check", path, "--workers=0", "--videos=1"], ["extract", path, "--out", folder / "out", "--workers=0"]
        )
        return Case(call=command("data", *action))
    for label in (folder / "videos" / os.fsdecode(name), folder / "videos" / "other"):
        label.mkdir(parents=True, exist_ok=True)
        for number in range(3):
            shutil.copy(corpus.data / f"{number}.mp4", label)
    return Case(call=command("data", "index", folder / "videos", *rng.choice(([], ["--json"]))))


def _odd_path(rng: Random, folder: Path, corpus: Corpus) -> str:
    """Something that is no plain file, or not there."""
    path = folder / rng.choice(("odd", "odd.csv", "odd.mp4", "odd.yaml", "odd.png", "odd.pth.tar", "odd.safetensors"))
    kind = rng.choice(
        ("fifo", "folder", "loop", "dangling", "missing", "empty", "text", "device", "name", "socket", "unreadable")
    )
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "loop":
        path.symlink_to(path)
    elif kind == "dangling":
        path.symlink_to(folder / "nowhere")
    elif kind == "empty":
        path.touch()
    elif kind == "text":
        path.write_text("some text\n")
    elif kind == "unreadable":
        path.write_text("x")
        path.chmod(0)
    elif kind == "device":
        return rng.choice(
            (
                "/dev/null",
                "/dev/zero",
                "/dev/random",
                "/dev/stdin",
                "/dev/full",
                "/proc/self/mem",
                "/proc/kmsg",
                "/dev/tty",
            )
        )
    elif kind == "name":
        return _argument(rng.choice(NAMES))
    elif kind == "socket":
        import socket

        with socket.socket(socket.AF_UNIX) as one:
            # Names of sockets are short, so it is made by a relative one.
            one.bind(path.name)
    return str(path)


@reader("paths", weight=8)
def paths(rng: Random, corpus: Corpus, folder: Path) -> Case:
    """FIFOs, devices, folders, loops, missing and unwritable paths in every place of a path."""
    odd = _odd_path(rng, folder, corpus)
    # A copy: what is written must not meet the material.
    run = corpus.copy(corpus.run, folder / "run")
    data, recipe, video = corpus.data, corpus.recipe, corpus.data / "0.mp4"
    quick = ["--workers=0", "--videos=0"]
    out = odd if not odd.startswith(("/dev/t", "/proc/")) else "x"  # a terminal shows it; the guard forbids /proc
    actions: list[list[str | Path]] = [
        ["predict", odd, video],
        ["predict", run, odd],
        ["predict", run, video, odd],
        ["predict", run, video, "--out", out],
        ["select", run, odd, "--out", folder / "x.json"],
        ["select", run, video, "--out", out],
        ["select", run, video, "--out", folder / "x.json", "--crops", out],
        ["evaluate", odd],
        ["features", "check", odd],
        ["replay", odd],
        ["replay", run, "--out", out],
        ["replay", run, "--video", odd],
        ["flops", odd],
        ["train", odd, "--print_config"],
        ["flops", recipe, "--config", odd],
        ["flops", recipe, f"--data.train_list={odd}"],
        ["data", "check", odd, *quick],
        ["data", "check", data / "train.csv", "--val", odd, *quick],
        ["data", "check", data / "train.csv", "--classes", odd, *quick],
        ["data", "check", data / "train.csv", "--root", odd, *quick],
        ["data", "check", data / "train.csv", "--recipe", odd, *quick],
        ["data", "check", data / "train.csv", "--workers=0", "--videos=1", "--out", out],
        ["data", "index", odd],
        ["data", "index", odd, "--out", folder / "lists"],
        ["data", "extract", odd, "--out", folder / "out"],
        ["data", "extract", data / "val.csv", "--out", out, "--workers=0"],
        ["data", "make", "moving_digits", odd, "--train_videos=nan"],
        ["import-official", odd, "--out", folder / "new"],
        ["branch", odd, "--out", folder / "new"],
        ["branch", run, "--out", odd, "--fine-tuned"],
        ["compare", odd, "--agents", "RandomAgent"],
        ["compare", run, "--ablation", odd],
        ["train", recipe, "--out", odd, "--resume", "--stages", "2", "--data.train_list=nowhere.csv"],
        ["train", recipe, "--out", folder / "new", f"--data.val_list={odd}"],
        ["train", recipe, "--out", folder / "new", f"--model.glance.weights={odd}", "--stages", "3"],
        ["train", recipe, "--out", folder / "new", f"--data.classes={odd}", "--stages", "3"],
    ]
    chosen = rng.choice(actions)
    if "index" in chosen and (Path(odd).is_absolute() and not Path(odd).is_relative_to(folder)):
        chosen = ["data", "index", folder / "nowhere"]
    if rng.random() < 0.08:
        # A part of a run that is no plain file.
        part = run / rng.choice(
            (
                "config.yaml",
                "checkpoints/stage1.safetensors",
                "episodes.safetensors",
                "results.json",
                rng.choice(("features/val/local/manifest.json", "features/val/clips/shard_00000", "features/val/full")),
                "features",
                "checkpoints",
            )
        )
        shutil.rmtree(part) if part.is_dir() else part.unlink()
        rng.choice(
            (lambda: os.mkfifo(part), part.mkdir, lambda: part.symlink_to(part), lambda: part.symlink_to("/dev/zero"))
        )()
        chosen = one_of(
            rng, ["predict", run, video], ["features", "check", run], ["replay", run, "--out", folder / "x.html"]
        )
    return Case(call=command(*chosen))


OPTIONS: dict[str, tuple[str, ...]] = {
    "predict": (
        "--top",
        "--agent",
        "--method",
        "--knob",
        "--precision",
        "--device",
        "--seconds",
        "--out",
        "--probabilities",
        "--json",
    ),
    "select": ("--out", "--frames", "--crops", "--agent", "--method", "--knob", "--precision", "--device"),
    "evaluate": ("--agent", "--precision", "--strict", "--json"),
    "features check": ("--overwrite",),
    "replay": ("--video", "--videos", "--agents", "--fps", "--probabilities"),
    "flops": (
        "--agent",
        "--threads",
        "--device",
        "--seed",
        "--data.num_frames",
        "--model.grid",
        "--model.patch_size",
        "--model.num_classes",
        "--model.classifier.hidden",
        "--model.frame_size",
        "--agent.hidden",
        "--env.reward.kind",
        "--skip.lambdas",
        "--skip.keep",
        "--data.embedded_options",
        "--model.mean",
        "--stage0.sgd",
        "--config",
    ),
    "data check": ("--format", "--template", "--depth", "--workers", "--videos", "--classes", "--json", "--root"),
    "data index": ("--val", "--seed", "--fold", "--root"),
    "data extract": ("--short", "--quality", "--workers", "--split", "--template", "--format"),
    "data make": ("--train_videos", "--frames", "--side", "--digit", "--fps", "--distractors", "--seed"),
    "train": (
        "--stages",
        "--threads",
        "--device",
        "--stage1.epochs",
        "--agent.ent_coef",
        "--stage1.focus_learning_rate",
        "--data.workers",
        "--data.decode_timeout",
        "--bank.shard_videos",
        "--evaluation.repeats",
        "--name",
        "--strict",
    ),
    "compare": ("--agents", "--ablation", "--seeds", "--jobs", "--run", "--finetune"),
    "list": ("--json",),
    "bench": ("--device", "--json"),
    "import-official": ("--stage", "--recipe"),
}
"""By command: options to give hostile values."""


@reader("options", weight=8)
def options(rng: Random, corpus: Corpus, folder: Path) -> Case:
    """Every option of every command."""
    name = rng.choice(sorted(OPTIONS))
    run = corpus.copy(corpus.run, folder / "run")
    for source in ("0.mp4", "1.mp4"):
        shutil.copy(corpus.data / source, folder)
    (folder / "list.csv").write_text("path,label\n0.mp4,0\n1.mp4,1\n")
    (folder / "videos" / "a").mkdir(parents=True)
    shutil.copy(corpus.data / "0.mp4", folder / "videos" / "a")
    # Nothing here trains: a last argument is always wrong, or what is asked for is only counted.
    given: dict[str, list[str | Path]] = {
        "predict": [run, folder / "0.mp4"],
        "select": [run, folder / "0.mp4", "--out", folder / "x.json"],
        "evaluate": [run],
        "features check": [run],
        "replay": [run, "--out", folder / "x.png"],
        "flops": [corpus.recipe],
        "data check": [folder / "list.csv", "--workers=0"],
        "data index": [folder / "videos"],
        "data extract": [folder / "list.csv", "--out", folder / "out", "--workers=0"],
        "data make": ["moving_digits", folder / "made"],
        "train": [corpus.recipe, "--out", run, "--resume"],
        "compare": [run, "--stage0.epochs=7"],
        "list": [],
        "bench": ["nothing"],
        "import-official": [folder / "x", "--out", folder / "y"],
    }
    arguments = [*name.split(), *given[name]]
    for _ in range(rng.choice((1, 1, 2, 3))):
        option = rng.choice(OPTIONS[name])
        value = _argument(rng.choice(rng.choice((INTEGERS, FLOATS, NAMES, ("[1, 2]", "{a: 1}", "null", "true", "")))))
        if name == "data make" and value.strip("+-").isdigit():
            value = f"-{value}"  # what makes many videos is no mistake
        arguments += rng.choice(([f"{option}={value}"], [option, value], [option], [option, value, value]))
    if rng.random() < 0.1:
        arguments.insert(rng.randrange(len(arguments) + 1), _argument(word(rng)))
    if name == "data make":
        arguments.append("--train_videos=x")
    return Case(call=command(*arguments))
