"""Trains the small run that comes with the package, and packs it: ``make demo-run``.

The run is ``moving_digits`` with less noise, smaller networks and few validation clips, so that it fits into the
package. Its networks learn from all training clips; the package contains the first of them, and all validation clips.
Weights are rounded to half precision before the run is evaluated, so that the recorded predictions are those of the
packed weights.
"""

from __future__ import annotations

import csv
import hashlib
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from adafocus_rl import checkpoint
from adafocus_rl.data.index import VideoIndex
from adafocus_rl.experiments.config.parser import load_settings
from adafocus_rl.experiments.run.shipped import LISTS, PACKED
from adafocus_rl.files import read_json, write_json, write_text
from adafocus_rl.yaml_text import dump_yaml

ROOT = Path(__file__).parents[1]
WORK = ROOT / "build" / "demo-run"

TRAIN = (
    "train", "moving_digits", "--out", "run", "--data.root=data", "--data.embedded_options.noise=0.03",
    "--data.embedded_options.crf=28", "--data.embedded_options.val_videos=40", "--model.classifier.hidden=64",
    "--agent.hidden=64",
)  # fmt: skip
"""The training, in ``WORK``."""

SHIPPED = {"train": 64, "val": 40}
"""Number of clips in the package, the first ones of each list."""

OWN = ("stage1", "stage2", "stage2.skip0.005", "stage3", "stage3.skip0.005")
"""Checkpoints of the stages; the others are of the methods that the evaluation trains."""

FILES = ("metrics.jsonl", "episodes.safetensors")

LARGE = 1000
"""Tensors with at least this many numbers are rounded: statistics of batch norms may be too small for it."""


def main() -> int:
    """Train unless a finished training is there, and replace the run in the package."""
    WORK.mkdir(parents=True, exist_ok=True)
    run = WORK / "run"
    if not (run / "results.json").is_file():
        _adafocus(*TRAIN, *(["--resume"] if (run / "config.yaml").is_file() else []))
    for name in OWN:
        _halve(run / "checkpoints" / f"{name}.safetensors")
    for path in _methods(run):
        path.unlink()
    shutil.rmtree(run / "features", ignore_errors=True)
    _adafocus("evaluate", "run")  # builds the bank and trains the methods with the rounded networks
    methods = _methods(run)
    for path in methods:
        _halve(path)
    _adafocus("evaluate", "run")
    _pack(run, WORK / "data", PACKED, names=[*OWN, *(path.stem for path in methods)])
    size = sum(path.stat().st_size for path in PACKED.rglob("*") if path.is_file())
    sys.stdout.write(f"wrote {PACKED}: {size / 1e6:.2f} MB\n")
    return 0


def _methods(run: Path) -> list[Path]:
    """Return the checkpoints of the methods that the evaluation has trained."""
    return [path for path in sorted((run / "checkpoints").glob("*.safetensors")) if path.stem not in (*OWN, "stage0")]


def _adafocus(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "adafocus_rl", *arguments], cwd=WORK, check=True)


def _halve(path: Path) -> None:
    """Store the large tensors of a checkpoint in half precision; loading makes them float32 again."""
    tensors, manifest = checkpoint.load(path)
    checkpoint.save(path, tensors={name: _half(tensor) for name, tensor in tensors.items()}, manifest=manifest)


def _half(tensor: Tensor) -> Tensor:
    return tensor.half() if tensor.dtype == torch.float32 and tensor.numel() >= LARGE else tensor


def _pack(run: Path, data: Path, out: Path, *, names: Sequence[str]) -> None:
    """Write the run for the package.

    Args:
        run: the trained run.
        data: its videos.
        out: folder to replace.
        names: stems of the checkpoints to pack.
    """
    shutil.rmtree(out, ignore_errors=True)
    clips = out / "clips"
    clips.mkdir(parents=True)
    shutil.copyfile(data / "classes.txt", clips / "classes.txt")
    for split, count in SHIPPED.items():
        _take(data, clips, split, count)
    index = VideoIndex.read(out / LISTS["train_list"]).hash()
    (out / "checkpoints").mkdir()
    for name in names:
        tensors, manifest = checkpoint.load(run / "checkpoints" / f"{name}.safetensors")
        # Of a method: the list that it was trained on. It would be trained again if this were another.
        manifest = {**manifest, "index": index} if "index" in manifest else manifest
        checkpoint.save(out / "checkpoints" / f"{name}.safetensors", tensors=tensors, manifest=manifest)
    for name in FILES:
        shutil.copyfile(run / name, out / name)
    results = read_json(run / "results.json", "results file")
    # Times are those of a machine: `adafocus evaluate demo:` measures them on the user's own.
    rows = [{name: None if name.startswith("ms_") else value for name, value in row.items()} for row in results["rows"]]
    write_json(out / "results.json", {**results, "rows": rows, "seconds": {}, "decode_ms": None})
    values = load_settings(run / "config.yaml").values  # with the keys that have been added since
    values["name"] = "demo"
    values["data"] |= {"embedded": None, "embedded_options": {}, "root": None, "workers": 0, **LISTS}
    write_text(out / "config.yaml", dump_yaml(values))
    write_text(out / "command.txt", f"adafocus {' '.join(TRAIN)}\n")
    write_json(
        out / "demo.json",
        {
            "made_by": "make demo-run",
            "command": ["adafocus", *TRAIN],
            "trained_on": {split: _count(data / f"{split}.csv") for split in SHIPPED},
            "clips": SHIPPED,
            "versions": read_json(run / "environment.json", "environment")["packages"],
            "sha256": {
                path.relative_to(out).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
                for path in sorted(out.rglob("*"))
                if path.is_file()
            },
        },
    )


def _take(data: Path, clips: Path, split: str, count: int) -> None:
    """Copy the first clips of a list, the list and their boxes."""
    header, *rows = _rows(data / f"{split}.csv")
    rows = rows[:count]
    _write(clips / f"{split}.csv", [header, *rows])
    taken = {row[0] for row in rows}
    header, *boxes = _rows(data / f"{split}_boxes.csv")
    _write(clips / f"{split}_boxes.csv", [header, *(row for row in boxes if row[0] in taken)])
    (clips / split).mkdir()
    for name in taken:
        shutil.copyfile(data / name, clips / name)


def _rows(path: Path) -> list[list[str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return [*csv.reader(file)]


def _write(path: Path, rows: Sequence[Sequence[str]]) -> None:
    write_text(path, "".join(",".join(row) + "\n" for row in rows))


def _count(path: Path) -> int:
    return len(_rows(path)) - 1


if __name__ == "__main__":
    raise SystemExit(main())
