"""``adafocus flops``: the compute of a recipe, part by part, or of the paper's table."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch

from adafocus_rl.data import DATASETS
from adafocus_rl.errors import UserError
from adafocus_rl.experiments.command_line import CommandParser, print_json
from adafocus_rl.experiments.context import find_lists, read_run_lists
from adafocus_rl.experiments.paper_compute import paper_rows
from adafocus_rl.experiments.parser import Settings, experiment_parser, parse_settings
from adafocus_rl.experiments.recipe_files import find_recipe
from adafocus_rl.experiments.recognition import blank_agent
from adafocus_rl.experiments.tables import PlainTable
from adafocus_rl.flops import component_macs, video_macs
from adafocus_rl.models.recognizer import Recognizer

USES = {
    "glance": "f_G on whole frames", "policy": "π, a decision", "focus_patch": "f_L on patches",
    "focus_full": "f_L on whole frames", "classifier": "f_C, a step",
}  # fmt: skip
"""What a part does in a step."""

WIDTH = 150
"""Columns of the tables where there is no terminal."""


def flops(argv: Sequence[str]) -> int:
    """``adafocus flops RECIPE`` and ``adafocus flops --paper``."""
    parser = CommandParser(prog="adafocus flops", description="10⁹ multiply-accumulates (GMACs), counted by torch.")
    parser.usage = (
        "adafocus flops RECIPE [--with-batch-norm] [--json] [--KEY=VALUE ...], or adafocus flops --paper [--json]"
    )
    parser.add_argument("recipe", nargs="?", help="a name of `adafocus list`, or the path of a YAML file")
    parser.add_argument("--paper", action="store_true", help="the costs that the paper prints, beside ours")
    parser.add_argument(
        "--with-batch-norm", action="store_true",
        help="count 2 more for each element that batch normalisation writes, as some tools do",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print JSON on stdout instead of a table")
    options, rest = parser.parse_known_args(argv)
    if bool(options.recipe) == options.paper:
        raise UserError("`adafocus flops` needs either a recipe (a name of `adafocus list`, or a file) or --paper")
    if options.paper:
        if rest or options.with_batch_norm:
            raise UserError("--paper counts every row by its own convention; leave the other options out")
        rows = [row.plain() for row in paper_rows()]
        if options.json:
            print_json({"rows": rows})
        else:
            _print_paper(rows)
        return 0
    keys = experiment_parser("adafocus flops")
    settings = parse_settings(keys, ["--config", str(find_recipe(options.recipe)), *rest])
    counted = recipe_gmacs(settings, with_batch_norm=options.with_batch_norm)
    if options.json:
        print_json(counted)
    else:
        _print_recipe(counted)
    return 0


def recipe_gmacs(settings: Settings, *, with_batch_norm: bool = False) -> dict[str, Any]:
    """GMACs of a recipe's parts, each used once, and of a video.

    Args:
        settings: the recipe.
        with_batch_norm: the other convention.

    Returns:
        ``convention``; ``frames`` of a video, and ``steps``; ``components``, GMACs by name (:data:`USES`), each for one
        step, which is a frame or, with temporal shift, the clip; ``video``, GMACs by agent, in ``total`` and ``local``:
        the recipe's agent, whole frames instead of patches and, where frames are skipped, the two ends between which
        the share of kept frames decides.

    Raises:
        UserError: an impossible model, or classes that are to be counted in a list that is not there.
    """
    config = settings.config
    model = dataclasses.replace(
        config.model,
        num_classes=config.model.num_classes or _count_classes(settings),
        # Only shapes matter, and weights may be files that are elsewhere.
        glance=dataclasses.replace(config.model.glance, weights="none"),
        focus=dataclasses.replace(config.model.focus, weights="none"),
    )
    with torch.random.fork_rng(devices=[]):
        recognizer = Recognizer(model).eval()
        agent = blank_agent(config, settings.agent, recognizer)
    parts = component_macs(recognizer, with_batch_norm=with_batch_norm)
    policy = agent.macs_per_step()

    def video(*, policy_macs: int, full: bool = False, kept: float = 1.0) -> dict[str, float]:
        macs = video_macs(
            parts,
            num_frames=agent.env.source.num_frames,
            policy_macs=policy_macs,
            uses_patch=not full,
            uses_full=full,
            kept=kept,
        )
        return {name: value / 1e9 for name, value in macs.items()}

    videos = {agent.label: video(policy_macs=policy), "full_frame": video(policy_macs=0, full=True)}
    if config.skip.lambdas:
        for kept in (0, 1):  # π′ is of π's shape
            videos[f"{agent.label}+skip, {kept:.0%} kept"] = video(policy_macs=2 * policy, kept=kept)
    return {
        "convention": "with batch-norm" if with_batch_norm else "conv+fc",
        "frames": config.data.num_frames,
        "steps": agent.env.source.num_frames,
        "components": {
            "glance": parts.glance / 1e9,
            "policy": policy / 1e9,
            "focus_patch": parts.focus_patch / 1e9,
            "focus_full": parts.focus_full / 1e9,
            "classifier": parts.classifier / 1e9,
        },
        "video": videos,
    }


def _count_classes(settings: Settings) -> int:
    """As training would, but an embedded dataset is not made for it if it says how many it has."""
    data = settings.config.data
    if data.embedded:
        known: int | None = getattr(DATASETS.get(data.embedded), "num_classes", None)
        if known is not None:
            return known
    return read_run_lists(settings.config, find_lists(data))["train"].num_classes


def _print_recipe(counted: dict[str, Any]) -> None:
    table = PlainTable(f"GMACs, {counted['convention']}")
    table.column("a step of" if counted["steps"] > 1 else "the clip's one step", right=False)
    table.column("GMACs")
    for name, value in counted["components"].items():
        table.row(USES[name], f"{value:.4g}")
    videos = PlainTable(f"a video of {counted['frames']} frames")
    videos.column("agent", right=False)
    videos.column("GMACs", "of f_L")
    for name, value in counted["video"].items():
        videos.row(name, f"{value['total']:.4g}", f"{value['local']:.4g}")
    table.print(WIDTH)
    videos.print(WIDTH)


def _print_paper(rows: Sequence[dict[str, Any]]) -> None:
    table = PlainTable("GMACs per video, as published and as counted here")
    table.column("system", "dataset", "convention", right=False, whole=True)
    table.column("published", "ours", "ratio", whole=True)
    table.column("what was counted", right=False)
    for row in rows:
        counted = row["ours_gmacs"] is not None
        table.row(
            row["system"], row["dataset"], row["convention"], f"{row['published_gmacs']:.1f}",
            f"{row['ours_gmacs']:.2f}" if counted else "–", f"{row['ratio']:.4f}" if counted else "–",
            "; ".join(filter(None, (row["settings"], row["note"]))),
        )  # fmt: skip
    table.print(WIDTH)
