"""Films and contact sheets: videos with the selected patches, drawn as by the environments' ``render()``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from adafocus_rl.data.encode import write_video
from adafocus_rl.envs.render import (
    CHOSEN_COLOR,
    CROP_COLOR,
    HEAT_COLOR,
    TRUE_COLOR,
    Picture,
    draw_boxes,
    draw_caption,
    font_for,
)
from adafocus_rl.errors import UserError
from adafocus_rl.experiments.report.gif import save_gif
from adafocus_rl.experiments.report.shown import Panel, ShownVideo
from adafocus_rl.files import replacing
from adafocus_rl.printable import printable

TITLE = 200
"""Maximum number of characters of a sheet's title."""

SHEET_SIDE = 112
"""Minimum side of a frame on a sheet in pixels; smaller frames are enlarged by a whole factor."""

SHEET_MOST = 360
"""Maximum shorter side of a frame on a sheet in pixels; larger frames, of videos in their own pixels, are reduced."""

FILM_SIDE = 256
"""Minimum side of a frame in a film of one panel."""

GRID_SIDE = 224
"""Minimum side of a frame in a film of several panels."""

RIGHT_COLOR = (0, 114, 178)
WRONG_COLOR = (213, 94, 0)
SKIPPED_COLOR = (60, 60, 60)
GAP = 4
FONT, LINE = 15, 24
"""Font size and line height of a sheet's text, in pixels."""


def draw_moment(
    video: ShownVideo, panel: Panel, step: int, *, min_side: int, heat: bool = False, path: bool = True
) -> Picture:
    """Draw a frame with its boxes, and optionally π's probabilities and the path, as (H, W, 3) uint8.

    Args:
        video: the video.
        panel: the agent's actions on it.
        step: index of the frame, from 0.
        min_side: see ``draw_boxes``.
        heat: whether to shade π's probabilities, if there are any.
        path: whether to join the centres of the patches so far.
    """
    shade = heat and panel.probabilities is not None
    return draw_boxes(
        video.clip[step].permute(1, 2, 0).numpy(),
        box=panel.boxes[step],
        true_box=video.true_boxes[step],
        kept=panel.kept[step],
        path=list(panel.boxes[: step + 1]) if path else (),
        heat=panel.probabilities[step].numpy() if shade and panel.probabilities is not None else None,
        patch_size=panel.patch_size,
        patch_scales=panel.patch_scales,
        crop=video.crop,
        min_side=min_side,
    )


def film(videos: Sequence[ShownVideo], *, heat: bool = False, min_side: int | None = None) -> list[Picture]:
    """Return the pictures of a film: one row per video with its agents side by side, or a grid of one-agent videos.

    Args:
        videos: at least one video, all with the same number of agents.
        heat: whether to shade π's probabilities.
        min_side: minimum side of a frame in pixels; None uses ``FILM_SIDE`` or ``GRID_SIDE``.

    Returns:
        T pictures of the same even height and width.
    """
    alone = len(videos) * len(videos[0].panels) == 1
    side = min_side or (FILM_SIDE if alone else GRID_SIDE)
    pictures = []
    for step in range(len(videos[0].clip)):
        cells = [_cell(video, panel, step, heat=heat, min_side=side) for video in videos for panel in video.panels]
        across = len(videos[0].panels) if len(videos[0].panels) > 1 else math.ceil(math.sqrt(len(videos)))
        cells += [np.full_like(cells[0], 255)] * (-len(cells) % across)
        rows = [np.concatenate(cells[at : at + across], axis=1) for at in range(0, len(cells), across)]
        picture = np.concatenate(rows)
        picture = np.concatenate((picture, legend_bar(_legend(videos, heat=heat), width=picture.shape[1])))
        height, width = (size + size % 2 for size in picture.shape[:2])
        even = np.full((height, width, 3), 255, dtype=np.uint8)
        even[: picture.shape[0], : picture.shape[1]] = picture
        pictures.append(even)
    return pictures


def write_film(
    path: Path, videos: Sequence[ShownVideo], *, heat: bool = False, fps: int = 3, min_side: int | None = None
) -> None:
    """Write a film as an H.264 file that browsers play.

    Args:
        path: the file to write.
        videos: see ``film``.
        heat: see ``film``.
        fps: sampled frames per second.
        min_side: see ``film``.
    """
    # Repeat the last picture for a second, so that the final prediction can be read when the film plays in a loop.
    pictures = film(videos, heat=heat, min_side=min_side)
    with replacing(path) as temporary:
        write_video(temporary, np.stack([*pictures, *[pictures[-1]] * fps]), fps=fps)


def sheet(videos: Sequence[ShownVideo], *, title: str, heat: bool = False, min_side: int = SHEET_SIDE) -> Image.Image:
    """Return a contact sheet: a row for each video and agent, with text on the left and the frames in order.

    Args:
        videos: at least one video.
        title: title above the rows.
        heat: whether to shade π's probabilities.
        min_side: minimum side of a frame in pixels.
    """
    several = any(len(video.panels) > 1 for video in videos)
    texts = [(video, panel, _words(video, panel, several=several)) for video in videos for panel in video.panels]
    longest = max(font_for(text, FONT).getlength(text) for _, _, words in texts for text, _ in words)
    text_width = max(150, int(longest) + 20)
    rows = [
        _row(video, panel, words, text_width=text_width, heat=heat, min_side=min_side) for video, panel, words in texts
    ]
    header = 30
    title = printable(title, TITLE)
    whole = Image.new("RGB", (max(row.width for row in rows), header + sum(row.height for row in rows)), "white")
    ImageDraw.Draw(whole).text((8, 6), title, fill="black", font=font_for(title, FONT))
    top = header
    for row in rows:
        whole.paste(row, (0, top))
        top += row.height
    return whole


def sheet_title(name: str, videos: Sequence[ShownVideo]) -> str:
    """Return the title of a sheet, which explains its colours."""
    who = {panel.title for video in videos for panel in video.panels}
    title = f"{name}: patches chosen by {who.pop()} (orange)" if len(who) == 1 else f"{name}: chosen patches (orange)"
    known = any(not bool(video.true_boxes.isnan().all()) for video in videos)
    title += ", true boxes (blue)" if known else ""
    return title + (", not processed (dimmed)" if any(video.crop is not None for video in videos) else "")


def _cell(video: ShownVideo, panel: Panel, step: int, *, heat: bool, min_side: int) -> Picture:
    drawn = draw_moment(video, panel, step, heat=heat, min_side=min_side)
    count = len(video.clip)
    note = ("" if panel.kept[step] else "skipped") if panel.notes is None else panel.notes[step]
    said = f"says {panel.says[step]} ({panel.confidence[step]:.0%})"
    lines: list[tuple[str, str | tuple[int, int, int]]] = [(panel.title, "black")]
    if video.true_names:
        right = panel.says[step] in video.true_names
        lines.append((f"{said}: {'right' if right else 'wrong'}", RIGHT_COLOR if right else WRONG_COLOR))
        lines.append((f"true class: {', '.join(video.true_names)}", "black"))
    else:
        lines.append((said, "black"))
    for text, color in (*lines, (f"frame {step + 1}/{count}" + (note and f", {note}"), "black")):
        drawn = draw_caption(drawn, _fit(text, 60), color=color)
    framed = np.full((drawn.shape[0] + GAP, drawn.shape[1] + GAP, 3), 255, dtype=np.uint8)
    framed[: drawn.shape[0], : drawn.shape[1]] = drawn
    return framed


def _legend(videos: Sequence[ShownVideo], *, heat: bool) -> list[tuple[tuple[int, int, int], str]]:
    """Return the colours of a film and what they mean."""
    panels = [panel for video in videos for panel in video.panels]
    found = [(CHOSEN_COLOR, "selected patch, and path to it")]
    if any(not bool(video.true_boxes.isnan().all()) for video in videos):
        found.append((TRUE_COLOR, "true box"))
    if heat and any(panel.probabilities is not None for panel in panels):
        found.append((HEAT_COLOR, "probabilities of the positions"))
    if not all(kept for panel in panels for kept in panel.kept):
        found.append((SKIPPED_COLOR, "dark: frame not processed by f_L"))
    if any(video.crop is not None for video in videos):
        found.append((CROP_COLOR, "margin: not processed"))
    return found


def legend_bar(items: Sequence[tuple[tuple[int, int, int], str]], *, width: int) -> Picture:
    """Return a white bar with coloured squares and what they mean, in as many lines as the width (pixels) needs."""
    size = min(15, max(11, width // 24))
    font = font_for("", size)
    places, left, line = [], size // 2, 0
    for color, text in items:
        needed = round(2 * size + font.getlength(text))
        if left > size // 2 and left + needed > width:
            left, line = size // 2, line + 1
        places.append((left, line, color, text))
        left += needed
    height = round(1.5 * size)
    bar = Image.new("RGB", (width, (line + 1) * height + size // 2), "white")
    pen = ImageDraw.Draw(bar)
    for left, line, color, text in places:
        top = line * height + size // 2
        pen.rectangle((left, top, left + size - 3, top + size - 3), fill=color)
        pen.text((left + size + 2, top - size // 6), text, fill="black", font=font)
    return np.array(bar)


def _words(video: ShownVideo, panel: Panel, *, several: bool) -> list[tuple[str, str | tuple[int, int, int]]]:
    """Return the lines of text beside a row, with their colours."""
    verdict = "black" if panel.right is None else RIGHT_COLOR if panel.right else WRONG_COLOR
    words: list[tuple[str, str | tuple[int, int, int]]] = [(panel.title, "black")] if several else []
    if video.true_names:
        words.append((f"true: {', '.join(video.true_names)}", "black"))
    words.append((f"said: {panel.says[-1]} ({panel.confidence[-1]:.0%})", verdict))
    if panel.right is not None:
        words.append(("right" if panel.right else "wrong", verdict))
    if panel.looked is not None:
        words.append((panel.looked, "black"))
    return [(_fit(text, 34), color) for text, color in words]


def _row(
    video: ShownVideo,
    panel: Panel,
    words: Sequence[tuple[str, str | tuple[int, int, int]]],
    *,
    text_width: int,
    heat: bool,
    min_side: int,
) -> Image.Image:
    # Without the path: frames side by side show it anyway, and it would cover the patches.
    frames = [
        draw_moment(video, panel, step, heat=heat, min_side=min_side, path=False) for step in range(len(video.clip))
    ]
    frames = [_at_most(frame, SHEET_MOST) for frame in frames]
    if panel.notes is not None:
        frames = [draw_caption(frame, note) for frame, note in zip(frames, panel.notes, strict=True)]
    height, width = frames[0].shape[:2]
    size = (text_width + len(frames) * (width + GAP), max(height, LINE * len(words) + 8) + GAP)
    picture = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(picture)
    for number, (text, color) in enumerate(words):
        pen.text((8, 8 + LINE * number), text, fill=color, font=font_for(text, FONT))
    for step, frame in enumerate(frames):
        picture.paste(Image.fromarray(frame), (text_width + step * (width + GAP), 0))
    return picture


def _at_most(picture: Picture, side: int) -> Picture:
    """Reduce a picture to this shorter side, unless it is smaller."""
    factor = side / min(picture.shape[:2])
    if factor >= 1:
        return picture
    height, width = (round(length * factor) for length in picture.shape[:2])
    return np.array(Image.fromarray(picture).resize((width, height), Image.Resampling.LANCZOS))


def _fit(text: str, limit: int) -> str:
    text = printable(" ".join(text.split()))
    return text if len(text) <= limit else text[: limit - 1] + "…"


def write_pictures(out: Path, videos: Sequence[ShownVideo], *, name: str, heat: bool, fps: int = 3) -> None:
    """Write a film, an animated GIF or a contact sheet, depending on the file's suffix.

    Raises:
        UserError: if none of the videos could be decoded.
    """
    if not videos:
        raise UserError("none of these videos can be decoded any more; there is nothing to draw on")
    if out.suffix == ".mp4":
        write_film(out, videos, heat=heat, fps=fps)
    elif out.suffix == ".gif":
        with replacing(out) as temporary:
            save_gif(temporary, film(videos, heat=heat), fps=fps)
    else:
        with replacing(out) as temporary:
            sheet(videos, title=sheet_title(name, videos), heat=heat).save(temporary, format="png")
