"""A recipe so small that all stages take a second, and the command line without a new process."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from adafocus_rl import checkpoint
from adafocus_rl.experiments.cli.entry import main
from adafocus_rl.experiments.config.embedded import make_embedded

TINY: dict[str, Any] = {
    "name": "tiny",
    # Tests hold runs equal to the last bit, on a GPU as well.
    "deterministic": True,
    "data": {
        "embedded": "moving_digits",
        "embedded_options": {
            "train_videos": 12, "val_videos": 6, "still_videos": 5, "frames": 8, "side": 32, "digit": 12,
            "still_side": 16, "distractors": 1,
        },
        "num_frames": 4, "resize_short": 0, "crop": "none", "workers": 0,
    },
    "model": {
        "glance": {"name": "small_glance"}, "focus": {"name": "small_focus"},
        "classifier": {"name": "gru", "hidden": 16, "dropout": 0.5},
        "frame_size": 32, "glance_size": 16, "patch_size": 16, "grid": 3, "num_classes": 0,
    },
    "stage0": {
        "stills": {"epochs": 1, "sgd": {"batch_size": 5}}, "epochs": 1, "learning_rate": 0.03, "sgd": {"batch_size": 5},
    },
    "stage1": {
        "epochs": 1, "focus_learning_rate": 0.03, "classifier_learning_rate": 0.03, "sgd": {"batch_size": 5},
    },
    "stage2": {"epochs": 1, "batch_size": 5},
    "stage3": {"epochs": 1, "learning_rate": 0.003, "sgd": {"batch_size": 5}},
    "bank": {"shard_videos": 5, "chunk_videos": 2},
    "evaluation": {
        "batch_size": 4, "repeats": 2, "timed_videos": 1, "full_frame_epochs": 1, "sheet_videos": 2,
    },
    "agent": {"class_path": "PPOAgent", "init_args": {"hidden": 16, "reduced_channels": 4}},
}  # fmt: skip


@dataclass(frozen=True)
class Done:
    """What a command left on the terminal."""

    code: int
    out: str
    err: str


Cli = Callable[..., Done]


@pytest.fixture(autouse=True)
def _settings_of_torch() -> Any:
    """A run may set the number of threads, and that computation is deterministic."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)
    torch.use_deterministic_algorithms(False)


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    """Runs ``adafocus ARGUMENTS…`` in this process."""

    def run(*arguments: str | Path) -> Done:
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return Done(code, out, err)

    return run


@pytest.fixture(scope="session")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny recipe; its videos are made once."""
    folder = tmp_path_factory.mktemp("recipe")
    content = {**TINY, "data": {**TINY["data"], "root": str(folder / "data")}}
    make_embedded("moving_digits", folder / "data", TINY["data"]["embedded_options"])
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.fixture(scope="session")
def finished(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of all stages, made by the program as a user calls it; not to be written to."""
    run = tmp_path_factory.mktemp("finished") / "run"
    command = [
        sys.executable,
        "-m",
        "adafocus_rl",
        "train",
        str(recipe),
        "--out",
        str(run),
        "--json",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    (run.parent / "stdout.json").write_text(done.stdout)
    (run.parent / "stderr.txt").write_text(done.stderr)
    return run


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished run."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


@pytest.fixture(scope="session")
def as_printed(finished: Path, recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder to stand in, where the names that the pages use are: the run ``runs/demo``, and a video ``a.mp4``."""
    folder = tmp_path_factory.mktemp("pages")
    (folder / "runs").mkdir()
    shutil.copytree(finished, folder / "runs" / "demo")  # pages may write into it
    root = Path(yaml.safe_load(recipe.read_text())["data"]["root"])
    shutil.copy(root / "val" / "00000.mp4", folder / "a.mp4")
    return folder


@pytest.fixture
def videos(recipe: Path, finished: Path, tmp_path: Path) -> Path:
    """A copy of the tiny videos and their lists, as anybody's own."""
    root = Path(yaml.safe_load(recipe.read_text())["data"]["root"])
    copy = Path(shutil.copytree(root, tmp_path / "videos"))
    (copy / "dataset.json").unlink()
    return copy


@pytest.fixture(scope="session")
def look() -> type[Look]:
    """Reads what a run has left."""
    return Look


class Look:
    """What can be compared between two runs."""

    @staticmethod
    def own_videos(folder: Path) -> list[str]:
        """Arguments that train on the lists in a folder instead of embedded videos."""
        return [
            "--data.embedded=null", "--data.root=null", f"--data.train_list={folder / 'train.csv'}",
            f"--data.val_list={folder / 'val.csv'}", "--stage0.stills.epochs=0",
        ]  # fmt: skip

    @staticmethod
    def results(run: Path) -> dict[str, Any]:
        """results.json without what takes another time each time."""
        results: dict[str, Any] = json.loads((run / "results.json").read_text())
        results["seconds"] = sorted(results["seconds"])
        assert (results.pop("decode_ms") or 1) > 0  # one clip is too few if another process decodes it
        for row in results["rows"]:
            q1, median, q3 = (row.pop(name) for name in ("ms_q1", "ms_per_video", "ms_q3"))
            assert 0 < q1 <= median <= q3
        return results

    @staticmethod
    def metrics(run: Path) -> list[dict[str, Any]]:
        """metrics.jsonl without speeds."""
        lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        return [{key: value for key, value in line.items() if key != "time/fps"} for line in lines]

    @staticmethod
    def checkpoints(run: Path) -> dict[str, str]:
        """Hash of all tensors of each checkpoint."""
        paths = sorted((run / "checkpoints").iterdir())
        return {path.name: checkpoint.tensors_hash(checkpoint.load(path)[0]) for path in paths}
