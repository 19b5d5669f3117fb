"""The paper's recipes: their numbers against the appendix, and all their stages on a made-up dataset."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
import torchvision
from safetensors.torch import save_file

from adafocus_rl.experiments.config.parser import Settings, parse_settings
from adafocus_rl.experiments.config.recipe_files import find_recipe
from adafocus_rl.record import FINE_TUNED, RANDOM_PATCHES

FRAMEWISE = ("activitynet", "fcvid", "mini_kinetics")
CLIPWISE = ("something_v1", "something_v2", "jester")

# Appendix B.1, sentence by sentence; B.2 where it differs. T, networks and policy: the paper's sections 4.1 and 4.2.
B1: dict[str, Any] = {
    "data.num_frames": 16,
    "data.crop": "multiscale",
    "data.flip": True,
    "model.glance.name": "mobilenet_v2",
    "model.glance.weights": "IMAGENET1K_V1",
    "model.focus.name": "resnet50",
    "model.focus.weights": "IMAGENET1K_V1",
    "model.classifier.name": "gru",
    "model.classifier.hidden": 1024,
    "model.classifier.dropout": 0.8,
    "model.frame_size": 224,
    "model.glance_size": 224,
    "model.patch_size": 128,
    "model.grid": 7,
    "stage0.epochs": 15,
    "stage0.learning_rate": 0.01,
    "stage0.stills.epochs": 0,
    "stage1.epochs": 50,
    "stage1.focus_learning_rate": 5e-4,
    "stage1.classifier_learning_rate": 0.05,
    "stage2.epochs": 50,
    "stage2.batch_size": 64,
    "skip.epochs": 10,
    "stage3.epochs": 10,
    "env.action_space": "grid",
    "env.reward.kind": "random",
    "env.reward.baseline_positions": 1,
    **{
        f"{stage}.sgd.{name}": value
        for stage in ("stage0", "stage1", "stage3")
        for name, value in {
            "batch_size": 64, "momentum": 0.9, "nesterov": True, "weight_decay": 1e-4, "schedule": "cosine",
            "milestones": [], "max_grad_norm": 0,
        }.items()
    },
}  # fmt: skip
PPO = {
    "learning_rate": 3e-4, "beta1": 0.9, "beta2": 0.999, "gamma": 0.7, "n_epochs": 1, "n_minibatches": 1,
    "clip_range": 0.2, "vf_coef": 0.5, "ent_coef": 0.01, "ent_coef_final": None, "gae_lambda": None,
    "max_grad_norm": 0, "reduced_channels": 32, "hidden": 1024, "cell": "gru", "batch_norm": False,
}  # fmt: skip
B2: dict[str, Any] = {
    **B1,
    "data.num_frames": 8 + 12,
    "data.flip": False,
    "model.glance.name": "tsm_mobilenet_v2",
    "model.glance.num_frames": 8,
    "model.focus.name": "tsm_resnet50",
    "model.focus.num_frames": 12,
    "model.classifier.name": "average",
    "model.classifier.dropout": 0.5,
    "model.patch_size": 144,
    "env.action_space": "continuous",
    "stage0.epochs": 50,
    "stage0.head_learning_rate": 5 * 0.01,
    "stage0.dropout": 0.5,
    "stage0.sgd.nesterov": False,
    "stage0.sgd.weight_decay": 5e-4,
    "stage0.sgd.schedule": "steps",
    "stage0.sgd.milestones": [20, 40],
    "stage0.sgd.decay": 0.1,
    "stage0.sgd.max_grad_norm": 20,
    "stage1.epochs": 10,
    "stage1.focus_learning_rate": 1e-5,
    "stage1.classifier_learning_rate": 0.01,
    "stage2.features": "live",
    "stage3.features": "live",
}
B2_PPO = {**PPO, "reduced_channels": 64, "batch_norm": True, "action_std": 0.25, "learn_std": False}
TABLE: dict[str, dict[str, Any]] = {
    "activitynet": {**B1, "model.num_classes": 200, "stage3.learning_rate": 5e-3},
    "fcvid": {**B1, "model.num_classes": 239, "stage3.learning_rate": 5e-3},
    "mini_kinetics": {**B1, "model.num_classes": 200, "stage3.learning_rate": 5e-4},
    "something_v1": {**B2, "model.num_classes": 174, "stage3.learning_rate": 5e-4},
    "something_v2": {**B2, "model.num_classes": 174, "stage3.learning_rate": 5e-4},
    "jester": {**B2, "model.num_classes": 27, "stage3.learning_rate": 5e-4},
}


def settings(recipe: str, *arguments: str) -> Settings:
    return parse_settings("test", ["--config", str(find_recipe(recipe)), *arguments])


def at(values: Any, key: str) -> Any:
    for name in key.split("."):
        values = values[name]
    return values


@pytest.mark.parametrize("recipe", TABLE)
def test_every_number_is_the_appendixs(recipe: str) -> None:
    found = settings(recipe)
    differing = {
        key: at(found.values, key) for key, expected in TABLE[recipe].items() if at(found.values, key) != expected
    }
    assert not differing
    assert found.values["agent"]["class_path"] == "PPOAgent"
    options = found.values["agent"]["init_args"]
    expected = PPO if recipe in FRAMEWISE else B2_PPO
    assert {name: options[name] for name in expected} == expected


def test_the_fast_recipe_differs_in_the_size_of_f_g_s_input_only() -> None:
    paper, fast = settings("activitynet").values, settings("activitynet_fast").values
    assert (fast.pop("name"), fast["model"].pop("glance_size")) == ("activitynet_fast", 128)
    assert (paper.pop("name"), paper["model"].pop("glance_size")) == ("activitynet", 224)
    assert fast == paper


@pytest.mark.parametrize("recipe", CLIPWISE)
@pytest.mark.parametrize("overlay", ["tsm", "tsm_plus"])
def test_tsm_is_the_same_procedure_on_whole_frames_without_a_policy(recipe: str, overlay: str) -> None:
    """All that differs from AdaFocus-TSM is what the networks look at, and that there is no policy."""
    adafocus, other = settings(recipe).values, settings(recipe, "--config", overlay).values
    assert other["agent"] == {"class_path": "CenterAgent", "init_args": {}}
    assert (other["model"]["patch_size"], other["model"]["focus"]["num_frames"]) == (224, 8)
    if overlay == "tsm":
        assert other["model"]["glance"]["name"] == "none"
    else:
        assert other["model"]["glance"] == adafocus["model"]["glance"]
    for key in ("stage0", "stage1", "stage2", "stage3"):
        assert other[key] == adafocus[key]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of frames, a class by colour; lists and class names."""
    root = tmp_path_factory.mktemp("dataset")
    draw = np.random.default_rng(0)
    for split, count in (("train", 4), ("val", 3)):
        lines = ["path,label"]
        for number in range(count):
            folder = root / "frames" / f"{split} {number}"
            folder.mkdir(parents=True)
            lines.append(f"{folder.name},{number % 2}")
            for frame in range(1, 8):
                image = draw.integers(0, 100, (50, 60, 3), dtype=np.uint8)
                image[..., number % 2] += 100
                cv2.imwrite(str(folder / f"image_{frame:05d}.jpg"), image)
        (root / f"{split}.csv").write_text("\n".join(lines) + "\n")
    return root


def small(dataset: Path, run: Path, *more: str) -> list[str]:
    """One epoch of each stage on small frames."""
    values = {
        "data.train_list": dataset / "train.csv", "data.val_list": dataset / "val.csv",
        "data.root": dataset / "frames", "data.resize_short": 32, "data.workers": 0,
        "model.glance.weights": "none", "model.focus.weights": "none", "model.num_classes": 2,
        "model.frame_size": 32, "model.glance_size": 32, "model.patch_size": 24, "model.grid": 2,
        "stage0.epochs": 1, "stage0.sgd.batch_size": 4, "stage1.epochs": 1, "stage1.sgd.batch_size": 2,
        "stage2.epochs": 1, "stage2.batch_size": 4, "stage3.epochs": 1, "stage3.sgd.batch_size": 4,
        # At the paper's rate, random weights on four clips diverge.
        "stage0.learning_rate": 1e-4,
        # So few patches in a part would leave batch normalisation next to nothing to normalise with.
        "stage0.compute.accumulate": 1, "stage1.compute.accumulate": 1,
        "evaluation.repeats": 1, "evaluation.timed_videos": 0, "evaluation.full_frame_epochs": 1,
        "evaluation.sheet_videos": 1,
    }  # fmt: skip
    return [*more, "--out", str(run), "--json", *(f"--{key}={value}" for key, value in values.items())]


@pytest.mark.slow
@pytest.mark.parametrize("recipe", FRAMEWISE)
def test_frame_by_frame_recipes_run_all_stages(recipe: str, dataset: Path, tmp_path: Path, cli: Any) -> None:
    # The real networks once; the other recipes differ in numbers only.
    name = "resnet50" if recipe == "activitynet" else "resnet18"
    # Residual branches that begin at zero: a few batches do not teach batch normalisation the statistics of random
    # weights, and in evaluation mode each block would then multiply its input, in ResNet-50 beyond float16.
    torch.manual_seed(0)
    weights = tmp_path / "weights.safetensors"
    save_file(getattr(torchvision.models, name)(zero_init_residual=True).state_dict(), weights)
    done = cli(
        "train", recipe, *small(dataset, tmp_path / "run"), "--data.num_frames=2", "--model.classifier.hidden=32",
        "--agent.hidden=16", "--skip.lambdas=[0.1]", "--skip.epochs=1", f"--model.focus.name={name}",
        f"--model.focus.weights={weights}",
    )  # fmt: skip
    assert done.code == 0, done.err
    results = json.loads(done.out)
    assert {row["agent"] for row in results["rows"]} >= {"ppo", "ppo+skip", "full_frame"}
    assert {row["variant"] for row in results["rows"]} == {RANDOM_PATCHES, FINE_TUNED, None}
    assert (tmp_path / "run/patches.png").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("recipe", CLIPWISE)
def test_clip_by_clip_recipes_run_all_stages(recipe: str, dataset: Path, tmp_path: Path, cli: Any) -> None:
    frames = ("--data.num_frames=5", "--model.glance.num_frames=2", "--model.focus.num_frames=3")
    focus = "tsm_resnet50" if recipe == "something_v1" else "tsm_resnet18"
    arguments = (*small(dataset, tmp_path / "run"), *frames, "--agent.hidden=16", f"--model.focus.name={focus}")
    done = cli("train", recipe, *arguments)
    assert done.code == 0, done.err
    results = json.loads(done.out)
    assert {row["agent"] for row in results["rows"]} >= {"ppo", "random", "full_frame"}
    assert (tmp_path / "run/patches.png").is_file()
    again = cli("evaluate", tmp_path / "run", "--agent=PPOAgent", "--json")
    assert again.code == 0, again.err
    trained = [row for row in results["rows"] if row["agent"] == "ppo"]
    assert [row["top1"] for row in json.loads(again.out)["rows"]] == [row["top1"] for row in trained]
    video = next(path for path in sorted((dataset / "frames").iterdir()) if path.is_dir())
    done = cli("select", tmp_path / "run", video, "--out", tmp_path / "selected.json", "--crops", tmp_path / "crops")
    assert done.code == 0, done.err
    (selected,) = json.loads((tmp_path / "selected.json").read_text())["videos"]
    # One decision for the three frames of f_L.
    assert len({tuple(frame["box"]) for frame in selected["frames"]}) == 1
    assert len({frame["frame"] for frame in selected["frames"]}) == 3
    gain = pytest.approx(selected["confidence"] - 1 / 2, abs=1e-6)
    assert [frame["gain"] for frame in selected["frames"]] == [gain] * 3


@pytest.mark.slow
@pytest.mark.parametrize("overlay", ["tsm", "tsm_plus"])
def test_tsm_runs_all_stages(overlay: str, dataset: Path, tmp_path: Path, cli: Any) -> None:
    run = tmp_path / "run"
    frames = {"tsm": ("--data.num_frames=3", "--model.focus.num_frames=2")}.get(
        overlay, ("--data.num_frames=5", "--model.glance.num_frames=2", "--model.focus.num_frames=3")
    )
    whole = ("--model.patch_size=32", "--model.grid=1", "--model.focus.name=tsm_resnet18")
    done = cli("train", "something_v1", *small(dataset, run, "--config", overlay), *frames, *whole)
    assert done.code == 0, done.err
    rows = json.loads(done.out)["rows"]
    # Every place is the whole frame.
    assert len({row["top1"] for row in rows if row["variant"] == RANDOM_PATCHES}) == 1
