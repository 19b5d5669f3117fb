"""The README.md of a model folder: metadata as Hugging Face reads it, and a text with the measured results."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from adafocus_rl import __version__
from adafocus_rl.experiments.report.rows import Row
from adafocus_rl.experiments.report.table import result_notes, result_table
from adafocus_rl.printable import printable
from adafocus_rl.yaml_text import dump_yaml

LIBRARY = "adafocus_rl"
TASK = "video-classification"
TAGS = ("video-classification", "adaptive-inference", "reinforcement-learning", "adafocus")


@dataclass(frozen=True, kw_only=True)
class CardFacts:
    """What a card says about a run."""

    name: str
    """Name of the model."""
    license: str
    """Identifier of the licence, as Hugging Face lists them: ``mit``, ``cc-by-4.0``, ``unknown``."""
    dataset: str
    """Name of the data that the results were measured on."""
    classes: Sequence[str]
    """Names of the K classes."""
    encoders: tuple[str, str]
    """Registered names of f_G and f_L."""
    frames: int
    """T."""
    frame_size: int
    """Side of a frame in pixels."""
    patch_size: int
    """Side of a patch in pixels."""
    own: Sequence[Row]
    """Rows of the methods in the folder, which the metadata list; the first is what `adafocus predict` uses."""
    rows: Sequence[Row]
    """All rows, which the text's table shows."""
    page: str | None
    """Name of the page of results in the folder; None without one."""


def card_text(facts: CardFacts) -> str:
    """Return the content of README.md."""
    return f"---\n{dump_yaml(metadata(facts))}---\n{_body(facts)}"


def metadata(facts: CardFacts) -> dict[str, Any]:
    """Return the metadata of a card; ``model-index`` holds the measured results with their standard errors."""
    return {
        "license": facts.license,
        "library_name": LIBRARY,
        "pipeline_tag": TASK,
        "tags": [*TAGS],
        "model-index": [{"name": facts.name, "results": [_result(facts, row) for row in facts.own]}],
    }


def _result(facts: CardFacts, row: Row) -> dict[str, Any]:
    def metric(kind: str, value: float, name: str, **details: Any) -> dict[str, Any]:
        return {"type": kind, "value": _rounded(value), "name": f"{name}, {row.title}", "args": details}

    measured = {"videos": row.videos}
    error = {"standard_error": _rounded(row.top1_standard_error)}
    return {
        "task": {"type": TASK, "name": "Video classification"},
        "dataset": {
            "type": re.sub(r"[^a-z0-9]+", "-", facts.dataset.lower()).strip("-") or "videos",
            "name": facts.dataset,
            "split": "validation",
        },
        "metrics": [
            metric("accuracy", row.top1, "top-1", **error, **measured),
            metric("mean_average_precision", row.map, "mAP", **measured),
            metric("gmacs", row.gmacs_per_video, "10⁹ multiply-accumulates per video", **measured),
        ],
    }


def _rounded(value: float) -> float:
    """Return a value with five digits; its standard error is far larger."""
    return float(f"{value:.5g}")


def _body(facts: CardFacts) -> str:
    glance, focus = facts.encoders
    first = facts.own[0]
    page = f"[{facts.page}]({facts.page}) plays validation videos with the selected patches.\n\n" if facts.page else ""
    return f"""
# {_inline(facts.name)}
A recogniser of videos in {len(facts.classes)} classes, trained with adafocus_rl {__version__}: f_G (`{glance}`)
processes {facts.frames} frames of a video, a policy selects a patch of {facts.patch_size}×{facts.patch_size} pixels of
each frame of {facts.frame_size}×{facts.frame_size}, and f_L (`{focus}`) processes that patch only (AdaFocus,
[Wang et al., 2021](https://arxiv.org/abs/2105.03245)).

Classes: {", ".join(map(_inline, facts.classes))}

## Use
    adafocus predict FOLDER clip.mp4

with the path of this folder, or in Python:

```python
from adafocus_rl.experiments.predict import Predictor

found = Predictor.load("FOLDER").predict("clip.mp4")
print(found.top(5))
```

## Results
`adafocus predict` uses the row *{_inline(first.title)}*: top-1 {100 * first.top1:.1f} ± \
{100 * first.top1_standard_error:.1f} % on the {first.videos} validation videos of {_inline(facts.dataset)}.

{_table(facts.rows)}

{chr(10).join(result_notes(facts.rows))}
GMACs are 10⁹ multiply-accumulates, policy and classifier included. All rows were measured on the same videos by
`adafocus evaluate`.

{page}## Limits
The results hold for videos like those that were measured. Every video gets one of the classes above, whatever it shows.
A probability of this model is not the share of such predictions that are right.
"""


def _table(rows: Sequence[Row]) -> str:
    table = result_table(rows)
    lines = [table.heads, ["---", *["---:"] * (len(table.heads) - 1)]]
    lines += [[_inline(cell.text) for cell in row] for row in table.rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _inline(text: str) -> str:
    """Return text in one line in which no character is markup of Markdown or HTML."""
    return re.sub(r"([\\`*_{}\[\]<>#|~&$])", r"\\\1", printable(text))
