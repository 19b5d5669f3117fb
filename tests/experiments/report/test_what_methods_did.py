"""Replay, predict and TensorBoard say where a method looked, in which order and size, and where it stopped."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from adafocus_rl.experiments.report.page import page_data
from adafocus_rl.experiments.report.pictures import sheet
from adafocus_rl.experiments.report.shown import Panel, ShownVideo, frame_notes, make_panel
from adafocus_rl.record import EpisodeRecord

Cli = Any


def test_notes() -> None:
    kept, ran = torch.tensor([True, False, True, False, False]), torch.tensor([True, False, True, False, False])
    assert frame_notes(kept) == (None, None)
    assert frame_notes(kept, ran=torch.tensor([True, False, True, False, True])) == (None, None)
    assert frame_notes(kept, ran=ran) == (["", "skipped", "", "stopped", "stopped"], 3)
    assert frame_notes(kept, sizes=torch.tensor([24, 0, 32, 0, 0])) == (
        ["at 24 pixels", "skipped", "at 32 pixels", "skipped", "skipped"], None,
    )  # fmt: skip
    notes, _ = frame_notes(kept, order=torch.tensor([1, -1, 0, -1, -1]))
    assert notes == ["look 2", "skipped", "look 1", "skipped", "skipped"]
    assert frame_notes(torch.zeros(2, dtype=torch.bool), ran=torch.zeros(2, dtype=torch.bool))[1] == 0


def test_pages_and_pictures_have_them() -> None:
    def video(**more: Any) -> ShownVideo:
        panel = Panel(
            title="a", boxes=torch.tensor([[0, 0, 32, 32]] * 3), kept=[True, True, False], says=["x"] * 3,
            confidence=[0.5] * 3, right=True, **more,
        )  # fmt: skip
        return ShownVideo(
            row=0, path="a.mp4", clip=torch.zeros(3, 3, 32, 32, dtype=torch.uint8),
            true_boxes=torch.full((3, 4), torch.nan), true_names=["x"], panels=[panel],
        )  # fmt: skip

    noted = video(notes=["at 24 pixels", "at 32 pixels", "stopped"], stopped=2)
    (panel,) = page_data([noted], budget=100_000)["videos"][0]["panels"]
    assert panel["notes"] == ["at 24 pixels", "at 32 pixels", "stopped"]
    assert panel["looked"] == "looked at 2 of 3, stopped after 2"
    # A line of text below each frame.
    assert sheet([noted], title="t").height > sheet([video()], title="t").height


@pytest.mark.slow
def test_a_search_resolutions_and_an_early_exit(cli: Cli, run: Path, recipe: Path, tmp_path: Path) -> None:
    content = yaml.safe_load((run / "config.yaml").read_text())
    short = {"training": {"epochs": 1}}
    methods = {
        "SCSampler": {"frames": [2], **short},
        "ARNet": {"hidden": 8, **short},
        "GFNet": {"budgets": [0.3], "epochs": 1, "fine_tuning": {"epochs": 1}},
    }
    (run / "config.yaml").write_text(yaml.safe_dump({**content, "methods": methods}))
    done = cli("evaluate", run, "--json", "--budget", "0.004")
    assert done.code == 0, done.err
    record = EpisodeRecord.load(run / "episodes.safetensors")
    traces = {trace.name: trace for trace in record.last_traces() if trace.variant != "random decisions"}
    sampler, resolutions, stopping = traces["scsampler"], traces["arnet"], traces["gfnet"]
    assert (sampler.kept.sum(1) == 2).all()
    assert resolutions.sizes is not None
    assert torch.equal(resolutions.sizes > 0, resolutions.kept)
    assert stopping.ran is not None
    assert not stopping.ran[:, -1].all()
    stopped = next(place for place in range(len(record)) if not stopping.ran[place, -1])
    panel = make_panel(record, stopping, stopped)
    assert panel.stopped == int(stopping.ran[stopped].sum())
    assert panel.notes is not None
    assert panel.notes[-1] == "stopped"

    page = re.search(r"<script[^>]*application/json[^>]*>(.*?)</script>", (run / "report.html").read_text(), re.DOTALL)
    assert page is not None
    assert "stopped after" in page[1]
    events = EventAccumulator(str(run / "tensorboard" / "evaluate"), size_guidance={"images": 0}).Reload()
    assert {f"replay/{trace.title}" for trace in record.last_traces()} == set(events.Tags()["images"])

    video = Path(yaml.safe_load(recipe.read_text())["data"]["root"]) / record.paths[stopped]
    found = {}
    for name, knob in (("ARNet", "0.05"), ("GFNet", "0.3"), ("SCSampler", "2")):
        done = cli("predict", run, video, "--method", name, "--knob", knob, "--json")
        assert done.code == 0, done.err
        (found[name],) = json.loads(done.out)["videos"]
    assert found["ARNet"]["sizes"] == resolutions.sizes[stopped].tolist()
    assert found["GFNet"]["ran"] == stopping.ran[stopped].tolist()
    assert found["SCSampler"]["kept"] == sampler.kept[stopped].tolist()
    done = cli("predict", run, video, "--method", "GFNet", "--knob", "0.3")
    assert f"stopped after {panel.stopped} of 4" in " ".join(done.out.split())
