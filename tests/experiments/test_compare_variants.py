"""What can be compared: agents with options, ablations, and what each variant needs of its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from adafocus_rl import checkpoint
from adafocus_rl.agents import GaussianOptions
from adafocus_rl.errors import UserError
from adafocus_rl.experiments.compare.bases import Base, base_of
from adafocus_rl.experiments.compare.variants import (
    ablation_names,
    agent_variant,
    as_arguments,
    changed_keys,
    read_ablation,
    variant_settings,
)
from adafocus_rl.experiments.config.parser import load_settings
from adafocus_rl.experiments.config.recipe_files import find_recipe
from adafocus_rl.experiments.run.folder import RunFolder
from adafocus_rl.features.manifest import read_manifest

Cli = Any


def test_options_after_the_class() -> None:
    assert agent_variant("PPOAgent").overrides == {"agent": "PPOAgent"}
    variant = agent_variant("PPOAgent:gamma=0.9,cell=none,betas=[0.9,0.99]")
    assert variant.name == "PPOAgent:gamma=0.9,cell=none,betas=[0.9,0.99]"
    assert as_arguments(variant.overrides) == [
        "--agent=PPOAgent", "--agent.gamma=0.9", "--agent.cell=none", "--agent.betas=[0.9,0.99]",
    ]  # fmt: skip
    with pytest.raises(UserError, match="has the option 'gamma'; write NAME:KEY=VALUE"):
        agent_variant("PPOAgent:gamma")


def test_options_not_given_are_the_runs_for_the_runs_agent_and_defaults_for_others(finished: Path) -> None:
    run = RunFolder(finished)

    def options(text: str) -> Any:
        return variant_settings(run, as_arguments(agent_variant(text).overrides)).config.agent.options

    own = options("PPOAgent:gamma=0.25")
    assert (own.hidden, own.reduced_channels, own.gamma) == (16, 4, 0.25)
    assert options("GaussianAgent") == GaussianOptions(std=0.25)
    assert options("GaussianAgent:std=0.5") == GaussianOptions(std=0.5)


def test_changed_keys() -> None:
    before = {"a": 1, "b": {"c": 2, "d": {"e": [3]}}, "gone": 0}
    after = {"a": 1, "b": {"c": 5, "d": {"e": [3], "f": 6}}}
    assert changed_keys(before, after) == {"b.c": 5, "b.d.f": 6, "gone": None}


def test_every_ablation_fits_the_configuration(finished: Path, tmp_path: Path) -> None:
    """Each variant changes what the ablation is about and nothing else, and reuses what it can."""
    run = RunFolder(finished)
    stored = load_settings(run.config)
    about = {
        "rewards": ("env.reward.kind", 1), "cells": ("agent.init_args.cell", 1),
        "ppo_epochs": ("agent.init_args.n_epochs", 1), "grids": ("model.grid", 1), "patches": ("model.patch_size", 0),
        "patches_224": ("model.patch_size", 0), "learning": ("agent.class_path", 1),
        "bits": ("bank.eight_bit", 1),
    }  # fmt: skip
    # Another class of agent has other options, and needs more or fewer passes.
    beside = {"learning": ("agent.init_args.", "stage2.epochs")}
    assert set(about) == set(ablation_names())
    for name, (key, stage) in about.items():
        title, variants = read_ablation(name)
        assert title == name
        values = []
        for variant in variants:
            settings = variant_settings(run, as_arguments(variant.overrides))
            changed = changed_keys(stored.values, settings.values)
            assert {other for other in changed if not other.startswith(beside.get(name, ()))} <= {key}
            values.append((str(changed.get(key, "the run's")), changed.get("agent.init_args.network")))
            base = base_of(run, stored, settings, tmp_path, name=variant.name)
            if set(changed) and key.startswith(("model.", "bank.")):
                assert (base.changed, base.stage) == (((key, changed[key]),), stage)
                assert base.folder.path.parent == tmp_path
            else:
                assert base == Base(folder=run)
        assert len(set(values)) == len(values) >= 3


@pytest.mark.parametrize("argument", ["--model.glance_size=8", "--data.num_frames=3", "--seed=1", "--stage0.epochs=7"])
def test_what_needs_another_stage_0_is_refused(finished: Path, tmp_path: Path, argument: str) -> None:
    run = RunFolder(finished)
    key = argument[2:].split("=")[0]
    with pytest.raises(UserError, match=f"'it' changes {key}, .* train it as a run of its own"):
        base_of(run, load_settings(run.config), variant_settings(run, [argument]), tmp_path, name="it")


def test_other_grids_and_patches_have_their_own_banks(cli: Cli, run: Path, tmp_path: Path) -> None:
    path = tmp_path / "sizes.yaml"
    variants = [
        {"name": "as it is", "overrides": {"agent": "CenterAgent"}},
        {"name": "grid of 2", "overrides": {"agent": "CenterAgent", "model.grid": 2}},
        {"name": "patch of 8", "overrides": {"agent": "CenterAgent", "model.patch_size": 8}},
        {"name": "patch of 80", "overrides": {"agent": "CenterAgent", "model.patch_size": 80}},
    ]
    path.write_text(yaml.safe_dump(variants))
    done = cli("compare", run, "--ablation", path, "--seeds", "1", "--jobs", "1")
    # The last one is larger than the frame: its own fault, and nobody else's.
    assert done.code == 1
    assert "adafocus: patch of 80: " in done.err
    assert "grid of 2: its own banks, in " in done.err
    rows = json.loads((run / "compare" / "sizes" / "compare.json").read_text())["rows"]
    assert [row["agent"] for row in rows] == ["as it is", "grid of 2", "patch of 8"]
    plain, grid, patch = (row["gmacs_per_video"] for row in rows)
    assert patch < plain == grid
    bases = {folder.name.rsplit("-", 1)[0]: folder for folder in (run / "compare" / "bases").iterdir()}
    tables = {name: read_manifest(bases[name] / "features" / "val" / "local")["shape"] for name in bases}
    assert {name: shape[0] for name, shape in tables.items()} == {"grid-2": 4, "patch_size-8": 9}

    def weights(folder: Path, stage: int) -> dict[str, Any]:
        return checkpoint.load(folder / "checkpoints" / f"stage{stage}.safetensors")[0]

    # The same recognizer on another grid; another f_L and f_C, from the same stage 0, for another patch.
    assert checkpoint.tensors_hash(weights(bases["grid-2"], 1)) == checkpoint.tensors_hash(weights(run, 1))
    assert checkpoint.tensors_hash(weights(bases["patch_size-8"], 0)) == checkpoint.tensors_hash(weights(run, 0))
    own, other = weights(run, 1), weights(bases["patch_size-8"], 1)
    same = {name.split(".")[1] for name in own if own[name].equal(other[name])}
    changed = {name.split(".")[1] for name in own if not own[name].equal(other[name])}
    assert "glance" in same
    assert changed == {"focus", "classifier"}
    # Made once.
    before = {path: path.stat().st_mtime_ns for folder in bases.values() for path in folder.rglob("*.npy")}
    assert cli("compare", run, "--ablation", path, "--seeds", "1", "--jobs", "1").code == 1
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_a_recipe_stands_for_its_run(
    cli: Cli, recipe: Path, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = ["--agents", "CenterAgent", "--seeds", "1", "--jobs", "1", "--out", tmp_path / "out"]
    done = cli("compare", recipe, *arguments)
    assert done.code == 2
    assert f"there is no run of {recipe} in runs/tiny to compare on; make it with `adafocus train {recipe}" in done.err
    assert cli("compare", recipe, "--run", finished, *arguments).code == 0
    Path("runs").mkdir()
    Path("runs/tiny").symlink_to(finished)
    assert cli("compare", recipe, *arguments).code == 0
    assert not (finished / "compare").exists()
    done = cli("compare", finished, "--run", finished, *arguments)
    assert (done.code, "says it twice" in done.err) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "needs --agents A B …, --ablation NAME, or --methods … --sweep: one of them"),
        (["--agents", "PPOAgent", "--ablation", "rewards"], "one of them"),
        (["--agents", "PPOAgen"], "did you mean 'PPOAgent'?"),
        (["--agents", "PPOAgent:gama=1"], "unknown key 'agent.gama' of PPOAgent; did you mean 'agent.gamma'?"),
        (["--agents", "PPOAgent:gamma=much"], "agent.gamma is much; expected a number"),
        (["--agents", "PPOAgent", "PPOAgent"], "'PPOAgent' is given twice"),
        (["--agents", "PPOAgent", "--seeds", "0"], "--seeds is 0; give at least 1"),
        (["--agents", "PPOAgent", "--jobs", "0"], "--jobs is 0; give at least 1"),
        (["--agents", "PPOAgent", "--stage2.epoch=1"], "did you mean '--stage2.epochs'?"),
        (["--agents", "PPOAgent", "--stage2.epochs", "1"], "unexpected argument '--stage2.epochs'"),
        (["--ablation", "reward"], "unknown ablation 'reward'; did you mean 'rewards'?"),
        (["--ablation", "no/such.yaml"], "there is no ablation file no/such.yaml"),
    ],
)
def test_mistakes_are_told_before_any_work(cli: Cli, finished: Path, arguments: list[str], message: str) -> None:
    done = cli("compare", finished, *arguments)
    assert done.code == 2
    assert message in done.err
    assert not (finished / "compare").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a: 1", "is not an ablation; give a list"),
        ("- name: x", "give a block with `name` and a block `overrides`"),
        ("- {name: x, overrides: {}, extra: 1}", "has the key 'extra' in 'x'"),
        ("- [", "is not valid YAML"),
    ],
)
def test_files_that_are_no_ablations(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(content)
    with pytest.raises(UserError, match=message):
        read_ablation(str(path))


def test_a_mistake_in_an_ablation_names_the_file(cli: Cli, finished: Path, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("- {name: x, overrides: {stage2.epochs: 1}}\n- {name: y, overrides: {stage2.epoch: 1}}\n")
    done = cli("compare", finished, "--ablation", path)
    assert done.code == 2
    assert f"{path}: unknown key '--stage2.epoch'; did you mean '--stage2.epochs'?" in done.err
    done = cli("compare", finished, "--ablation", path, "--stage3.epoch=1")
    assert "adafocus: unknown key '--stage3.epoch'" in done.err


def test_the_studys_recipe_and_its_variants_read(tmp_path: Path) -> None:
    folder = Path(__file__).parents[2] / "docs" / "study_fight"
    base = load_settings(folder / "recipe.yaml")
    (tmp_path / "config.yaml").write_text((folder / "recipe.yaml").read_text())
    run = RunFolder(tmp_path)
    _, variants = read_ablation(str(folder / "variants.yaml"))
    page = (folder.parent / "study_fight.md").read_text(encoding="utf-8")
    for variant in variants:
        wanted = variant_settings(run, as_arguments(variant.overrides))
        # All of them on the run's own recognizer and bank.
        assert not base_of(run, load_settings(run.config), wanted, tmp_path, name=variant.name).changed
        assert (wanted.values == base.values) == (variant.name == "ppo")
        assert f"| {variant.name} |" in page


def test_the_variants_of_the_products_study_read(tmp_path: Path) -> None:
    base = load_settings(find_recipe("moving_products"))
    (tmp_path / "config.yaml").write_text(base.text)
    run = RunFolder(tmp_path)
    _, variants = read_ablation(str(Path(__file__).parents[2] / "docs" / "study_products" / "variants.yaml"))
    for variant in variants:
        wanted = variant_settings(run, as_arguments(variant.overrides))
        # All of them on the run's own recognizer and bank.
        assert not base_of(run, load_settings(run.config), wanted, tmp_path, name=variant.name).changed
