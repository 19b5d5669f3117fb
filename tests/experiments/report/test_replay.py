"""What is drawn is what was done: page, film, picture and record agree with the agent's own actions."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import re
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from adafocus_rl.agents import Agent
from adafocus_rl.envs.render import CHOSEN_COLOR
from adafocus_rl.experiments.gym_entry import make_patch_selection_vec
from adafocus_rl.experiments.report.pictures import draw_moment
from adafocus_rl.experiments.report.shown import ShownVideo, show
from adafocus_rl.experiments.run.run import Run
from adafocus_rl.geometry import PatchGrid
from adafocus_rl.record import FINE_TUNED, RANDOM_PATCHES, EpisodeRecord

Cli = Any

GRID = PatchGrid(grid=3, frame_size=32, patch_size=16)


@pytest.fixture(scope="module")
def actions(finished: Path) -> torch.Tensor:
    """(6, 4) what the run's agent does when it is asked frame by frame, in the order of the validation list."""
    env = make_patch_selection_vec(run=finished, split="val", num_envs=6, shuffle=False)
    agent = Agent.load(finished / "checkpoints" / "stage2.safetensors", env)
    observation, info = env.reset()
    assert info["video"].tolist() == list(range(6))
    state, taken = None, []
    for _ in range(4):
        action, state = agent.predict(observation, state, deterministic=True)
        taken.append(action)
        observation, *_ = env.step(action)
    return torch.stack(taken, dim=1).cpu()


@pytest.fixture(scope="module")
def record(finished: Path) -> EpisodeRecord:
    return EpisodeRecord.load(finished / "episodes.safetensors")


def test_the_record_is_what_the_agent_does(record: EpisodeRecord, actions: torch.Tensor) -> None:
    traces = {(trace.name, trace.variant): trace for trace in record.traces}
    for variant in (RANDOM_PATCHES, FINE_TUNED):
        trace = traces["ppo", variant]
        assert torch.equal(trace.boxes, GRID.box(GRID.action_origin(actions)))
        assert trace.probabilities is not None
        assert torch.equal(trace.probabilities.argmax(-1), actions)


def test_the_record_adds_up_to_the_results(finished: Path, record: EpisodeRecord) -> None:
    rows = json.loads((finished / "results.json").read_text())["rows"]
    assert [(row["agent"], row["variant"]) for row in rows] == [(trace.name, trace.variant) for trace in record.traces]
    for row, trace in zip(rows, record.traces, strict=True):
        assert trace.macs.sum(1).double().mean() / 1e9 == pytest.approx(row["gmacs_per_video"], rel=1e-12)
        if row["agent"] in ("ppo", "oracle", "center", "full_frame"):
            assert float(record.right(trace).float().mean()) == pytest.approx(row["top1"])


def test_the_page_agrees(finished: Path, record: EpisodeRecord, actions: torch.Tensor) -> None:
    text = (finished / "report.html").read_text(encoding="utf-8")
    found = re.search(r'<script id="data" type="application/json">(.*?)</script>', text, re.DOTALL)
    assert found is not None
    data = json.loads(found[1])
    assert data["agents"][0]["title"] == "ppo, fine-tuned"
    boxes = torch.tensor([video["panels"][0]["boxes"] for video in data["videos"]])
    assert torch.equal(boxes, GRID.box(GRID.action_origin(actions)))
    assert [video["path"] for video in data["videos"]] == record.paths


def test_the_pages_of_runs_open_without_a_fault(browser: Any, finished: Path, screenshots: Path) -> None:
    for width in (1280, 400):
        browser.open(finished / "report.html", fragment="#video=2", width=width)
        assert browser.run("document.querySelectorAll('#gallery li').length") == 6
        assert browser.run("document.querySelectorAll('svg.chart').length") == 4
        # One matrix is shown, and the others wait for their agents.
        assert browser.run("[...document.querySelectorAll('.confusion-of')].filter((e) => !e.hidden).length") == 1
        assert browser.run("document.documentElement.scrollWidth") <= width
        # The accuracy can be seen without scrolling.
        assert browser.run("document.querySelector('.sortable th:nth-child(2)').textContent").startswith("top-1 %")
        assert browser.run("document.querySelector('.sortable td').getBoundingClientRect().right") <= width
        browser.screenshot(screenshots / f"run-{width}.png", whole=True)


def _outlined(picture: np.ndarray[Any, np.dtype[np.uint8]]) -> tuple[int, int, int, int]:
    """The box (top, left, height, width) around all pixels of the outline's colour."""
    rows, cols = (picture == np.array(CHOSEN_COLOR, dtype=np.uint8)).all(-1).nonzero()
    return rows.min(), cols.min(), rows.max() - rows.min() + 1, cols.max() - cols.min() + 1


def test_the_picture_agrees(cli: Cli, finished: Path, tmp_path: Path, actions: torch.Tensor) -> None:
    done = cli("replay", finished, "--video", "3", "--out", tmp_path / "sheet.png")
    assert done.code == 0, done.err
    with Image.open(tmp_path / "sheet.png") as picture:
        pixels = np.asarray(picture.convert("RGB"))
    # Frames of 32 pixels are drawn four times as large, 132 apart, to the right of the words; the last ends the row.
    for step in range(4):
        left = pixels.shape[1] - (4 - step) * 132
        box = np.array(_outlined(pixels[30 : 30 + 128, left : left + 128])) / 4
        assert box.tolist() == GRID.box(GRID.action_origin(actions[3, step])).tolist()


def test_the_film_agrees(
    cli: Cli, finished: Path, tmp_path: Path, actions: torch.Tensor, record: EpisodeRecord
) -> None:
    done = cli("replay", finished, "--video", "3", "--out", tmp_path / "clip.mp4", "--fps", "2")
    assert done.code == 0, done.err
    with av.open(str(tmp_path / "clip.mp4")) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264"
        assert stream.codec_context.pix_fmt == "yuv420p"
        assert stream.average_rate == 2
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(frames) == 4 + 2
    (video,), _ = show(record, Run.open(finished).clips.val, [3], record.last_traces()[:1])
    for step in range(4):
        # Of all that might have been drawn, the agent's own choice is nearest to what the film shows.
        distances = [_distance(frames[step], _moment(video, actions[3], step, other)) for other in range(9)]
        assert int(np.argmin(distances)) == int(actions[3, step])


def _moment(video: ShownVideo, actions: torch.Tensor, step: int, other: int) -> Any:
    """The frame as it would look if something else had been chosen in this step."""
    taken = actions.clone()
    taken[step] = other
    panel = dataclasses.replace(video.panels[0], boxes=GRID.box(GRID.action_origin(taken)))
    return draw_moment(video, panel, step, min_side=256)


def _distance(frame: Any, drawn: Any) -> float:
    height, width = drawn.shape[:2]
    return float(np.abs(frame[:height, :width].astype(np.float64) - drawn).mean())


def test_agents_and_videos_are_chosen(cli: Cli, finished: Path, tmp_path: Path) -> None:
    page = tmp_path / "new" / "page.html"
    done = cli("replay", finished, "--agents", "oracle", "random", "--video", "val/00004.mp4", "1", "--out", page)
    assert done.code == 0, done.err
    assert f"wrote {page}" in done.err
    found = re.search(r'<script id="data" type="application/json">(.*?)</script>', page.read_text(), re.DOTALL)
    assert found is not None
    data = json.loads(found[1])
    assert [agent["title"] for agent in data["agents"]] == ["oracle, fine-tuned", "random, fine-tuned"]
    assert [video["row"] for video in data["videos"]] == [4, 1]
    assert cli("replay", finished, "--videos", "4", "--out", tmp_path / "grid.mp4").code == 0
    with av.open(str(tmp_path / "grid.mp4")) as container:
        size = container.streams.video[0].codec_context
        # Two by two.
        assert size.width == pytest.approx(2 * 228, abs=4)
        assert size.height > 2 * 228


@pytest.mark.parametrize(
    ("arguments", "fragments"),
    [
        (["--out", "clip.avi"], ["clip.avi", ".mp4"]),
        (["--video", "77"], ["no video '77'", "from 0 to 5"]),
        (["--agents", "nobody"], ["no agent 'nobody'", "ppo, random"]),
        (["--video", "1", "--videos", "2"], ["--video", "--videos"]),
        (["--videos", "0"], ["--videos is 0"]),
    ],
)
def test_mistakes_are_one_sentence(cli: Cli, finished: Path, arguments: list[str], fragments: list[str]) -> None:
    done = cli("replay", finished, *arguments)
    assert done.code == 2
    assert "Traceback" not in done.err
    assert [fragment for fragment in fragments if fragment not in done.err] == []


def test_a_run_without_a_record_and_one_whose_list_changed(cli: Cli, run: Path) -> None:
    path = run / "episodes.safetensors"
    changed = dataclasses.replace(EpisodeRecord.load(path), index_hash="other")
    changed.save(path)
    done = cli("replay", run)
    assert done.code == 2
    assert "another list of videos" in done.err
    path.unlink()
    done = cli("replay", run)
    assert done.code == 2
    assert f"adafocus evaluate {run}" in done.err


def test_videos_that_are_gone_are_named_on_the_page(cli: Cli, recipe: Path, videos: Path, tmp_path: Path) -> None:
    out = tmp_path / "own"
    lists = [f"--data.train_list={videos / 'train.csv'}", f"--data.val_list={videos / 'val.csv'}"]
    options = ["--data.embedded=null", "--data.root=null", "--stage0.stills.epochs=0", *lists]
    assert cli("train", recipe, "--out", out, *options).code == 0
    (videos / "val" / "00002.mp4").unlink()
    done = cli("replay", out)
    assert done.code == 0, done.err
    text = (out / "report.html").read_text()
    assert "1 could not be decoded for this page" in text
    assert "00002.mp4" in text


def test_tensorboard_has_pictures_of_the_policy(finished: Path) -> None:
    events = EventAccumulator(str(finished / "tensorboard" / "stage2"), size_guidance={"images": 0}).Reload()
    (image,) = events.Images("replay/validation")
    assert image.step == 1
    # Words, and four frames of 128 pixels.
    assert image.width > 4 * 132 + 100
    assert image.height == 30 + 4 * 132


def test_a_comparison_has_a_page(cli: Cli, run: Path, browser: Any) -> None:
    agents = ["PPOAgent:gamma=0.5", "RandomAgent"]
    done = cli("compare", run, "--agents", *agents, "--seeds", "1", "--jobs", "1", "--finetune", "--json")
    assert done.code == 0, done.err
    page = run / "compare" / "report.html"
    assert f"wrote {page}" in done.err
    browser.open(page, fragment="#video=2")
    titles = browser.run("[...document.querySelectorAll('#by-agent option')].map((e) => e.textContent)")
    assert titles == [f"{name}, fine-tuned" for name in agents]
    assert browser.run("document.querySelectorAll('.sortable tbody tr').length") == 4
    assert browser.run("document.querySelectorAll('svg.chart').length") == 3


@pytest.mark.parametrize("name", ["²", "5" * 5000, "-1", "\udcff"])
def test_what_is_no_row_is_no_video(cli: Cli, finished: Path, tmp_path: Path, name: str) -> None:
    done = cli("replay", finished, f"--video={name}", "--out", tmp_path / "page.html")
    assert done.code == 2
    assert "Traceback" not in done.err


@pytest.mark.parametrize("name", ["film.mp4", "picture.png", "page.html"])
def test_a_full_disk_leaves_what_was_there(
    cli: Cli, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def full(_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    (tmp_path / name).write_text("before")
    monkeypatch.setattr(os, "fsync", full)
    done = cli("replay", finished, "--out", tmp_path / name)
    assert done.code == 2
    assert f"{tmp_path / name}: {os.strerror(errno.ENOSPC)}" in done.err
    assert (tmp_path / name).read_text() == "before"
    assert [path.name for path in tmp_path.iterdir()] == [name]
