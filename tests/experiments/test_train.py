"""A whole run through the command line: what it leaves, and that it leaves the same twice."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from adafocus_rl.agents import GaussianOptions
from adafocus_rl.data.decode import decode_frames
from adafocus_rl.data.index import VideoIndex
from adafocus_rl.experiments.config.parser import load_settings
from adafocus_rl.record import FINE_TUNED, RANDOM_PATCHES

Cli = Any
Look = Any

ROW = {
    "agent": str, "variant": str, "knob": type(None), "kept": type(None), "top1": float,
    "top1_standard_error": float, "map": float, "gmacs_per_video": float, "local_gmacs_per_video": float,
    "ms_per_video": float, "ms_q1": float, "ms_q3": float, "videos": int, "reference": bool,
}  # fmt: skip
VARIANTS = (RANDOM_PATCHES, FINE_TUNED)
REFERENCES = ["random", "center", "gaussian", "oracle"]


def test_a_run_folder_has_everything(look: Look, finished: Path) -> None:
    present = {path.name for path in finished.iterdir()}
    assert present == {
        "config.yaml", "command.txt", "environment.json", "metrics.jsonl", "tensorboard", "checkpoints", "features",
        "results.json", "patches.png", "episodes.safetensors", "report.html",
    }  # fmt: skip
    checkpoints = {path.name for path in (finished / "checkpoints").iterdir()}
    assert checkpoints == {f"{name}.safetensors" for name in ("stage0", "stage1", "stage2", "stage3", "full_frame")}
    assert (finished / "command.txt").read_text().startswith("adafocus train ")
    environment = json.loads((finished / "environment.json").read_text())
    assert environment["packages"]["torch"]
    assert environment["deterministic"] is True
    assert environment["cublas_workspace"] in (":4096:8", ":16:8")
    stages = {"stage0.stills", "stage0", "stage1", "stage2", "stage3", "full_frame"}
    assert {line["stage"] for line in look.metrics(finished)} == stages
    assert {path.name for path in (finished / "tensorboard").iterdir()} == stages | {"evaluate"}


def test_results_have_the_schema(finished: Path) -> None:
    results = json.loads((finished / "results.json").read_text())
    assert json.loads((finished.parent / "stdout.json").read_text()) == results
    agents = ["ppo", *REFERENCES]
    rows = [(row["agent"], row["variant"]) for row in results["rows"]]
    assert rows == [(name, variant) for variant in VARIANTS for name in agents] + [("full_frame", None)]
    for row in results["rows"]:
        expected = ROW if row["variant"] else {**ROW, "variant": type(None)}
        assert {key: type(value) for key, value in row.items()} == expected
        assert 0 <= row["top1"] <= 1
        assert 0 <= row["map"] <= 1
        assert row["videos"] == 6
        assert row["reference"] == (row["agent"] == "oracle")
        # Random agents see each video twice, and a mean of two is closer to the mean of all.
        most = math.sqrt(row["top1"] * (1 - row["top1"]) / 6)
        if row["agent"] in ("random", "gaussian"):
            assert 0 <= row["top1_standard_error"] <= most + 1e-9
        else:
            assert row["top1_standard_error"] == pytest.approx(most)
    assert set(results["seconds"]) == {"0", "1", "2", "3", "bank", "evaluate"}
    assert results["failed"] == []


def test_patches_cost_their_share_of_whole_frames(look: Look, finished: Path) -> None:
    rows = {(row["agent"], row["variant"]): row for row in look.results(finished)["rows"]}
    # f_L is convolutional: a quarter of the pixels costs a quarter of the compute.
    patch, whole = (rows[one]["local_gmacs_per_video"] for one in (("ppo", FINE_TUNED), ("full_frame", None)))
    assert math.isclose(patch, whole / 4, rel_tol=1e-9)
    assert rows["ppo", FINE_TUNED]["gmacs_per_video"] > rows["random", FINE_TUNED]["gmacs_per_video"]


def test_the_contact_sheet_opens(finished: Path) -> None:
    with Image.open(finished / "patches.png") as picture:
        picture.load()
        # Two videos of four frames, each enlarged to at least 112 pixels.
        assert picture.width > 4 * 112
        assert picture.height > 2 * 112
        assert len(picture.convert("RGB").getcolors(1 << 20)) > 50


def test_the_configuration_reads_back(finished: Path, recipe: Path, tmp_path: Path) -> None:
    stored = load_settings(finished / "config.yaml")
    given = load_settings(recipe)
    assert stored == given
    assert stored.config.stage1.epochs == 1
    assert stored.config.agent.options.hidden == 16
    again = tmp_path / "again.yaml"
    again.write_text(stored.text)
    assert load_settings(again) == stored


def test_same_seed_same_results(look: Look, cli: Cli, finished: Path, recipe: Path, tmp_path: Path) -> None:
    done = cli("train", recipe, "--out", tmp_path / "run", "--data.workers=1")
    assert done.code == 0
    assert "full_frame" in done.out
    assert look.results(tmp_path / "run") == look.results(finished)
    assert look.metrics(tmp_path / "run") == look.metrics(finished)
    assert look.checkpoints(tmp_path / "run") == look.checkpoints(finished)


def test_another_seed_gives_other_weights(look: Look, cli: Cli, finished: Path, recipe: Path, tmp_path: Path) -> None:
    assert cli("train", recipe, "--out", tmp_path / "run", "--stages", "0", "--seed=1").code == 0
    changed = look.checkpoints(tmp_path / "run")["stage0.safetensors"]
    assert changed != look.checkpoints(finished)["stage0.safetensors"]


def test_stages_one_by_one_equal_all_at_once(
    look: Look, cli: Cli, finished: Path, recipe: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    for stages in (["0"], ["1"], ["2", "3"]):
        done = cli("train", recipe, "--out", run, "--stages", *stages)
        assert done.code == 0, done.err
    assert look.checkpoints(run) == look.checkpoints(finished)
    assert look.results(run) == look.results(finished)
    assert len((run / "command.txt").read_text().splitlines()) == 3


@pytest.mark.parametrize("name", ["RandomAgent", "CenterAgent", "GaussianAgent", "OracleAgent"])
def test_any_agent_on_the_stage_1_of_an_earlier_run(look: Look, cli: Cli, run: Path, recipe: Path, name: str) -> None:
    before = look.checkpoints(run)
    done = cli("train", recipe, "--out", run, "--stages", "2", "3", f"--agent={name}")
    assert done.code == 0, done.err
    rows = [(row["agent"], row["variant"]) for row in look.results(run)["rows"]]
    label = name.removesuffix("Agent").lower()
    agents = [label, *(other for other in REFERENCES if other != label)]
    assert rows == [(one, variant) for variant in VARIANTS for one in agents] + [("full_frame", None)]
    after = look.checkpoints(run)
    assert after["stage1.safetensors"] == before["stage1.safetensors"]
    assert after["stage3.safetensors"] != before["stage3.safetensors"]
    assert load_settings(run / "config.yaml").config.agent.name == name
    # The command after it opens the run as it is now.
    assert cli("evaluate", run).code == 0
    assert [(row["agent"], row["variant"]) for row in look.results(run)["rows"]] == rows


def test_an_agent_for_the_whole_run(cli: Cli, recipe: Path, tmp_path: Path) -> None:
    done = cli("train", recipe, "--out", tmp_path / "run", "--agent=GaussianAgent", "--agent.std=0.1", "--json")
    assert done.code == 0
    assert json.loads(done.out)["rows"][0]["agent"] == "gaussian"
    assert load_settings(tmp_path / "run" / "config.yaml").config.agent.options == GaussianOptions(std=0.1)


def test_live_features(look: Look, cli: Cli, run: Path, recipe: Path) -> None:
    live = ["--stage2.features=live", "--stage3.features=live"]
    done = cli("train", recipe, "--out", run, "--stages", "2", "3", *live)
    assert done.code == 0, done.err
    assert len(look.results(run)["rows"]) == 11


@pytest.mark.parametrize("classifier", ["average", "max_pool"])
def test_a_reward_and_a_classifier_by_name(cli: Cli, recipe: Path, tmp_path: Path, classifier: str) -> None:
    options = ["--env.reward.kind=increment", f"--model.classifier.name={classifier}"]
    done = cli("train", recipe, "--out", tmp_path, *options, "--json")
    assert done.code == 0, done.err
    rows = json.loads(done.out)["rows"]
    # From its checkpoints alone, the fine-tuned f_C recognises the same.
    again = cli("evaluate", tmp_path, "--agent=PPOAgent", "--json")
    assert again.code == 0, again.err
    expected = [row["top1"] for row in rows if row["agent"] == "ppo"]
    assert [row["top1"] for row in json.loads(again.out)["rows"]] == expected


def test_evaluating_one_agent_writes_nothing(look: Look, cli: Cli, run: Path) -> None:
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    done = cli("evaluate", run, "--agent=GaussianAgent", "--json")
    assert done.code == 0
    rows = json.loads(done.out)["rows"]
    assert [(row["agent"], row["variant"]) for row in rows] == [("gaussian", RANDOM_PATCHES), ("gaussian", FINE_TUNED)]
    stored = [row for row in look.results(run)["rows"] if row["agent"] == "gaussian"]
    assert [{key: value for key, value in row.items() if not key.startswith("ms_")} for row in rows] == stored
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def test_own_videos_as_folders_of_frames(look: Look, cli: Cli, videos: Path, recipe: Path, tmp_path: Path) -> None:
    """Frames extracted by their user, no number of frames and no boxes in the list."""
    for split in ("train", "val"):
        index = VideoIndex.read(videos / f"{split}.csv")
        lines = ["path,label"]
        for row, record in enumerate(index):
            name = f"frames/{split}_{row}"
            (videos / name).mkdir(parents=True)
            for number, frame in enumerate(decode_frames(index.full_path(row), range(record.video_frames))):
                Image.fromarray(frame).save(videos / name / f"{number}.png")
            lines.append(f"{name},{record.labels[0]}")
        (videos / f"{split}.csv").write_text("\n".join(lines) + "\n")
        (videos / f"{split}_boxes.csv").unlink()
    done = cli("train", recipe, "--out", tmp_path / "run", *look.own_videos(videos))
    assert done.code == 0, done.err
    agents = [row["agent"] for row in look.results(tmp_path / "run")["rows"]]
    assert "oracle" not in agents
    assert agents.count("random") == 2


def test_no_table_before_stage_2(cli: Cli, recipe: Path, tmp_path: Path) -> None:
    done = cli("train", recipe, "--out", tmp_path / "run", "--stages", "0", "--json")
    assert json.loads(done.out)["rows"] == []
    assert list(json.loads(done.out)["seconds"]) == ["0"]
    assert not (tmp_path / "run" / "features").exists()


def test_print_config_is_a_recipe(cli: Cli, recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        cli("train", recipe, "--stage1.epochs=7", "--print_config")
    assert left.value.code == 0
    printed = tmp_path / "printed.yaml"
    printed.write_text(capsys.readouterr().out)
    assert load_settings(printed).config.stage1.epochs == 7
    assert set(yaml.safe_load(printed.read_text())) == set(load_settings(recipe).values)
