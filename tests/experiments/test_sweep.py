"""adafocus compare --sweep: every registered system at all of its operating points, trained once, in one table."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from adafocus_rl.agents.methods import FIRST_VISIT, METHODS, Cost, Method, Outcome, Steps, Visit
from adafocus_rl.agents.methods.learnt import FrameVectors
from adafocus_rl.errors import UserError
from adafocus_rl.experiments.sweep import jobs
from adafocus_rl.features import EpisodeFeatures, TableSpec
from adafocus_rl.models.config import EncoderConfig, ModelConfig
from adafocus_rl.record import FINE_TUNED, RANDOM_DECISIONS, EpisodeRecord

Cli = Any
COLOR = TableSpec(name="color", fill=lambda chunk: chunk.frames.mean((2, 3)))
SMALL = ["--seeds", "2", "--jobs", "1", "--methods.SCSampler.frames=[1,2]", "--methods.SCSampler.training.epochs=2"]


class Knowing(Method):
    """Says the true class in a share of the videos, by their numbers, and reads a table of its own."""

    label = "knowing"
    knob_name = "share"
    knobs = (0.5, 1.0)
    tables = (COLOR,)

    def run(self, batch: EpisodeFeatures, *, knob: float | None = None, visit: Visit = FIRST_VISIT) -> Outcome:
        steps = batch.table(COLOR).shape[1]
        assert knob is not None
        known = batch.videos < 6 * knob
        logits = batch.multi_hot * torch.where(known, 1.0, -1.0)[:, None]
        kept = torch.zeros(len(batch), steps, dtype=torch.bool)
        kept[:, : int(steps * knob)] = True
        return Outcome.after(
            Steps(
                logits=logits[:, None].expand(-1, steps, -1),
                boxes=torch.zeros(len(batch), steps, 4, dtype=torch.long),
                kept=kept,
                cost=Cost(always=1, local=10**9),
            )
        )

    def random_counterpart(self) -> Method:
        return Ignorant(self.recognizer, seed=self.seed)


class Ignorant(Knowing):
    """Is always wrong."""

    variant = RANDOM_DECISIONS
    stochastic = True

    def run(self, batch: EpisodeFeatures, *, knob: float | None = None, visit: Visit = FIRST_VISIT) -> Outcome:
        found = super().run(batch, knob=knob, visit=visit)
        return Outcome(logits=-batch.multi_hot, macs=found.macs, trace=found.trace)


class Misfit(Method):
    """Fits no run."""

    label = "misfit"

    def __init__(self, *arguments: Any, **options: Any) -> None:
        raise UserError("it needs frames of 10,000 pixels")

    def run(self, batch: EpisodeFeatures, *, knob: float | None = None, visit: Visit = FIRST_VISIT) -> Outcome:
        raise NotImplementedError


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    METHODS.names()  # other packages' methods are found now, not in the middle of a test
    entries = {"Knowing": Knowing, "Misfit": Misfit}
    entries |= {name: METHODS.get(name) for name in ("SCSampler", "WholeFrames")}
    monkeypatch.setattr(METHODS, "_entries", entries)


@pytest.fixture
def worked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Which jobs train, as ``NAME seed N``."""
    seen: list[str] = []
    for kind in (jobs.MethodJob, jobs.AgentJob):
        original = kind.run

        def recorded(job: Any, original: Any = original) -> None:
            seen.append(f"{job.name} seed {job.seed}")
            original(job)

        monkeypatch.setattr(kind, "run", recorded)
    return seen


def unchanged(folder: Path) -> dict[str, int]:
    """Times of all files of a run but those that the sweep adds."""
    return {
        str(path.relative_to(folder)): path.stat().st_mtime_ns
        for path in folder.rglob("*")
        if path.is_file() and not {"compare", "color"} & {*path.relative_to(folder).parts}
    }


@pytest.mark.slow
def test_every_system_at_all_of_its_knobs(cli: Cli, run: Path, worked: list[str]) -> None:
    before = unchanged(run)
    done = cli("compare", run, "--methods", "all", "--sweep", *SMALL, "--published", "--json")
    assert done.code == 0, done.err
    assert unchanged(run) == before
    assert worked == [
        "AdaFocus (ppo) seed 0", "Knowing seed 0", "SCSampler seed 0", "WholeFrames seed 0",
        "AdaFocus (ppo) seed 1", "SCSampler seed 1", "WholeFrames seed 1",
    ]  # fmt: skip
    content = json.loads(done.out)
    out = run / "compare"
    assert json.loads((out / "systems.json").read_text(), parse_constant=pytest.fail) == content
    assert content["left_out"] == [{"system": "Misfit", "reason": "it needs frames of 10,000 pixels"}]
    assert "Misfit is left out: it needs frames of 10,000 pixels" in done.err
    curves = content["curves"]
    points = {label: [(one["variant"], one["knob"], one["seeds"]) for one in curve] for label, curve in curves.items()}
    assert points == {
        "ppo": [(FINE_TUNED, None, 2), (RANDOM_DECISIONS, None, 2)],
        "knowing": [(None, 0.5, 1), (None, 1.0, 1), (RANDOM_DECISIONS, 0.5, 1), (RANDOM_DECISIONS, 1.0, 1)],
        "scsampler": [(None, 1.0, 2), (None, 2.0, 2), (RANDOM_DECISIONS, 1.0, 2), (RANDOM_DECISIONS, 2.0, 2)],
        "full_frame": [(None, None, 2)],
    }
    for curve in curves.values():
        for point in curve:
            assert 0 <= point["low"] <= point["top1"] <= point["high"] <= 1
            assert 0 <= point["map"] <= 1
            assert point["gmacs_per_video"] > 0
            assert point["ms_per_video"] > 0
            assert (point["difference"] is None) == (
                point["name"] == "WholeFrames" or point["variant"] == RANDOM_DECISIONS
            )
    half, whole, _, guess = curves["knowing"]
    assert (half["top1"], whole["top1"], guess["top1"]) == (0.5, 1, 0)
    assert [whole[name] for name in ("difference", "difference_low", "difference_high")] == [1, 1, 1]
    assert (half["gmacs_per_video"], whole["gmacs_per_video"]) == pytest.approx((2, 4), rel=1e-6)
    assert (half["kept"], half["knob_name"], half["over_seeds"]) == (0.5, "share", True)
    random = [point for point in curves["scsampler"] if point["variant"] == RANDOM_DECISIONS]
    for point, other in zip(curves["scsampler"], random, strict=False):
        assert point["gmacs_per_video"] == other["gmacs_per_video"]
        assert point["ms_per_video"] == other["ms_per_video"]
        assert point["difference"] == pytest.approx(point["top1"] - other["top1"])


@pytest.mark.slow
def test_seed_0_of_a_system_is_the_runs_own(cli: Cli, run: Path) -> None:
    """The run has seed 0 and an agent with stage III; the sweep trains and measures the same by another way."""
    done = cli("compare", run, "--methods", "AdaFocus", "full_frame", "--sweep", "--seeds", "1", "--json")
    assert done.code == 0, done.err
    curves = json.loads(done.out)["curves"]
    rows = {(row["agent"], row["variant"]): row for row in json.loads((run / "results.json").read_text())["rows"]}
    for label, variant in (("ppo", FINE_TUNED), ("full_frame", None)):
        for key in ("top1", "map", "gmacs_per_video", "local_gmacs_per_video", "videos"):
            assert curves[label][0][key] == pytest.approx(rows[label, variant][key]), key
    assert [point["over_seeds"] for point in curves["ppo"]] == [False, False]
    assert curves["ppo"][1]["gmacs_per_video"] == curves["ppo"][0]["gmacs_per_video"], "random patches pay for π"
    # The trainings of agents are those of `compare --agents`.
    (training,) = (run / "compare" / "trainings").iterdir()
    assert EpisodeRecord.load(training / "seed0" / "stage3.episodes.safetensors").traces


@pytest.mark.slow
def test_a_rerun_does_only_what_is_missing(cli: Cli, run: Path, worked: list[str]) -> None:
    def trained(*arguments: str) -> list[str]:
        worked.clear()
        done = cli("compare", run, "--sweep", "--jobs", "1", *arguments)
        assert done.code == 0, done.err
        return list(worked)

    options = ["--methods", "scsampler", "--methods.SCSampler.training.epochs=1"]
    assert trained("--seeds", "1", *options) == ["SCSampler seed 0"]
    first = json.loads((run / "compare" / "systems.json").read_text())["curves"]
    assert trained("--seeds", "1", *options) == []
    assert json.loads((run / "compare" / "systems.json").read_text())["curves"] == first, "times included"
    assert trained("--seeds", "2", *options) == ["SCSampler seed 1"]
    assert trained("--seeds", "1", *options, "--evaluation.timed_videos=0") == []
    assert not json.loads((run / "compare" / "systems.json").read_text())["curves"]["scsampler"][0]["ms_per_video"]
    assert trained("--seeds", "1", *options, "--methods.SCSampler.frames=[2]") == ["SCSampler seed 0"]
    # Options of the configuration's block are used, too.
    content = yaml.safe_load((run / "config.yaml").read_text())
    (run / "config.yaml").write_text(
        yaml.safe_dump({**content, "methods": {"SCSampler": {"frames": [2], "training": {"epochs": 1}}}})
    )
    assert trained("--seeds", "1", "--methods", "SCSampler") == []
    for result in (run / "compare" / "systems").glob("SCSampler-*/seed0/system.json"):
        result.write_text("{}")
    done = cli("compare", run, "--sweep", "--methods", "SCSampler", "--seeds", "1")
    assert done.code == 2
    assert "has no 'points'; delete it and run the same command again" in done.err


def test_what_is_written(cli: Cli, run: Path) -> None:
    done = cli("compare", run, "--methods", "Knowing", "scsampler", "--sweep", *SMALL, "--published")
    assert done.code == 0, done.err
    assert "validation top-1 %, 6 videos" in done.out
    assert "+100.0 (+100.0 – +100.0)" in done.out
    out = run / "compare"
    table = [*csv.DictReader((out / "systems.csv").read_text().splitlines())]
    assert [(row["system"], row["label"], row["knob"]) for row in table[:2]] == [
        ("Knowing", "knowing", "0.5"), ("Knowing", "knowing", "1.0"),
    ]  # fmt: skip
    text = (out / "systems.md").read_text()
    assert "| Knowing | – | share 1 | 100 | 100.0 | 100.0 – 100.0 | +100.0 (+100.0 – +100.0) |" in text
    for picture in ("systems_gmacs.png", "systems_ms.png", "published.png", "published_motion.png"):
        assert f"({picture})" in text
        assert (out / picture).read_bytes().startswith(b"\x89PNG")
    page = (out / "leaderboard.html").read_text()
    assert 'id="videos"' not in page
    assert page.count('class="chart"') == 2 + 5
    assert "Nothing in these charts was measured here" in page
    assert "src=" not in page
    assert "http" not in page.replace("http-equiv", "").replace("http://www.w3.org/2000/svg", "")
    assert page.index("Accuracy and cost") < page.index("<table") < page.index("Published points")
    assert cli("compare", run, "--methods", "Knowing", "--sweep", "--seeds", "1").code == 0
    assert "Published" not in (out / "leaderboard.html").read_text()


def test_a_system_that_fails_does_not_stop_the_others(cli: Cli, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: Method, *_: Any, **__: Any) -> Outcome:
        raise RuntimeError("no luck")

    monkeypatch.setattr(Knowing, "run", broken)
    done = cli("compare", run, "--methods", "Knowing", "WholeFrames", "--sweep", "--seeds", "1", "--jobs", "1")
    assert done.code == 1
    assert "RuntimeError: no luck" in done.err
    content = json.loads((run / "compare" / "systems.json").read_text())
    assert [failure["system"] for failure in content["failed"]] == ["Knowing"]
    assert list(content["curves"]) == ["full_frame"]
    assert "Knowing failed: RuntimeError: no luck" in (run / "compare" / "systems.md").read_text()


def test_mistakes_are_sentences(cli: Cli, run: Path) -> None:
    for arguments, message in (
        (["--sweep", "--methods", "SCsampler"], "there is no system 'SCsampler'; did you mean 'SCSampler'?"),
        (["--sweep", "--agents", "PPOAgent"], "--agents does not go with --sweep"),
        (["--sweep", "--full-frame"], "--full-frame does not go with --sweep"),
        (["--sweep", "--model.patch_size=8"], "model.patch_size changes the recognizer or the bank"),
        (["--sweep", "--methods.SCSampler.frames=[0]"], "frames"),
        (["--published", "--agents", "PPOAgent"], "--published goes with --sweep"),
        (["--methods", "all", "--agents", "PPOAgent"], "--methods all goes with --sweep"),
        (["--methods", "scsampler"], "--methods … --sweep"),
        ([str(run), "--sweep"], "--sweep takes one run, and 2 are given"),
    ):
        done = cli("compare", run, *arguments)
        assert done.code == 2, arguments
        assert message in done.err


def test_a_run_without_its_recognizer(cli: Cli, run: Path) -> None:
    (run / "checkpoints" / "stage1.safetensors").unlink()
    done = cli("compare", run, "--sweep")
    assert done.code == 2
    assert "there is no checkpoint" in done.err


def test_frame_features_need_an_encoder_of_frames() -> None:
    for glance, reason in (
        (EncoderConfig(name="none"), "model.glance is 'none'"),
        (EncoderConfig(name="tsm_mobilenet_v2", num_frames=8), "model.glance processes clips as a whole"),
    ):
        with pytest.raises(UserError, match=reason):
            FrameVectors.of("glance", None, ModelConfig(glance=glance))


@pytest.mark.slow
def test_the_run_s_own_frame_skipping_beside_random_frames(cli: Cli, recipe: Path, run: Path) -> None:
    """Its π′ are those that the run has trained: the rows of the sweep are the run's own."""
    sweep = ["compare", run, "--sweep", "--methods", "AdaFocusPlus", "--json"]
    done = cli(*sweep)
    assert done.code == 2
    assert "the run skips no frames" in done.err
    done = cli(
        "train", recipe, "--out", run, "--stages", "2", "3", "--skip.lambdas=[0.1,10]", "--skip.epochs=1",
    )  # fmt: skip
    assert done.code == 0, done.err
    done = cli(*sweep)
    assert done.code == 0, done.err
    points = {(point["variant"], point["knob"]): point for point in json.loads(done.out)["curves"]["ppo+skip"]}
    assert [*points] == [(variant, knob) for variant in (FINE_TUNED, RANDOM_DECISIONS) for knob in (0.1, 10)]
    rows = {
        (row["agent"], row["variant"], row["knob"]): row
        for row in json.loads((run / "results.json").read_text())["rows"]
    }
    for (variant, knob), point in points.items():
        # The run measures random frames in the same way, and calls them otherwise.
        row = rows["ppo+skip", variant, knob] if variant == FINE_TUNED else rows["random_skip", FINE_TUNED, knob]
        for key in ("top1", "map", "kept", "gmacs_per_video"):
            assert point[key] == pytest.approx(row[key]), (variant, knob, key)
