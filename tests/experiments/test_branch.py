"""``adafocus branch``: another run's recognizer and features."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from adafocus_rl.checkpoint import load

Cli = Any


def _classifier(run: Path, name: str) -> dict[str, torch.Tensor]:
    tensors, _ = load(run / "checkpoints" / f"{name}.safetensors")
    return {key.split("classifier.")[1]: value for key, value in tensors.items() if "classifier." in key}


@pytest.mark.parametrize("fine_tuned", [False, True])
def test_a_branch_goes_on_from_the_recognizer_and_shares_the_features(
    cli: Cli, finished: Path, recipe: Path, tmp_path: Path, fine_tuned: bool
) -> None:
    new = tmp_path / "new"
    done = cli("branch", finished, "--out", new, *(["--fine-tuned"] if fine_tuned else []))
    assert (done.code, done.out) == (0, "")
    assert f"the f_C of stage {3 if fine_tuned else 1}" in done.err
    wanted = _classifier(finished, "stage3" if fine_tuned else "stage1")
    assert wanted.keys() == _classifier(new, "stage1").keys() != set()
    assert all(torch.equal(value, wanted[name]) for name, value in _classifier(new, "stage1").items())
    tables = list((finished / "features").rglob("*.npy"))
    assert all(path.samefile(new / path.relative_to(finished)) for path in tables)
    assert len(tables) > 4
    before = {path: path.stat().st_mtime_ns for path in tables}

    done = cli("train", recipe, "--stages", "2", "3", "--out", new)
    assert done.code == 0
    assert {path: path.stat().st_mtime_ns for path in tables} == before
    rows = json.loads((new / "results.json").read_text())["rows"]
    first = json.loads((finished / "results.json").read_text())["rows"]
    assert len(rows) == len(first)
    if not fine_tuned:
        keys = ("agent", "variant", "top1", "map")
        assert [[row[key] for key in keys] for row in rows] == [[row[key] for key in keys] for row in first]


def test_what_a_killed_branch_has_left_is_replaced(cli: Cli, finished: Path, tmp_path: Path) -> None:
    """The configuration, which makes a folder a run, comes last."""
    new = tmp_path / "new"
    assert cli("branch", finished, "--out", new).code == 0
    whole = sorted(path.relative_to(new) for path in new.rglob("*"))
    (new / "config.yaml").unlink()
    (new / "features" / "train" / "other").mkdir()
    assert cli("branch", finished, "--out", new).code == 0
    assert sorted(path.relative_to(new) for path in new.rglob("*")) == whole


def test_what_a_branch_refuses(cli: Cli, finished: Path, tmp_path: Path) -> None:
    done = cli("branch", finished, "--out", finished)
    assert (done.code, f"{finished} holds a run already; give another folder with --out" in done.err) == (2, True)
    done = cli("branch", tmp_path / "none", "--out", tmp_path / "new")
    assert done.code == 2
    assert "is not a run folder" in done.err
    early = Path(shutil.copytree(finished, tmp_path / "early"))
    (early / "checkpoints" / "stage3.safetensors").unlink()
    done = cli("branch", early, "--out", tmp_path / "new", "--fine-tuned")
    assert done.code == 2
    assert "stage3" in done.err
    assert not (tmp_path / "new" / "config.yaml").exists()
