"""``patches.png``: a few validation clips, frames in a row, the chosen patch outlined on each."""

from __future__ import annotations

from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from adafocus_rl.agents import Agent
from adafocus_rl.data.dataset import make_loader
from adafocus_rl.envs.render import draw_boxes
from adafocus_rl.experiments.context import Context
from adafocus_rl.features import FeatureSource
from adafocus_rl.models.classifiers import Classifier
from adafocus_rl.models.recognizer import clip_frames

FRAME_SIDE = 112
"""Side of a drawn frame in pixels at least; small frames are enlarged by a whole factor."""

RIGHT_COLOR = (46, 160, 67)
WRONG_COLOR = (215, 58, 73)


def write_contact_sheet(context: Context, agent: Agent, classifier: Classifier, validation: FeatureSource) -> Path:
    """Draws videos spread evenly over the validation list, with the agent's boxes and the classifier's prediction.

    Args:
        context: the run.
        agent: who chooses the patches.
        classifier: f_C.
        validation: features of the validation videos.

    Returns:
        The path of the picture.
    """
    usable = validation.videos
    count = context.config.evaluation.sheet_videos
    chosen = usable[torch.linspace(0, len(usable) - 1, min(count, len(usable))).round().long()]
    episodes = validation.episodes(chosen)
    env = agent.env.like(validation, classifier, num_envs=len(chosen))
    rollout = env.rollout(agent.on(env), episodes=episodes, deterministic=True, with_reward=False)
    boxes = validation.grid.box(env.spaces.origin(rollout.output.action)).cpu()
    probability = rollout.logits[:, -1].softmax(-1).cpu()
    (batch,) = make_loader(context.val, batches=[chosen.tolist()])
    given = context.val.index.class_names or ()
    names = [*given, *(str(number) for number in range(len(given), context.val.num_classes))]
    rows = []
    # One patch for a whole clip is drawn on every frame that f_L looks at.
    frames = clip_frames(context.config.model)
    clips, true_boxes = batch.clips, batch.boxes
    if frames is not None:
        clips, true_boxes = clips[:, frames[0] :], true_boxes[:, frames[0] :]
        boxes = boxes.expand(-1, frames[1], -1)
    for row in range(len(batch)):
        predicted = int(probability[row].argmax())
        true = [int(label) for label in batch.multi_hot[row].nonzero()]
        rows.append(
            _row(
                clips[row],
                boxes[row],
                true_boxes[row],
                true_name=", ".join(names[label] for label in true),
                predicted_name=f"{names[predicted]} ({probability[row, predicted]:.0%})",
                right=predicted in true,
            )
        )
    title = f"{context.config.name}: patches chosen by {agent.label} (orange)"
    if validation.has_boxes:
        title += ", true boxes (blue)"
    sheet = _stack(rows, title)
    sheet.save(context.run.sheet)
    return context.run.sheet


def _row(
    clip: Tensor, boxes: Tensor, true_boxes: Tensor, *, true_name: str, predicted_name: str, right: bool
) -> Image.Image:
    """One clip (T, 3, S, S): a text column, then its frames."""
    side = clip.shape[-1]
    scale = max(1, -(-FRAME_SIDE // side))
    size = side * scale
    text_width, gap = 170, 4
    picture = Image.new("RGB", (text_width + len(clip) * (size + gap), size + gap), "white")
    draw = ImageDraw.Draw(picture)
    font = ImageFont.load_default(15)
    verdict = RIGHT_COLOR if right else WRONG_COLOR
    draw.text((8, 8), _fit(f"true: {true_name}"), fill="black", font=font)
    draw.text((8, 32), _fit(f"said: {predicted_name}"), fill=verdict, font=font)
    draw.text((8, 56), "right" if right else "wrong", fill=verdict, font=font)
    for step, frame in enumerate(clip):
        pixels = frame.permute(1, 2, 0).numpy()
        drawn = draw_boxes(pixels, box=boxes[step], true_box=true_boxes[step], min_side=FRAME_SIDE)
        picture.paste(Image.fromarray(drawn), (text_width + step * (size + gap), 0))
    return picture


def _fit(text: str, limit: int = 22) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _stack(rows: list[Image.Image], title: str) -> Image.Image:
    header = 30
    sheet = Image.new("RGB", (max(row.width for row in rows), header + sum(row.height for row in rows)), "white")
    ImageDraw.Draw(sheet).text((8, 6), title, fill="black", font=ImageFont.load_default(15))
    top = header
    for row in rows:
        sheet.paste(row, (0, top))
        top += row.height
    return sheet
