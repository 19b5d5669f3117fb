"""docs/own_videos.md from its first command to its last, on videos made here and small networks."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from adafocus_rl.data.encode import write_video
from adafocus_rl.experiments.config.parser import load_settings
from adafocus_rl.experiments.config.recipe_files import find_recipe, suggested_recipe

Cli = Any

PAGE = (Path(__file__).parents[2] / "docs" / "own_videos.md").read_text(encoding="utf-8")
SMALL = [
    "--data.num_frames=2", "--data.workers=0", "--model.glance={name: small_glance, weights: none}",
    "--model.focus={name: small_focus, weights: none}", "--model.classifier.hidden=8", "--model.frame_size=32",
    "--model.glance_size=16", "--model.patch_size=16", "--model.grid=2", "--stage1.epochs=1",
    "--stage2.epochs=1", "--stage3.epochs=1", "--evaluation.full_frame_epochs=1", "--evaluation.timed_videos=1",
    "--agent.hidden=8", "--agent.reduced_channels=2",
]  # fmt: skip


def _commands() -> list[list[str]]:
    return [shlex.split(line) for line in re.findall(r"^    adafocus (.*)$", PAGE, re.MULTILINE)]


def _block(language: str) -> str:
    """The page's block of a language."""
    (block,) = re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    return str(block)


def _own(folder: Path) -> None:
    draw = np.random.default_rng(0)
    for name in ("juggling", "cycling"):
        (folder / name).mkdir(parents=True)
        for number in range(5):
            frames = draw.integers(0, 256, (4, 6, 8, 3), dtype=np.uint8).repeat(6, axis=1).repeat(6, axis=2)
            write_video(folder / name / f"{number}.mp4", frames)
    (folder / "cycling" / "a").mkdir()
    for number in range(3):
        Image.fromarray(frames[number]).save(folder / "cycling" / "a" / f"{number:04d}.jpg")


@pytest.mark.slow
def test_the_page_s_commands_work_one_after_the_other(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    _own(tmp_path / "my_videos")
    (tmp_path / "my_table.csv").write_text("path,label,group\n" + "".join(
        f"{name}/{number}.mp4,{name},{name}{number // 2}\n" for name in ("juggling", "cycling") for number in range(5)
    ))  # fmt: skip
    index, table, first_check, check, train, forecast, compare, predict, webcam, online = _commands()
    assert forecast == ["train", "moving_digits", "--dry-run"]  # test_forecast.py runs it
    assert cli(*index).code == 0
    done = cli(*table, "--out", "grouped")
    assert done.code == 0, done.err
    done = cli(*first_check)
    assert done.code == 0, done.err + done.out
    assert f"suggested recipe: {'custom' if torch.cuda.is_available() else 'custom_small'} (8 training" in done.err
    done = cli(*check)
    assert done.code == 0, done.err + done.out
    assert (tmp_path / "loader.png").is_file()
    done = cli(*train, *SMALL)
    assert done.code == 0, done.err
    assert {path.name for path in (tmp_path / "runs" / "mine").iterdir()} >= {"report.html", "patches.png"}
    done = cli(*compare, "--seeds", "1")
    assert done.code == 0, done.err
    (tmp_path / "new_clip.mp4").write_bytes((tmp_path / "my_videos" / "juggling" / "1.mp4").read_bytes())
    done = cli(*predict, "--json")
    assert done.code == 0, done.err
    (video,) = json.loads(done.out)["videos"]
    assert {guess["label"] for guess in video["top"]} == {"juggling", "cycling"}
    assert (tmp_path / "looked_at.png").is_file()
    done = cli(*online)
    assert done.code == 0, done.err
    assert set(json.loads(done.out.splitlines()[0])) == set(json.loads(_block("json")))
    done = cli(*webcam, "--seconds", "1")
    assert "webcam 0" in done.err  # there is none here, or it has been looked at
    exec(_block("python"), {})


def test_the_recipe_follows_from_the_device_and_the_number_of_videos() -> None:
    assert suggested_recipe(300, gpu=True)[0] == "custom"
    name, reason = suggested_recipe(999, gpu=False)
    assert name == "custom_small"
    assert "999 training videos and no GPU" in reason
    assert "--dry-run" not in reason
    name, reason = suggested_recipe(1000, gpu=False)
    assert name == "custom_small"
    assert "--dry-run" in reason


def test_the_small_recipe_trains_neither_encoder_and_uses_one_network_for_both() -> None:
    config = load_settings(find_recipe("custom_small")).config
    assert config.model.glance == config.model.focus
    assert (config.stage0.epochs, config.stage0.stills.epochs, config.stage1.focus_learning_rate) == (0, 0, 0)
    assert config.model.frame_size == 2 * config.model.patch_size == 2 * config.model.glance_size


def test_without_a_network_the_files_to_bring_are_named(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "empty"))
    monkeypatch.setattr("torch.hub.load_state_dict_from_url", _no_network)
    _own(tmp_path / "my_videos")
    assert cli("data", "index", tmp_path / "my_videos").code == 0
    done = cli(
        "train", "custom", f"--data.train_list={tmp_path / 'my_videos' / 'train.csv'}",
        f"--data.val_list={tmp_path / 'my_videos' / 'val.csv'}", "--out", tmp_path / "run",
    )  # fmt: skip
    assert done.code == 2
    assert "mobilenet_v2-b0353104.pth" in done.err


def _no_network(*_: Any, **__: Any) -> None:
    raise OSError("no network")
