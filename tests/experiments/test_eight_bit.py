"""``bank.eight_bit``: a run whose bank has its large tables in 8 bits."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from adafocus_rl.agents.methods import FIRST_VISIT, AdaFocus
from adafocus_rl.data.dataset import make_loader
from adafocus_rl.experiments.config.parser import parse_settings
from adafocus_rl.experiments.evaluation.live import LiveMethod
from adafocus_rl.experiments.forecast.forecast import forecast
from adafocus_rl.experiments.run.features import RunFeatures
from adafocus_rl.experiments.run.folder import RunFolder
from adafocus_rl.experiments.run.handover import load_agent, load_recognizer
from adafocus_rl.experiments.run.run import Run
from adafocus_rl.features.manifest import read_manifest

Cli = Any


def dtypes(features: Path) -> dict[str, str]:
    """Types of the tables of features of the training videos."""
    found = map(read_manifest, sorted(path.parent for path in (features / "train").glob("*/manifest.json")))
    return {str(manifest["table"]): str(manifest["dtype"]) for manifest in found if "dtype" in manifest}


@pytest.fixture(scope="module")
def eight(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The finished run, with the configuration and the banks of one in 8 bits; not to be written to."""
    folder = RunFolder(Path(shutil.copytree(finished, tmp_path_factory.mktemp("eight") / "run")))
    content = yaml.safe_load(folder.config.read_text())
    content["bank"]["eight_bit"] = ["global_map", "local"]
    folder.config.write_text(yaml.safe_dump(content))
    shutil.rmtree(folder.features)
    run = Run.open(folder.path)
    features = RunFeatures(run, load_recognizer(run, "stage1"))
    features.training("bank")
    features.validation()
    return run


def test_recognition_on_the_bank_and_live(eight: Run) -> None:
    """Live features are not rounded; the choices are the same, and logits within the bound of other banks."""
    recognizer = load_recognizer(eight, "stage1")
    validation = RunFeatures(eight, recognizer, build=False).validation()
    env = eight.env(validation, recognizer.classifier)
    method = AdaFocus(recognizer, env=env, agent=load_agent(eight, env))
    (clips,) = make_loader(eight.clips.val, batches=[[*range(len(eight.clips.val))]])
    with torch.no_grad():
        stored = method.run(validation.episodes(clips.rows))
    live = LiveMethod(method, device=eight.device)(clips, FIRST_VISIT)
    assert torch.equal(stored.trace.boxes, live.trace.boxes)
    assert torch.equal(stored.logits.argmax(-1), live.logits.argmax(-1))
    error = (stored.trace.logits - live.trace.logits).abs().max()
    assert 1e-5 < error / live.trace.logits.abs().max() < 1e-2


def test_a_run_keeps_its_choice(cli: Cli, eight: Run, recipe: Path, tmp_path: Path) -> None:
    path = eight.folder.path
    assert {name for name, dtype in dtypes(path / "features").items() if dtype == "uint8"} == {"global_map", "local"}
    done = cli("features", "check", path)
    assert (done.code, "complete, 12 videos, fits the run" in done.err) == (0, True)
    for options in (["--resume"], ["--stages", "2", "3"]):
        done = cli("train", recipe, "--out", path, *options, "--bank.eight_bit=[global_map]")
        assert done.code == 2
        assert "was made with bank.eight_bit ['global_map', 'local'], now it is ['global_map']" in done.err
    done = cli("train", recipe, "--out", tmp_path / "other", "--bank.eight_bit=[full]")
    assert (done.code, "'global_map'" in done.err) == (2, True)


def test_the_forecast_counts_them(recipe: Path, run: Path, finished: Path) -> None:
    """Of the validation videos, as nothing else is needed."""
    shutil.rmtree(run / "features")
    settings = parse_settings("test", ["--config", str(recipe), "--bank.eight_bit=[global_map,local]"])
    found = forecast(Run(RunFolder(run), settings.config, resume=True), [3])

    def size(table: str) -> int:
        return sum(path.stat().st_size - 128 for path in (finished / "features" / "val").rglob(f"{table}.npy"))

    ranges = 6 * 4 * 8
    assert found.bank_bytes == size("*") - (size("global_map") + size("local")) // 2 + 2 * ranges


def test_a_comparison_builds_them(cli: Cli, run: Path, tmp_path: Path) -> None:
    """On the run's recognizer, and without a change of the run's own bank."""
    variants = [
        {"name": bits, "overrides": {"agent": "CenterAgent", "bank.eight_bit": tables}}
        for bits, tables in (("16", []), ("8", ["global_map", "local"]))
    ]
    (tmp_path / "bits.yaml").write_text(yaml.safe_dump(variants))
    done = cli("compare", run, "--ablation", tmp_path / "bits.yaml", "--seeds", "1", "--jobs", "1", "--json")
    assert done.code == 0, done.err
    assert set(dtypes(run / "features").values()) == {"float16"}
    (other,) = (run / "compare").glob("**/eight_bit*/features")
    assert dtypes(other)["local"] == dtypes(other)["global_map"] == "uint8"
    assert dtypes(other)["full"] == "float16"


def test_a_comparison_of_precisions_builds_its_banks(cli: Cli, run: Path, tmp_path: Path) -> None:
    variants = [
        {"name": precision, "overrides": {"agent": "CenterAgent", "bank.precision": precision}}
        for precision in ("float32", "bfloat16")
    ]
    (tmp_path / "precisions.yaml").write_text(yaml.safe_dump(variants))
    done = cli("compare", run, "--ablation", tmp_path / "precisions.yaml", "--seeds", "1", "--jobs", "1", "--json")
    assert done.code == 0, done.err
    (other,) = (run / "compare").glob("**/precision*/features")
    manifests = [json.loads(path.read_text()) for path in other.rglob("manifest.json")]
    assert "bfloat16" in {manifest.get("precision") for manifest in manifests}
