"""Strips of frames within a budget, confusion matrices, films and names that try something."""

from __future__ import annotations

import base64
import dataclasses
import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from adafocus_rl.envs.render import CHOSEN_COLOR, TRUE_COLOR
from adafocus_rl.experiments.report import page, pictures
from adafocus_rl.experiments.report.confusion import confusion_chart
from adafocus_rl.experiments.report.pictures import film, sheet, write_film
from adafocus_rl.experiments.report.plot import Plot, Point
from adafocus_rl.experiments.report.shown import Panel, ShownVideo, spread
from adafocus_rl.experiments.report.strips import BUDGET, encode_strips
from adafocus_rl.experiments.report.table import Cell, Table


def opened(strip: str) -> Image.Image:
    kind, _, content = strip.partition(",")
    assert kind == "data:image/webp;base64"
    return Image.open(io.BytesIO(base64.b64decode(content))).convert("RGB")


def noise(frames: int, side: int, seed: int = 0) -> torch.Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (frames, 3, side, side), generator=draw).to(torch.uint8)


def test_a_strip_shows_the_frames_from_left_to_right() -> None:
    clip = torch.zeros(3, 3, 16, 16, dtype=torch.uint8)
    clip[0, 0], clip[1, 1], clip[2, 2] = 200, 200, 200
    (strip,) = encode_strips([clip])
    picture = np.asarray(opened(strip)).astype(int)
    assert picture.shape == (16, 48, 3)
    for number in range(3):
        inside = picture[4:12, 16 * number + 4 : 16 * number + 12].mean((0, 1))
        assert inside[number] > 150
        assert np.delete(inside, number).max() < 50


@pytest.mark.parametrize("budget", [40_000, 400_000])
def test_strips_keep_to_the_budget_whatever_the_frames_are(budget: int) -> None:
    # Noise is the hardest there is.
    strips = encode_strips([noise(4, 128, seed) for seed in range(4)], budget=budget)
    assert sum(map(len, strips)) <= budget
    wide, high = opened(strips[0]).size
    assert wide == 4 * high
    assert (high == 128) == (budget == 400_000)


def test_names_are_looked_at_and_not_obeyed(tmp_path: Path) -> None:
    """Escapes, marks that turn writing around, NUL, halves of characters, in each place that a name gets to."""
    name, shown = "gpj\u202e\x1b[31m\x00\udcff\n\r", r"gpj\u202e\x1b[31m\x00\udcff\n\r"
    panel = Panel(
        title=name, boxes=torch.full((2, 4), 8), kept=[True, False], says=[name] * 2, confidence=[0.5, 0.5], right=False
    )
    video = ShownVideo(
        row=0, path=name, clip=noise(2, 16), true_boxes=torch.full((2, 4), torch.nan), true_names=[name], panels=[panel]
    )
    assert (video.path, video.true_names, panel.title, panel.says) == (shown, [shown], shown, [shown] * 2)
    plot = Plot(heading=name, x_label="x", y_label="y", points=[Point(name=name, x=1, y=2)])
    content = page.PageContent(
        title=name, subtitle=name, footer=name, table=Table(heads=[name], rows=[[Cell(text=name)]]), notes=[name],
        charts=[plot], videos=[video], failed=[(name, name)],
    )  # fmt: skip
    text = page.render_page(content)
    assert not {"\u202e", "\x1b", "\x00", "\udcff", "\r"} & {*text}
    assert "u202e" not in text.replace(r"gpj\u202e", "").replace(r"gpj\\u202e", "")
    write_film(tmp_path / "film.mp4", [video])
    sheet([video], title=name * 100_000).save(tmp_path / "sheet.png")


def test_a_page_of_fifty_videos_stays_under_15_megabytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """16 frames, 49 positions, six agents, as in ActivityNet's recipe, beside frames that use up their budget."""
    monkeypatch.setattr(page, "encode_strips", lambda clips, budget: ["x" * (budget // len(clips))] * len(clips))
    panels = [
        Panel(
            title=f"agent {number}", boxes=torch.full((16, 4), 112), kept=[True] * 16, says=["class"] * 16,
            confidence=[0.12345] * 16, right=True, true_confidence=[0.12345] * 16, reward=[-0.12345] * 16,
            gmacs=26.61234, probabilities=torch.rand(16, 49), patch_size=128,
        )
        for number in range(6)
    ]  # fmt: skip
    videos = [
        ShownVideo(
            row=row, path=f"{row}.mp4", clip=torch.zeros(16, 3, 224, 224), true_boxes=torch.full((16, 4), 100.125),
            true_names=["class"], panels=panels,
        )
        for row in range(50)
    ]  # fmt: skip
    size = len(page.render_page(page.PageContent(title="", subtitle="", footer="", videos=videos)).encode())
    assert BUDGET < size < 15_000_000


def test_a_page_without_anything() -> None:
    text = page.render_page(page.PageContent(title="a", subtitle="b", footer="c"))
    assert "No results have been written yet." in text


def test_a_confusion_matrix_shows_what_happened_and_nothing_else() -> None:
    svg = confusion_chart([(0, 0, 3), (0, 1, 1)], ["a", "<b>"], title="t")
    assert svg.count("<rect") == 3
    assert "<title>a taken for a: 3 of 4</title>" in svg
    assert "<title>a taken for &lt;b&gt;: 1 of 4</title>" in svg


def test_places_are_evenly_spread() -> None:
    assert spread(10, 4) == [0, 3, 6, 9]
    assert spread(3, 50) == [0, 1, 2]
    assert spread(3, 0) == []


def test_a_film_says_what_was_right_and_what_its_colours_mean(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[tuple[str, object]] = []
    monkeypatch.setattr(
        pictures, "draw_caption", lambda picture, text, *, color="black": said.append((text, color)) or picture
    )
    panel = Panel(
        title="a", boxes=torch.tensor([[0, 0, 5, 5]] * 2), kept=[True, False], says=["x", "y"], confidence=[0.5, 0.75],
        right=True,
    )  # fmt: skip
    video = ShownVideo(
        row=0, path="", clip=noise(2, 60), true_boxes=torch.full((2, 4), torch.nan), true_names=["y"], panels=[panel]
    )
    (frame, _) = film([video])
    assert [(text, color) for text, color in said if text.startswith("says")] == [
        ("says x (50%): wrong", pictures.WRONG_COLOR), ("says y (75%): right", pictures.RIGHT_COLOR),
    ]  # fmt: skip
    assert ("true class: y", "black") in said
    # Below the frame of 300 pixels, squares in the colours of the patch and of skipped frames; there is no true box.
    below = {tuple(color) for color in frame[300:].reshape(-1, 3).tolist()}
    assert {CHOSEN_COLOR, pictures.SKIPPED_COLOR} <= below
    assert TRUE_COLOR not in below
    # An unknown class has no verdict.
    said.clear()
    film([dataclasses.replace(video, true_names=[])])
    assert [text for text, _ in said if text.startswith(("says", "true"))] == ["says x (50%)", "says y (75%)"]


def test_films_have_even_sides_and_keep_in_step() -> None:
    panel = Panel(
        title="a", boxes=torch.tensor([[0, 0, 5, 5]] * 2), kept=[True, False], says=["x", "y"], confidence=[0.5, 0.5],
        right=None,
    )  # fmt: skip
    video = ShownVideo(
        row=0, path="", clip=noise(2, 9), true_boxes=torch.full((2, 4), torch.nan), true_names=[], panels=[panel] * 3
    )
    pictures = film([video, video], min_side=45)
    assert len(pictures) == 2
    assert {picture.shape[0] % 2 + picture.shape[1] % 2 for picture in pictures} == {0}
    # Three side by side, two below each other: 45 pixels and a gap each.
    assert pictures[0].shape[1] == pytest.approx(3 * 49, abs=1)
    # The skipped frame is dark.
    assert pictures[1][10:40, 10:40].mean() < 0.6 * pictures[0][10:40, 10:40].mean()
