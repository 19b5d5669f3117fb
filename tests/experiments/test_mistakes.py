"""Bad input: one sentence on stderr that names what is wrong, exit code 2, no traceback, nothing lost."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from adafocus_rl import checkpoint
from adafocus_rl.experiments.config.parser import load_settings
from adafocus_rl.models import Recognizer, save_recognizer

Cli = Any
Look = Any


def _raise(error: Exception) -> None:
    raise error


def assert_refused(done: Any, *fragments: str) -> None:
    """Code 2; the last line on stderr is the sentence, and holds the fragments."""
    assert done.code == 2, done.err
    assert "Traceback" not in done.err
    last = done.err.rstrip("\n").split("\n")[-1]
    assert last.startswith("adafocus: ")
    assert [fragment for fragment in fragments if fragment not in last] == [], last
    assert done.out == ""


def assert_one_line(done: Any, *fragments: str) -> None:
    """As above, and nothing else was said."""
    assert_refused(done, *fragments)
    assert done.err.count("\n") == 1, done.err


def files_of(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("arguments", "fragments"),
    [
        ([], ["COMMAND"]),
        (["trian"], ["trian", "train"]),
        (["train"], ["needs a recipe", "adafocus list"]),
        (["train", "moving_digit"], ["unknown recipe 'moving_digit'", "did you mean 'moving_digits'"]),
        (["train", "nowhere/recipe.yaml"], ["nowhere/recipe.yaml", "moving_digits"]),
        (["train", "moving_digits", "extra"], ["unexpected argument 'extra'"]),
        (["train", "moving_digits", "--stages", "4"], ["--stages", "4"]),
        (["train", "moving_digits", "--resume", "--overwrite"], ["--resume", "--overwrite"]),
        (["train", "moving_digits", "--stages", "2", "--overwrite"], ["--overwrite", "stage 2"]),
        (["evaluate"], ["run"]),
        (["evaluate", "nowhere"], ["nowhere", "config.yaml", "adafocus train"]),
        (["features", "burn", "nowhere"], ["burn", "build"]),
        (["features", "check", "nowhere"], ["nowhere", "config.yaml"]),
        (["data", "make", "moving_digit", "out"], ["unknown dataset 'moving_digit'", "moving_digits"]),
        (["data", "make", "moving_digits"], ["out"]),
        (["data", "make", "moving_digits", "out", "--sides=3"], ["--sides", "--side"]),
        (["data", "make", "moving_digits", "out", "--distractor=3"], ["--distractor", "--distractors"]),
        (["data", "make", "moving_digits", "out", "--side=3"], ["side=3", "even"]),
        (["bench", "crop"], ["crop", "crops"]),
        (["list", "--jason"], ["--jason"]),
        (["predict", "run", "x.mp4", "--out="], ["--out is empty", "leave it out"]),
        (["predict", "run", "x.mp4", "--agent", ""], ["--agent is empty"]),
        (["predict", "run", ""], ["VIDEO is empty"]),
        (["predict", "run", "x.mp4", "--top=--"], ["--top"]),
        (["predict", "run", "x.mp4", "--seconds=inf"], ["--seconds is inf"]),
        (["evaluate", ""], ["run is empty"]),
    ],
)
def test_commands(cli: Cli, tmp_path: Path, monkeypatch: Any, arguments: list[str], fragments: list[str]) -> None:
    monkeypatch.chdir(tmp_path)
    assert_one_line(cli(*arguments), *fragments)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("argument", "fragments"),
    [
        ("--stage1.epocs=3", ["unknown key '--stage1.epocs'", "'--stage1.epochs'"]),
        # Not an abbreviation: what a typing mistake means is not guessed.
        ("--stage1.epoch=3", ["unknown key '--stage1.epoch'", "'--stage1.epochs'"]),
        ("--agent.hidde=3", ["unknown key 'agent.hidde' of PPOAgent", "'agent.hidden'"]),
        ("--stage1.epochs=many", ["stage1.epochs is many", "whole number"]),
        ("--stage1.epochs=1.5", ["stage1.epochs is 1.5", "whole number"]),
        ("--stage1.epochs=-1", ["stage1.epochs is -1", "at least 0"]),
        ("--stage1.sgd.batch_size=0", ["stage1.sgd.batch_size is 0", "at least 1"]),
        ("--stage1.focus_learning_rate=.nan", ["stage1.focus_learning_rate is nan"]),
        ("--data.crop=centre", ["data.crop is centre", "'multiscale', 'none'"]),
        ("--data.resize_short=small", ["data.resize_short is small", "whole number or null"]),
        ("--data.num_frames=0", ["data.num_frames is 0", "at least 1"]),
        ("--stage1=3", ["stage1", "KEY=VALUE"]),
        ("--agent=PPO", ["unknown agent 'PPO'", "did you mean 'PPOAgent'"]),
        ("--agent.hiden=3", ["unknown key 'agent.hiden' of PPOAgent", "'agent.hidden'"]),
        ("--agent.hidden=wide", ["agent.hidden is wide", "whole number"]),
        ("--agent.gamma=null", ["agent.gamma is null"]),
        ("--agent.gamma=2", ["agent.gamma is 2.0", "[0, 1]"]),
        ("--skip.options={hidden: '64x'}", ["skip.options.hidden is 64x", "whole number"]),
        ("--skip.options.gamma=2", ["skip.options.gamma is 2.0", "[0, 1]"]),
        ("--skip.options.hiden=2", ["unknown key 'skip.options.hiden' of PPOAgent", "'skip.options.hidden'"]),
        ("--methods.WholeFrame={}", ["unknown method 'WholeFrame'", "'WholeFrames'"]),
        ("--methods=3", ["methods is 3"]),
        ("--methods.WholeFrames.depth=3", ["unknown key 'methods.WholeFrames.depth' of WholeFrames"]),
        ("--env.reward.kind=randum", ["unknown reward 'randum'", "'random'"]),
        ("--env.reward.baseline_positions=-1", ["env.reward.baseline_positions is -1"]),
        ("--model.glance.name=small_glanze", ["unknown encoder 'small_glanze'", "'small_glance'"]),
        ("--model.focus.weights=nowhere.pth", ["nowhere.pth"]),
        ("--model.patch_size=33", ["patch_size 33", "frame_size 32"]),
        ("--model.patch_scales=[]", ["model.patch_scales is ()", "1 to 64 numbers above 0"]),
        ("--model.patch_scales=[1, 0]", ["model.patch_scales is (1.0, 0.0)", "1 to 64 numbers above 0"]),
        ("--model.patch_scales=big", ["model.patch_scales is big"]),
        ("--model.patch_scales=[1, 1.01]", ["patch_scales is [1.0, 1.01]", "16, 16 pixels", "different sides"]),
        ("--model.patch_scales=[1, 0.01]", ["patch_scales is [1.0, 0.01]", "less than one pixel"]),
        ("--model.num_classes=2", ["label", "2 classes"]),
        ("--device=abacus", ["abacus", "--device=cpu"]),
        ("--data.embedded=moving_letters", ["unknown dataset 'moving_letters'", "moving_digits"]),
        ("--data.embedded=null", ["no data", "data.train_list"]),
        ("--data.embedded_options={sides: 3}", ["sides", "moving_digits"]),
        ("--config=nowhere.yaml", ["nowhere.yaml"]),
    ],
)
def test_keys(cli: Cli, recipe: Path, tmp_path: Path, argument: str, fragments: list[str]) -> None:
    done = cli("train", recipe, "--out", tmp_path / "run", argument)
    assert_one_line(done, *fragments)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("argument", "fragment"),
    [
        ("--model.glance.name=small_glanze", "unknown encoder 'small_glanze'"),
        ("--model.focus.weights=nowhere.pth", "nowhere.pth does not exist"),
        ("--model.glance.weights=IMAGENET1K_V9", "encoder small_glance has no weights named 'IMAGENET1K_V9'"),
        ("--model.classifier.name=lstm", "model.classifier.name is lstm"),
        ("--env.reward.kind=randum", "unknown reward 'randum'"),
        ("--agent=PPO", "unknown agent 'PPO'"),
        ("--data.embedded=moving_letters", "unknown dataset 'moving_letters'"),
    ],
)
def test_names_are_checked_before_data_are_made(
    cli: Cli, recipe: Path, tmp_path: Path, argument: str, fragment: str
) -> None:
    done = cli("train", recipe, f"--data.root={tmp_path / 'data'}", "--out", tmp_path / "run", argument)
    assert_one_line(done, fragment)
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("content", "fragments"),
    [
        (b"stage1: {epocs: 3}", ["unknown key 'stage1.epocs'", "'stage1.epochs'"]),
        (b"stag1: {epochs: 3}", ["unknown key 'stag1.epochs'", "'stage1.epochs'"]),
        (b"stage1: {epochs: many}", ["stage1.epochs is many", "whole number"]),
        (b"stage1: {epochs: null}", ["stage1.epochs is null"]),
        (b"stage1: 3", ["stage1 is 3", "epochs"]),
        (b"model: {glance: resnet50}", ["model.glance is 'resnet50'", "name"]),
        (b"agent: {class_path: PPO}", ["unknown agent 'PPO'"]),
        (b"agent: {class_path: PPOAgent, init_args: {hiden: 3}}", ["unknown key 'agent.hiden' of PPOAgent"]),
        (b"agent: 3", ["agent is 3"]),
        (b"- a\n- list", ["more.yaml is not a recipe"]),
        (b"", ["more.yaml is not a recipe"]),
        (b"a: [1", ["more.yaml is not valid YAML"]),
        (b"\xff\xfe\x00\x01", ["more.yaml is not a text file"]),
    ],
)
def test_recipes(cli: Cli, recipe: Path, tmp_path: Path, content: bytes, fragments: list[str]) -> None:
    more = tmp_path / "more.yaml"
    more.write_bytes(content)
    assert_one_line(cli("train", recipe, "--out", tmp_path / "run", "--config", more), *fragments)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_the_process_leaves_with_code_2(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "adafocus_rl", "train", "moving_digit"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, timeout=120)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("adafocus: unknown recipe 'moving_digit'")


def test_a_run_is_not_overwritten_unasked(cli: Cli, run: Path, recipe: Path) -> None:
    before = files_of(run)
    assert_one_line(cli("train", recipe, "--out", run), "holds a run already", "--resume", "--overwrite", "--out")
    # Nor for a mistake that shows only after --overwrite was asked for.
    assert_refused(cli("train", recipe, "--out", run, "--overwrite", "--env.reward.kind=x"), "unknown reward")
    assert_refused(cli("train", recipe, "--out", run, "--stages", "2", "--env.reward.kind=x"), "unknown reward")
    assert files_of(run) == before
    (run / "mine.txt").write_text("a note")
    assert cli("train", recipe, "--out", run, "--overwrite", "--stages", "0", "--seed=1").code == 0
    assert (run / "mine.txt").is_file()
    assert not (run / "features").exists()
    assert [path.name for path in (run / "checkpoints").iterdir()] == ["stage0.safetensors"]


def test_a_file_where_a_folder_belongs(cli: Cli, recipe: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert_refused(cli("train", recipe, "--out", tmp_path / "file"), str(tmp_path / "file"))


def test_a_stage_without_the_one_before(cli: Cli, recipe: Path, tmp_path: Path) -> None:
    done = cli("train", recipe, "--out", tmp_path / "run", "--stages", "2", "3")
    assert_one_line(done, "stage1.safetensors", "run stage 1 first")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "fragments"),
    [
        (["--resume", "--stage2.epochs=2"], ["stage2.epochs 1", "now it is 2"]),
        (["--resume", "--agent.hidden=8"], ["agent.init_args.hidden 16", "now it is 8"]),
        (["--resume", "--agent=RandomAgent"], ["agent.class_path 'PPOAgent'", "'RandomAgent'"]),
        (["--resume", "--seed=1"], ["seed 0", "now it is 1"]),
        (["--stages", "2", "3", "--stage1.epochs=9"], ["stage1.epochs 1", "now it is 9"]),
        (["--stages", "2", "3", "--model.grid=5"], ["model.grid 3", "now it is 5"]),
        (["--stages", "3", "--env.reward.kind=padding"], ["env.reward.kind 'random'", "'padding'"]),
    ],
)
def test_another_configuration(cli: Cli, run: Path, recipe: Path, arguments: list[str], fragments: list[str]) -> None:
    before = files_of(run)
    assert_one_line(cli("train", recipe, "--out", run, *arguments), "was made with", *fragments)
    assert files_of(run) == before


def test_a_configuration_may_change_where_nothing_depends_on_it(cli: Cli, run: Path, recipe: Path) -> None:
    free = [
        "--data.workers=1",
        "--threads=1",
        "--evaluation.repeats=1",
        "--bank.resident=never",
        "--deterministic=false",
    ]
    assert cli("train", recipe, "--out", run, "--resume", *free).code == 0
    assert cli("train", recipe, "--out", run, "--stages", "3", "--stage3.epochs=2").code == 0


def test_a_checkpoint_of_another_architecture(cli: Cli, run: Path, recipe: Path) -> None:
    config = load_settings(recipe).config.model
    torch.manual_seed(0)
    values = {**vars(config), "num_classes": 10, "classifier": type(config.classifier)(hidden=17)}
    save_recognizer(run / "checkpoints" / "stage1.safetensors", Recognizer(type(config)(**values)))
    for arguments in (["train", recipe, "--out", run, "--stages", "2"], ["evaluate", run]):
        assert_refused(cli(*arguments), "another architecture", "state_dim", "17", "16")


def test_a_checkpoint_that_is_none(cli: Cli, run: Path) -> None:
    path = run / "checkpoints" / "stage1.safetensors"
    path.write_bytes(b"\x80\x04 a pickle, perhaps")
    assert_refused(cli("evaluate", run), "stage1.safetensors", "safetensors file")
    checkpoint.save(path, tensors={"x": torch.zeros(1)}, manifest={})
    assert_refused(cli("evaluate", run), "stage1.safetensors", "no recognizer")
    shutil.copy(run / "checkpoints" / "stage0.safetensors", run / "checkpoints" / "stage2.safetensors")
    shutil.copy(run / "checkpoints" / "stage0.safetensors", path)
    shutil.rmtree(run / "features")
    assert_refused(cli("evaluate", run), "stage2.safetensors", "not of an agent")


def test_evaluating_with_an_agent_that_was_not_trained(cli: Cli, run: Path, recipe: Path) -> None:
    assert cli("train", recipe, "--out", run, "--stages", "2", "3", "--agent=CenterAgent").code == 0
    assert_refused(cli("evaluate", run, "--agent=PPOAgent"), "CenterAgent")
    assert_refused(cli("evaluate", run, "--agent=PPO"), "unknown agent 'PPO'", "PPOAgent")


def test_a_bank_built_from_other_weights(cli: Cli, run: Path, recipe: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    assert cli("train", recipe, "--out", other, "--stages", "0", "1", "--seed=1").code == 0
    for split in ("train", "val"):
        shutil.rmtree(other / "features", ignore_errors=True)
        shutil.copytree(run / "features", other / "features")
        shutil.rmtree(other / "features" / ("val" if split == "train" else "train"))
        assert_refused(cli("features", "build", other), "stale", "weights", f"features/{split}", "--overwrite")
    assert_refused(cli("train", recipe, "--out", other, "--stages", "2", "--seed=1"), "stale", "weights")
    assert cli("features", "build", other, "--overwrite").code == 0
    assert cli("features", "check", other).code == 0
    assert cli("features", "check", run).code == 0


def test_a_half_written_bank(cli: Cli, run: Path, look: Look) -> None:
    shutil.rmtree(run / "features" / "train" / "local" / "shard_00001")
    assert_refused(cli("features", "check", run), "half-written", "2 of 3", "table local", "features build")
    assert cli("features", "build", run).code == 0
    assert cli("features", "check", run).code == 0


def test_missing_videos(cli: Cli, recipe: Path, videos: Path, tmp_path: Path, look: Look) -> None:
    arguments = ["train", recipe, "--out", tmp_path / "run", *look.own_videos(videos)]
    (videos / "val.csv").rename(videos / "there.csv")
    assert_one_line(cli(*arguments), "no list file", "val.csv")
    (videos / "there.csv").rename(videos / "val.csv")
    shutil.rmtree(videos / "val")
    assert_refused(cli(*arguments), "none of the 6 videos", "val.csv", "no such file", "--data.root")
    (videos / "train.csv").write_text("path,label\ntrain/00000.mp4,ten\n")
    assert_one_line(cli(*arguments), "train.csv, line 2", "label", "'ten'")
    assert not (tmp_path / "run").exists()


def test_a_label_out_of_range(cli: Cli, recipe: Path, videos: Path, tmp_path: Path, look: Look) -> None:
    text = (videos / "val.csv").read_text().splitlines()
    path = text[1].split(",")[0]
    (videos / "val.csv").write_text("\n".join([text[0], f"{path},10,8", *text[2:]]) + "\n")
    done = cli("train", recipe, "--out", tmp_path / "run", *look.own_videos(videos))
    assert_one_line(done, path, "label 10", "0 to 9")


def test_a_text_file_named_mp4(cli: Cli, recipe: Path, videos: Path, tmp_path: Path, look: Look) -> None:
    """Among good videos: named, counted, left out; with --strict the end."""
    for name in ("train/00003.mp4", "val/00002.mp4"):
        (videos / name).write_text("I am no video")
    arguments = ["train", recipe, "--out", tmp_path / "run", *look.own_videos(videos)]
    done = cli(*arguments)
    assert done.code == 0, done.err
    for name in ("train/00003.mp4", "val/00002.mp4"):
        assert f"warning: left out {name}: 13 bytes, but not a video" in done.err
    assert "2 videos were left out" in done.err
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert {entry["path"] for entry in results["failed"]} == {"train/00003.mp4", "val/00002.mp4"}
    assert {row["videos"] for row in results["rows"]} == {5}

    live = ["--stages", "2", "3", "--stage2.features=live", "--stage3.features=live"]
    assert "train/00003.mp4" in cli(*arguments, *live).err
    done = cli("evaluate", tmp_path / "run", "--strict")
    assert_refused(done, "cannot decode", "--strict")
    done = cli(*arguments, "--overwrite", "--strict")
    assert_refused(done, "cannot decode train/00003.mp4", "--strict")


@pytest.mark.parametrize("split", ["train", "val"])
def test_no_video_decodes(cli: Cli, recipe: Path, videos: Path, tmp_path: Path, look: Look, split: str) -> None:
    for path in (videos / split).iterdir():
        path.write_text("I am no video")
    done = cli("train", recipe, "--out", tmp_path / "run", *look.own_videos(videos))
    assert_refused(done, "none of the", f"{split}.csv", "not a video")
    assert not (tmp_path / "run").exists()


def test_an_oracle_without_boxes(cli: Cli, recipe: Path, videos: Path, tmp_path: Path, look: Look) -> None:
    for split in ("train", "val"):
        (videos / f"{split}_boxes.csv").unlink()
    done = cli("train", recipe, "--out", tmp_path / "run", "--agent=OracleAgent", *look.own_videos(videos))
    assert_one_line(done, "OracleAgent needs true boxes")
    assert not (tmp_path / "run").exists()


def test_a_training_list_that_changed_before_a_resume(
    cli: Cli, recipe: Path, videos: Path, tmp_path: Path, look: Look, monkeypatch: Any
) -> None:
    arguments = ["train", recipe, "--out", tmp_path / "run", *look.own_videos(videos)]
    with monkeypatch.context() as patch:
        patch.setattr("adafocus_rl.experiments.training.train.save_recognizer", _interrupt)
        assert cli(*arguments).code == 130
    text = (videos / "train.csv").read_text().splitlines()
    (videos / "train.csv").write_text("\n".join(text[:-1]) + "\n")
    assert_refused(cli(*arguments, "--resume"), "training list has changed", "stage0")


def _interrupt(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_help_and_version(cli: Cli, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, expected in (
        (["--help"], "train"),
        (["--version"], "adafocus_rl 0."),
        (["evaluate", "--help"], "--agent"),
        (["data", "make", "moving_digits", "--help"], "--train_videos"),
        (["bench", "--help"], "crops"),
    ):
        with pytest.raises(SystemExit) as left:
            cli(*arguments)
        assert left.value.code == 0
        assert expected in capsys.readouterr().out
    done = cli("train", "--help")
    assert done.code == 0
    assert "--stages" in done.out
    assert "--stage1.focus_learning_rate" in done.out
    assert yaml.safe_load(done.out.splitlines()[0])


def test_an_operation_that_cannot_be_deterministic(
    cli: Cli, recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def put(*_: Any) -> torch.Tensor:
        return torch.zeros(2).put_(torch.tensor([0]), torch.ones(1))

    monkeypatch.setattr("adafocus_rl.experiments.training.train.train", put)
    done = cli("train", recipe, "--out", tmp_path / "run", "--deterministic=true")
    assert done.code == 2
    assert done.err.splitlines()[-1].startswith("adafocus: put_ cannot be computed deterministically here; leave ")


@pytest.mark.parametrize(
    "ask",
    [
        lambda: torch.empty(2**46),
        lambda: _raise(MemoryError()),
        lambda: _raise(torch.OutOfMemoryError("CUDA out of memory.")),
    ],
    ids=["torch", "python", "cuda"],
)
def test_more_memory_than_there_is(
    cli: Cli, recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ask: Any
) -> None:
    def train(*_: Any) -> None:
        ask()

    monkeypatch.setattr("adafocus_rl.experiments.training.train.train", train)
    assert_refused(cli("train", recipe, "--out", tmp_path / "run"), "the memory does not suffice", "batch_size")


def test_a_bank_is_checked_without_its_videos(cli: Cli, run: Path, videos: Path) -> None:
    settings = yaml.safe_load((run / "config.yaml").read_text())
    settings["data"] |= {"embedded": None, "embedded_options": {}, "root": None}
    settings["data"] |= {"train_list": str(videos / "train.csv"), "val_list": str(videos / "val.csv")}
    (run / "config.yaml").write_text(yaml.safe_dump(settings))
    for folder in ("train", "val"):
        shutil.rmtree(videos / folder)
    done = cli("features", "check", run)
    assert done.code == 0, done.err
    assert "fits the run" in done.err


@pytest.mark.parametrize(
    ("command", "option", "limit"),
    [
        (["data", "check", "x.csv"], "--workers", 256),
        (["data", "check", "x.csv"], "--videos", 1000),
        (["data", "extract", "x.csv", "--out", "y"], "--workers", 256),
        (["data", "extract", "x.csv", "--out", "y"], "--short", 16_384),
        (["compare", "run", "--agents", "PPOAgent"], "--seeds", 10_000),
        (["compare", "run", "--agents", "PPOAgent"], "--jobs", 256),
        (["replay", "run"], "--videos", 10_000),
        (["replay", "run"], "--fps", 240),
        (["predict", "run", "x.mp4"], "--top", 1_000_000),
    ],
)
def test_whole_numbers_of_commands_have_an_upper_limit(cli: Cli, command: list[str], option: str, limit: int) -> None:
    for value in (limit + 1, 10**30):
        assert_refused(cli(*command, f"{option}={value}"), f"{option}: {value} is too large, give at most {limit}")
