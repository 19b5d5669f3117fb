"""The page in a browser: open, sort, filter, scrub, keys, side by side; whatever names hold is shown as text."""

from __future__ import annotations

import html
import json
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from adafocus_rl.experiments.report.page import PageContent, render_page
from adafocus_rl.experiments.report.shown import Panel, ShownVideo
from adafocus_rl.experiments.report.table import Cell, Table

FRAMES, SIDE, PATCH = 5, 16, 8
NAMES = ["plain", "<script>window.hacked = 1</script>", "quo\"te's & <b>", "прыжки 跳高 قفز", "long " * 60]
PATHS = ["a.mp4", '"><img src=x onerror="window.hacked=1">.mp4', "目录/видео.mp4", "x" * 300 + ".mp4", "</script>.mp4"]


def panel(title: str, number: int, says: list[int], *, right: bool, kept: list[bool] | None = None) -> Panel:
    """Boxes that nobody else has: everything depends on the panel's number and the frame."""
    boxes = torch.tensor([[(number + step) % 9, (2 * number + step) % 9, PATCH, PATCH] for step in range(FRAMES)])
    heat = torch.zeros(FRAMES, 9)
    heat[:, number % 9] = 0.6
    heat[:, (number + 1) % 9] = 0.3
    return Panel(
        title=title,
        boxes=boxes,
        kept=kept or [True] * FRAMES,
        says=[NAMES[place] for place in says],
        confidence=[0.1 * (step + 1) + 0.01 * number for step in range(FRAMES)],
        right=right,
        true_confidence=[0.1 * step + 0.02 * number for step in range(FRAMES)],
        reward=[0.5 - step for step in range(FRAMES)],
        gmacs=0.25,
        probabilities=heat if title == "first" else None,
        patch_size=PATCH,
    )


def videos() -> list[ShownVideo]:
    """Five: the first agent is right on the even ones, the second always, so they disagree on the odd ones."""
    found = []
    for number in range(5):
        other = (number + 1) % 5
        draw = torch.Generator().manual_seed(number)
        found.append(
            ShownVideo(
                row=10 * number,
                path=PATHS[number],
                clip=torch.randint(0, 256, (FRAMES, 3, SIDE, SIDE), generator=draw).to(torch.uint8),
                true_boxes=torch.tensor([[1.0, 2.0, 3.0, 4.0]] + [[torch.nan] * 4] * (FRAMES - 1)),
                true_names=[NAMES[number]],
                panels=[
                    panel("first", number, [number if number % 2 == 0 else other] * FRAMES, right=number % 2 == 0),
                    panel("second", number + 1, [number] * FRAMES, right=True),
                    panel("third", number + 2, [number] * FRAMES, right=True, kept=[True, False, True, False, True]),
                ],
            )
        )
    return found


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page about five videos with hostile names."""
    path = tmp_path_factory.mktemp("page") / "report.html"
    content = PageContent(
        title=NAMES[1],
        subtitle=NAMES[2],
        footer="made by a test",
        table=Table(
            heads=["agent", "top-1, %", "variant"],
            rows=[
                [Cell(text=NAMES[1]), Cell(text="9.5", key="9.5"), Cell(text="fine-tuned")],
                [Cell(text="b"), Cell(text="80.0", key="80.0"), Cell(text="random")],
                [Cell(text="c"), Cell(text="10.0", key="10.0"), Cell(text="fixed")],
            ],
        ),
        videos=videos(),
        videos_note=NAMES[3],
        failed=[("<i>gone</i>.mp4", "no such file")],
    )
    path.write_text(render_page(content), encoding="utf-8")
    return path


def shown(browser: Any) -> list[str]:
    """File names in the gallery, in order."""
    names: list[str] = browser.run("[...document.querySelectorAll('#gallery .name')].map((e) => e.textContent)")
    return names


def test_a_page_needs_nothing_else(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    # Elements and style sheets alike; what names say is escaped, and stands in no attribute of ours.
    assert re.findall(r"(?:src|href)=\"(?!#|data:)[^\"]*\"", re.sub(r"&[a-z#0-9]+;", "", text)) == []
    assert "url(" not in text
    assert "@import" not in text
    assert text.count("<script") == 2
    assert text.count("</script") == 2
    assert html.escape(NAMES[1]) in text


def test_the_page_holds_exactly_what_it_was_given(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    found = re.search(r'<script id="data" type="application/json">(.*?)</script>', text, re.DOTALL)
    assert found is not None
    data = json.loads(found[1])
    assert [video["path"] for video in data["videos"]] == PATHS
    for given, video in zip(videos(), data["videos"], strict=True):
        for one, entry in zip(given.panels, video["panels"], strict=True):
            assert entry["boxes"] == one.boxes.tolist()
            assert [data["names"][place] for place in entry["says"]] == one.says
            assert entry["kept"] == one.kept
        assert video["truth"] == [[1, 2, 3, 4], None, None, None, None]


def test_names_are_shown_as_text(browser: Any, page: Path) -> None:
    browser.open(page)
    assert browser.run("document.querySelector('h1').textContent") == NAMES[1]
    assert shown(browser) == PATHS
    assert browser.run("document.querySelectorAll('#gallery img, #gallery b, main script').length") == 0
    for number in range(5):
        browser.run(f"document.querySelectorAll('#gallery button')[{number}].click()")
        assert browser.run("document.querySelector('#player-title').textContent") == PATHS[number]
        assert browser.run("document.querySelector('#player-true').textContent") == f"True class: {NAMES[number]}"
    assert browser.run("window.hacked") is None


def test_tables_sort_by_number_and_by_text(browser: Any, page: Path) -> None:
    browser.open(page)

    def column(number: int = 2) -> list[str]:
        cells = f".sortable td:nth-child({number})"
        rows: list[str] = browser.run(f"[...document.querySelectorAll('{cells}')].map((e) => e.textContent)")
        return rows

    assert column() == ["9.5", "80.0", "10.0"]
    browser.click(".sortable th:nth-child(2) button")
    assert column() == ["80.0", "10.0", "9.5"]
    assert browser.run("document.querySelectorAll('.sortable th')[1].getAttribute('aria-sort')") == "descending"
    browser.click(".sortable th:nth-child(2) button")
    assert column() == ["9.5", "10.0", "80.0"]
    browser.click(".sortable th:nth-child(3) button")
    assert column(3) == ["random", "fixed", "fine-tuned"]


def test_the_gallery_filters_and_sorts(browser: Any, page: Path) -> None:
    browser.open(page)
    browser.choose("#which", "right")
    assert shown(browser) == PATHS[0::2]
    browser.choose("#which", "wrong")
    assert shown(browser) == PATHS[1::2]
    assert browser.run("document.querySelector('#count').textContent") == "2 of 5 videos"
    browser.choose("#which", "disagree")
    assert shown(browser) == PATHS[1::2]
    browser.choose("#by-agent", "1")
    browser.choose("#which", "wrong")
    assert shown(browser) == []
    browser.choose("#which", "all")
    browser.choose("#sort", "most")
    assert shown(browser) == PATHS[::-1]
    browser.choose("#sort", "least")
    assert shown(browser) == PATHS
    browser.choose("#class", NAMES[3])
    assert shown(browser) == [PATHS[3]]
    browser.choose("#class", "")
    browser.click("#find")
    browser.call("Input.insertText", text="ВИДЕО")
    assert shown(browser) == [PATHS[2]]


def outlines(browser: Any) -> list[list[float]]:
    """(top, left, height, width) of the chosen patches that are drawn in the player."""
    boxes: list[list[float]] = browser.run(
        "[...document.querySelectorAll('#panels .chosen')].map((e) => "
        "['y', 'x', 'height', 'width'].map((a) => Number(e.getAttribute(a))))"
    )
    return boxes


def test_side_by_side_in_step_frame_by_frame(browser: Any, page: Path) -> None:
    browser.open(page, fragment="#video=20")
    given = videos()[2].panels
    assert browser.run("document.querySelector('#place').textContent") == "frame 1 of 5"
    assert outlines(browser) == [given[0].boxes[0].tolist(), given[1].boxes[0].tolist()]
    browser.click("#agents label:nth-child(3) input")
    for step in range(FRAMES):
        browser.run(f"document.querySelector('#scrub').value = {step}")
        browser.run("document.querySelector('#scrub').dispatchEvent(new Event('input'))")
        assert outlines(browser) == [one.boxes[step].tolist() for one in given]
        images = browser.run("[...document.querySelectorAll('#panels image')].map((e) => Number(e.getAttribute('x')))")
        assert images == [-step * SIDE] * 3
        dimmed = browser.run("[...document.querySelectorAll('#panels .dim')].map((e) => e.style.display !== 'none')")
        assert dimmed == [False, False, step in (1, 3)]
        truth = browser.run("[...document.querySelectorAll('#panels .true')].map((e) => e.style.display !== 'none')")
        assert truth == [step == 0] * 3
        status = browser.run("document.querySelector('#status').textContent")
        assert f"Frame {step + 1}." in status
        assert ("skipped" in status) == (step in (1, 3))


def test_the_path_and_the_probabilities_are_where_they_belong(browser: Any, page: Path) -> None:
    browser.open(page, fragment="#video=0")
    browser.key("End")
    points = browser.run("document.querySelector('#panels .path').getAttribute('points')")
    centers = [f"{left + PATCH // 2},{top + PATCH // 2}" for top, left, _, _ in videos()[0].panels[0].boxes.tolist()]
    assert points.split() == centers
    assert browser.run("document.querySelectorAll('#panels .heat rect').length") == 0
    browser.key("h")
    cells = browser.run(
        "[...document.querySelectorAll('#panels .heat rect')].map((e) => "
        "['y', 'x', 'height', 'width', 'fill-opacity'].map((a) => Number(e.getAttribute(a))))"
    )
    # Patches of side 8 on a frame of side 16 at 0, 4, 8: cells of side 4 in the middle of each. Only one agent has any.
    assert [cell[:4] for cell in cells] == [[2 + 4 * row, 2 + 4 * col, 4, 4] for row in range(3) for col in range(3)]
    assert [cell[4] for cell in cells] == pytest.approx([0.75, 0.375] + [0] * 7, abs=0.002)


def test_keys(browser: Any, page: Path) -> None:
    browser.open(page)
    browser.key("ArrowRight")
    assert browser.run("document.querySelector('#player').hidden")
    browser.click("#gallery li:nth-child(2) button")

    def place() -> str:
        text: str = browser.run("document.querySelector('#place').textContent")
        return text

    def title() -> str:
        text: str = browser.run("document.querySelector('#player-title').textContent")
        return text

    assert title() == PATHS[1]
    pressed = ["ArrowRight", "ArrowRight", "ArrowLeft", "End", "ArrowRight", "Home", "ArrowLeft"]
    for key, expected in zip(pressed, [2, 3, 2, 5, 5, 1, 1], strict=True):
        browser.key(key)
        assert place() == f"frame {expected} of 5", key
    for key, box in (("t", "#show-path"), ("b", "#show-true"), ("h", "#show-heat")):
        before = browser.run(f"document.querySelector('{box}').checked")
        browser.key(key)
        assert browser.run(f"document.querySelector('{box}').checked") != before
    browser.key("n")
    assert title() == PATHS[2]
    browser.key("p")
    assert title() == PATHS[1]
    # A slider moves by itself, and once only.
    browser.run("document.querySelector('#scrub').focus()")
    browser.key("ArrowRight")
    assert place() == "frame 2 of 5"
    browser.key("Escape")
    assert browser.run("document.querySelector('#player').hidden")
    assert browser.run("document.activeElement.querySelector('.name').textContent") == PATHS[1]


def test_it_plays_and_pauses_and_the_speed_changes(browser: Any, page: Path) -> None:
    browser.open(page, fragment="#video=0")
    # No motion was asked for: it does not start by itself.
    assert browser.run("document.querySelector('#play').textContent") == "Play"
    browser.key("+")
    browser.key("+")
    assert browser.run("document.querySelector('#speed').value") == "8"
    browser.key(" ")
    assert browser.run("document.querySelector('#play').textContent") == "Pause"
    browser.wait("document.querySelector('#place').textContent === 'frame 3 of 5'")
    browser.key(" ")
    assert browser.run("document.querySelector('#play').textContent") == "Play"
    browser.key("-")
    assert browser.run("document.querySelector('#speed').value") == "4"


def test_it_starts_by_itself_where_motion_is_welcome(browser: Any, page: Path) -> None:
    browser.media(prefers_reduced_motion="no-preference")
    browser.open(page, fragment="#video=0")
    assert browser.run("document.querySelector('#play').textContent") == "Pause"
    browser.wait("document.querySelector('#place').textContent === 'frame 2 of 5'")


def test_the_chart_seeks(browser: Any, page: Path) -> None:
    browser.open(page, fragment="#video=0")
    browser.click("#confidence-chart svg")
    # The middle of the picture lies a little to the left of the axis's own, and nearest to the third frame of five.
    assert browser.run("document.querySelector('#place').textContent") == "frame 3 of 5"
    points = browser.run("document.querySelector('#confidence-chart polyline').getAttribute('points')")
    assert len(points.split()) == FRAMES


def test_everything_is_reached_and_named(browser: Any, page: Path) -> None:
    browser.open(page, fragment="#video=0")
    nameless = browser.run(
        "[...document.querySelectorAll('button, input, select')].filter((e) => e.offsetParent && "
        "!(e.textContent.trim() || e.getAttribute('aria-label') || (e.labels && e.labels.length))).map((e) => e.id)"
    )
    assert nameless == []
    assert browser.run("document.documentElement.lang") == "en"
    levels = browser.run("[...document.querySelectorAll('h1, h2, h3')].map((e) => Number(e.tagName[1]))")
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 400])
def test_nothing_is_wider_than_the_screen(browser: Any, page: Path, screenshots: Path, width: int, theme: str) -> None:
    browser.media(prefers_reduced_motion="reduce", prefers_color_scheme=theme)
    browser.open(page, fragment="#video=30", width=width)
    assert browser.run("document.documentElement.scrollWidth") <= width
    path = browser.screenshot(screenshots / f"hostile-{width}-{theme}.png", whole=True)
    with Image.open(path) as picture:
        assert picture.width == width
        corner = picture.convert("RGB").getpixel((1, 1))
    assert (sum(corner) > 600) == (theme == "light")
