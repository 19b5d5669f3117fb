"""``adafocus card``: a folder that says what was measured, recognises videos as the run does, and names no path."""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path
from typing import Any

import pytest
import yaml

from adafocus_rl.experiments.share.hub import push

Cli = Any


@pytest.fixture(scope="module")
def folder(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model folder of the finished run."""
    from adafocus_rl.experiments.share.write import write_model_folder

    return write_model_folder(finished, tmp_path_factory.mktemp("card") / "model", license="mit")


def _metadata(folder: Path) -> dict[str, Any]:
    _, front, _ = (folder / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    found: dict[str, Any] = yaml.safe_load(front)
    return found


def test_the_card_holds_the_measured_results(finished: Path, folder: Path) -> None:
    rows = json.loads((finished / "results.json").read_text())["rows"]
    (row,) = [row for row in rows if (row["agent"], row["variant"]) == ("ppo", "fine-tuned")]
    found = _metadata(folder)
    assert {key: found[key] for key in ("license", "library_name", "pipeline_tag")} == {
        "license": "mit", "library_name": "adafocus_rl", "pipeline_tag": "video-classification",
    }  # fmt: skip
    ((model,), (result,)) = found["model-index"], found["model-index"][0]["results"]
    assert model["name"] == "tiny"
    assert result["dataset"] == {"type": "moving-digits", "name": "moving_digits", "split": "validation"}
    accuracy = result["metrics"][0]
    assert accuracy["value"] == pytest.approx(row["top1"], abs=1e-5)
    assert accuracy["args"]["standard_error"] == pytest.approx(row["top1_standard_error"], abs=1e-5)
    assert accuracy["args"]["videos"] == row["videos"]
    text = (folder / "README.md").read_text(encoding="utf-8")
    assert all(f"| {one['agent'].replace('_', chr(92) + '_')} |" in text for one in rows)


def test_it_recognises_videos_as_the_run_does(cli: Cli, finished: Path, folder: Path, recipe: Path) -> None:
    video = Path(yaml.safe_load(recipe.read_text())["data"]["root"]) / "val" / "00001.mp4"
    both = []
    for run in (finished, folder):
        done = cli("predict", run, video, "--json")
        assert done.code == 0, done.err
        both.append(json.loads(done.out)["videos"])
    for (one,) in both:
        del one["ms"]
    assert both[0] == both[1]


def test_no_path_of_the_machine_is_in_it(finished: Path, folder: Path, recipe: Path) -> None:
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert {path.relative_to(folder).as_posix() for path in files} >= {
        "README.md", "config.yaml", "results.json", "report.html", "checkpoints/stage1.safetensors",
        "checkpoints/stage2.safetensors", "checkpoints/stage3.safetensors",
    }  # fmt: skip
    assert not (folder / "checkpoints" / "stage0.safetensors").exists()
    own = [str(finished.parent).encode(), str(recipe.parent).encode()]
    assert [path.name for path in files for place in own if place in path.read_bytes()] == []


def test_weights_files_and_other_runs_are_left_out(cli: Cli, run: Path, tmp_path: Path) -> None:
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["model"]["glance"]["weights"] = "/home/me/secret/f.pth"
    config["data"] |= {"embedded": None, "embedded_options": {}, "root": None, "train_list": "/home/me/train.csv"}
    config["data"]["val_list"] = "/home/me/val.csv"
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    done = cli("card", run, "--out", tmp_path / "model", "--no-page", "--dataset", "My | videos")
    assert done.code == 0, done.err
    written = (tmp_path / "model" / "config.yaml").read_text()
    assert "/home/me" not in written
    assert yaml.safe_load(written)["model"]["num_classes"] == 10
    assert not (tmp_path / "model" / "report.html").exists()
    assert r"My \| videos" in (tmp_path / "model" / "README.md").read_text()
    assert _metadata(tmp_path / "model")["model-index"][0]["results"][0]["dataset"]["type"] == "my-videos"


def test_huggingface_hub_reads_the_card(folder: Path) -> None:
    hub = pytest.importorskip("huggingface_hub", reason="needs huggingface_hub (the extra hub)")
    card = hub.ModelCard.load(folder / "README.md")
    assert card.data.pipeline_tag == "video-classification"
    found = card.data.eval_results
    assert {result.metric_type for result in found} == {"accuracy", "mean_average_precision", "gmacs"}
    assert all(result.metric_args["videos"] == 6 for result in found)


class _Client:
    """A client that notes what it is asked for."""

    def __init__(self) -> None:
        self.asked: list[Any] = []

    def create_repo(self, repo_id: str, **options: Any) -> str:
        self.asked.append((repo_id, options))
        return f"https://example.org/{repo_id}"

    def upload_folder(self, *, repo_id: str, folder_path: Path, commit_message: str) -> None:
        self.asked.append((repo_id, sorted(path.name for path in Path(folder_path).iterdir())))


def test_push_makes_a_private_repository_and_uploads_the_folder(
    cli: Cli, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = _Client()
    package = types.ModuleType("huggingface_hub")
    package.HfApi = lambda: client  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "huggingface_hub", package)
    done = cli("card", finished, "--out", tmp_path / "model", "--push", "me/digits")
    assert done.code == 0, done.err
    assert "uploaded to https://example.org/me/digits" in done.err
    created, uploaded = client.asked
    assert created == ("me/digits", {"private": True, "exist_ok": True})
    assert uploaded == ("me/digits", ["README.md", "checkpoints", "config.yaml", "report.html", "results.json"])


def test_a_failed_upload_keeps_the_folder_and_says_how_to_go_on(folder: Path) -> None:
    class Offline(_Client):
        def upload_folder(self, **_: Any) -> None:
            raise OSError("no network\nmore")

    from adafocus_rl.errors import UserError

    with pytest.raises(UserError, match=r"was written, but not uploaded to me/digits: no network; .*hf upload"):
        push(folder, "me/digits", Offline())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--push", "digits"], "give OWNER/NAME"),
        (["--push", "me/digits"], "needs huggingface-hub, which is not installed; run pip install 'adafocus_rl[hub]'"),
        (["--out", "."], "is not empty"),
    ],
)
def test_mistakes_are_refused_before_anything_is_written(
    cli: Cli, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], words: str
) -> None:
    monkeypatch.chdir(finished)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    done = cli("card", finished, "--out", tmp_path / "model", *arguments)
    assert done.code == 2
    assert words in done.err
    assert not (tmp_path / "model").exists()


def test_a_run_without_results_is_refused(cli: Cli, run: Path, tmp_path: Path) -> None:
    (run / "results.json").unlink()
    done = cli("card", run, "--out", tmp_path / "model")
    assert done.code == 2
    assert "adafocus evaluate" in done.err
