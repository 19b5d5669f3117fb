"""The embedded dataset: a handwritten digit moves over a larger frame among distractors during part of the clip.

The handwriting is scikit-learn's ``load_digits`` (1,797 real 8×8 digits, UCI ML repository), and the class is the
digit. A distractor is another digit of the same size whose pixels are scrambled in blocks; it has a digit's ink and
motion but not its shape. A blurred glance finds digits among distractors, and a full-resolution patch shows which digit
it is. The digit is present only for a contiguous part of the clip, so frames differ in value. Stills, close-ups of
single digits, serve to pre-train encoders without published weights. Lists and boxes are byte-identical for a seed;
training and validation share no handwriting sample.
"""

from __future__ import annotations

from pathlib import Path

from adafocus_rl.data.datasets import Progress
from adafocus_rl.data.digit_clips import MovingDigitsConfig, render_clip, render_stills
from adafocus_rl.data.digit_files import write_digits

__all__ = ["MovingDigitsConfig", "make_moving_digits"]

# Incremented when the same configuration gives other pixels, so that old folders are not mistaken for new ones.
GENERATOR = 1


def make_moving_digits(
    out: Path,
    config: MovingDigitsConfig | None = None,
    progress: Progress | None = None,
    *,
    workers: int | None = None,
) -> dict[str, Path]:
    """Write the dataset; see ``write_digits`` for files, arguments and errors."""
    settings = config if config is not None else MovingDigitsConfig()
    return write_digits(
        out, settings, render_clip, render_stills, generator=GENERATOR, progress=progress, workers=workers
    )


make_moving_digits.num_classes = 10  # type: ignore[attr-defined]  # known before the dataset is written
