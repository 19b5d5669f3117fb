"""One training of the reduced recipe, and the curves that it leaves."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from adafocus_rl.experiments.cli.entry import main
from adafocus_rl.experiments.config.recipe_files import find_recipe

REDUCED: dict[str, dict[str, Any]] = {
    # One process, so that the time is that of one core and patched functions are seen everywhere.
    "data": {
        "workers": 0, "num_frames": 4,
        "embedded_options": {
            "train_videos": 300, "val_videos": 200, "still_videos": 240, "frames": 8, "side": 48, "distractors": 2,
        },
    },
    "model": {"frame_size": 48, "patch_size": 24, "grid": 5},
    "stage0": {"epochs": 2},
    "stage1": {"epochs": 16},
    "stage2": {"epochs": 20},
    "stage3": {"epochs": 5},
    "evaluation": {
        "full_frame_epochs": 0, "timed_videos": 0, "sheet_videos": 0, "report_videos": 0, "replay_every": 0,
        "repeats": 2, "references": ["RandomAgent"],
    },
}  # fmt: skip
"""What differs from the recipe ``moving_digits``: smaller, fewer and easier clips, other numbers of epochs, and nothing
drawn or timed."""

LOGGED = {
    "stage0 f_L loss": ("stage0", "train/focus_loss"),
    "stage1 loss": ("stage1", "train/loss"),
    "stage2 reward": ("stage2", "rollout/ep_rew_mean"),
    "stage3 loss": ("stage3", "train/loss"),
}
"""Curves by name: the step and the scalar in ``metrics.jsonl``."""

Curves = dict[str, list[float]]


def recipe(folder: Path) -> Path:
    """Write the reduced recipe, whose videos go to the same folder."""
    content = yaml.safe_load(find_recipe("moving_digits").read_text(encoding="utf-8"))
    for section, changes in REDUCED.items():
        content[section] = {**content.get(section, {}), **changes}
    content["data"]["root"] = str(folder / "data")
    content["agent"]["init_args"]["learning_rate"] = 3e-3
    del content["skip"]
    path = folder / "reduced.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


def train(path: Path, run: Path, *, seed: int, stages: Sequence[int] = (0, 1, 2, 3)) -> Curves:
    """Train stages of the recipe in this process and return the curves of the run.

    Args:
        path: the recipe.
        run: folder of the run; what other stages have left there is used.
        seed: seed of the run.
        stages: the stages to train.
    """
    numbers = [str(stage) for stage in stages]
    code = main(["train", str(path), "--out", str(run), f"--seed={seed}", "--stages", *numbers])
    if code:
        raise RuntimeError(f"the training of seed {seed} ended with exit code {code}")
    return read(run)


def read(run: Path) -> Curves:
    """Return the curves of a run: a number for each epoch, or for each row of the table."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    found = {name: [line[key] for line in lines if line["stage"] == stage] for name, (stage, key) in LOGGED.items()}
    rows = json.loads((run / "results.json").read_text(encoding="utf-8"))["rows"]
    top1 = {(row["agent"], row["variant"]): row["top1"] for row in rows}
    ppo, random = top1["ppo", "random patches"], top1["random", "random patches"]
    return {**found, "gain over random patches": [ppo - random], "top1": [top1["ppo", "fine-tuned"]]}
