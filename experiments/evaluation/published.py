"""Published accuracies and costs of the systems, to show beside ours. None of these numbers was measured here.

They belong to the systems' authors: other networks, other weights, other data and other hardware than in a run of this
project. Source: the systems' own papers, and the comparisons in AR-Net (Meng et al. 2020), AdaFocus (Wang et al. 2021)
and AdaFocus+ (Wang et al. 2022). SCSampler's are those of its re-implementation for AR-Net. What the papers call GFLOPs
are 10⁹ multiply-accumulates (MACs) per video.
"""

from __future__ import annotations

from dataclasses import dataclass

METRICS = {
    "ActivityNet": "mAP", "FCVID": "mAP", "Mini-Kinetics": "top-1", "Something-Something V1": "top-1",
    "Something-Something V2": "top-1",
}  # fmt: skip
"""Metric of each dataset."""

CREDIT = (
    "Points of the systems' authors, as printed in their papers and in those of AR-Net, AdaFocus and AdaFocus+: other "
    "networks, weights and data than ours. Nothing in these charts was measured here."
)
"""Caption of every chart of these numbers."""


SHORT_CREDIT = "Published points of the systems' authors; nothing in these charts was measured here"
"""The same, as the title of a picture."""


@dataclass(frozen=True, kw_only=True)
class PublishedPoint:
    """One operating point of a system, as published."""

    system: str
    """Name in the papers."""
    dataset: str
    """A key of ``METRICS``."""
    accuracy: float
    """The dataset's metric, in percent."""
    gmacs: float
    """10⁹ MACs per video."""


_TABLE: dict[str, dict[str, tuple[tuple[float, float], ...]]] = {
    "ActivityNet": {
        "MultiAgent": ((65.5, 86.8), (69.1, 125.2), (71.1, 201.8), (72.9, 309.0)),
        "SCSampler": ((67.8, 16.9), (72.4, 33.7), (72.9, 42.0), (73.9, 51.0)),
        "LiteEval": ((61.4, 16.0), (67.4, 35.0), (70.4, 69.0), (72.7, 95.1)),
        "AdaFrame-5": ((66.0, 24.3), (69.6, 34.4)),
        "AdaFrame-10": ((68.2, 45.4), (71.6, 79.8)),
        "Listen-to-look": ((69.5, 26.6), (70.7, 42.2), (72.3, 81.4)),
        "AR-Net": ((69.3, 17.3), (73.8, 33.4), (74.9, 51.6), (76.1, 97.8)),
        "AdaFocus": ((71.9, 17.2), (75.0, 26.6), (76.0, 38.6), (76.7, 53.3)),
        "AdaFocus+": ((73.2, 15.3), (74.9, 20.3), (75.8, 27.8), (76.6, 37.4), (76.9, 47.8)),
    },
    "FCVID": {
        "SCSampler": ((81.0, 42.0),),
        "LiteEval": ((80.0, 94.3),),
        "AdaFrame-10": ((80.2, 75.1),),
        "AR-Net": ((81.3, 35.1),),
    },
    "Mini-Kinetics": {
        "SCSampler": ((70.8, 42.0),),
        "LiteEval": ((61.0, 99.0),),
        "AR-Net": ((71.7, 32.0),),
    },
    "Something-Something V1": {
        "TSM": ((46.1, 32.7),),
        "TSM+": ((47.0, 35.1),),
        "AdaFocus-TSM": ((47.0, 23.5), (47.6, 27.5), (48.1, 33.7)),
    },
    "Something-Something V2": {
        "TSM": ((59.1, 32.7),),
        "TSM+": ((59.6, 35.1),),
        "AdaFocus-TSM": ((59.7, 23.5), (60.2, 27.5), (60.7, 33.7)),
    },
}  # fmt: skip

POINTS = tuple(
    PublishedPoint(system=system, dataset=dataset, accuracy=accuracy, gmacs=gmacs)
    for dataset, systems in _TABLE.items()
    for system, points in systems.items()
    for accuracy, gmacs in points
)
"""All points; those of a system are in order of their cost."""

MULTI_AGENT = ((11.1, 65.53), (16.0, 69.12), (20.9, 70.47), (25.8, 71.09), (39.5, 72.90), (63.1, 73.68), (83.2, 74.14))
"""MultiAgent on ActivityNet: distinct frames visited in the mean, and mAP. A later paper's figure plots these numbers
of frames as GFLOPs."""

SAMPLER = ((8, 1, 53.05), (8, 4, 67.83), (16, 8, 72.44), (16, 10, 72.85), (32, 12, 73.95))
"""SCSampler on ActivityNet: T frames of the light network, k of the heavy one, and mAP."""

LITE_EVAL = (25, 12)
"""LiteEval: frames of a video, and about how many of them the fine network processes at the published cost."""

ADA_FRAME = (
    (10, 10.0, 71.59, 79.8), (10, 6.7, 69.20, None), (10, 5.6, 68.19, 45.4),
    (5, 4.2, 69.58, 34.4), (5, 3.9, 68.70, None), (5, 2.9, 66.03, 24.3),
)  # fmt: skip
"""AdaFrame on ActivityNet: steps, frames in the mean, mAP, and GMACs where they are published."""

LISTEN_TO_LOOK = (3, 5, 7, 10)
"""Listen-to-look, image version: frames of the heavy network."""


def published_cost(system: str, dataset: str) -> list[float]:
    """Return a system's published GMACs per video, in ascending order."""
    return [point.gmacs for point in POINTS if (point.system, point.dataset) == (system, dataset)]
