"""``adafocus flops``: count the compute of a recipe, part by part, or of the systems in the paper's table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from adafocus_rl.errors import UserError
from adafocus_rl.experiments.config.parser import parse_settings
from adafocus_rl.experiments.config.recipe_files import find_recipe
from adafocus_rl.experiments.terminal.command_line import CommandParser, print_json
from adafocus_rl.experiments.terminal.tables import PlainTable

USES = {
    "glance": "f_G on whole frames", "policy": "π, a decision", "focus_patch": "f_L on patches",
    "focus_full": "f_L on whole frames", "classifier": "f_C, a step",
}  # fmt: skip
"""Use of each part in a step."""

WIDTH = 150
"""Width of the tables in columns if there is no terminal."""


def flops(argv: Sequence[str]) -> int:
    """Run ``adafocus flops RECIPE`` or ``adafocus flops --paper``."""
    parser = CommandParser(
        prog="adafocus flops", description="Count compute in GMACs (10⁹ multiply-accumulates), with torch's counter."
    )
    parser.usage = (
        "adafocus flops RECIPE [--with-batch-norm] [--json] [--KEY=VALUE ...], or adafocus flops --paper [--json]"
    )
    parser.add_argument("recipe", nargs="?", help="a name of `adafocus list`, or the path of a YAML file")
    parser.add_argument("--paper", action="store_true", help="print the costs in the paper, beside ours")
    parser.add_argument(
        "--with-batch-norm", action="store_true",
        help="count 2 more for each element that batch normalisation writes, as some tools do",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print JSON on stdout instead of a table")
    options, rest = parser.parse_known_args(argv)
    if bool(options.recipe) == options.paper:
        raise UserError("`adafocus flops` needs either a recipe (a name of `adafocus list`, or a file) or --paper")

    from adafocus_rl.experiments.evaluation.compute import recipe_gmacs
    from adafocus_rl.experiments.evaluation.paper_systems import paper_rows

    if options.paper:
        if rest or options.with_batch_norm:
            raise UserError("--paper counts every row by its own convention; leave the other options out")
        rows = [row.plain() for row in paper_rows()]
        if options.json:
            print_json({"rows": rows})
        else:
            _print_paper(rows)
        return 0
    settings = parse_settings("adafocus flops", ["--config", str(find_recipe(options.recipe)), *rest])
    counted = recipe_gmacs(settings, with_batch_norm=options.with_batch_norm)
    if options.json:
        print_json(counted)
    else:
        _print_recipe(counted)
    return 0


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
    table.column("published", "ours", "difference %", whole=True)
    table.column("what was counted", right=False)
    for row in rows:
        counted = row["ours_gmacs"] is not None
        table.row(
            row["system"], row["dataset"], row["convention"], f"{row['published_gmacs']:.4g}",
            f"{row['ours_gmacs']:.4g}" if counted else "–", f"{row['difference_percent']:+.2f}" if counted else "–",
            "; ".join(filter(None, (row["settings"], row["note"]))),
        )  # fmt: skip
    table.print(WIDTH)
