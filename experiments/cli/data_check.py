"""``adafocus data check``: check that the data is what a run needs, and draw what the loader makes of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from adafocus_rl.data.findings import CheckConfig, CheckReport, Depth
from adafocus_rl.data.raw_annotations import Split
from adafocus_rl.errors import UserError
from adafocus_rl.experiments.cli.options import add_list_options
from adafocus_rl.experiments.config.experiment import ExperimentConfig
from adafocus_rl.experiments.config.parser import load_settings
from adafocus_rl.experiments.config.recipe_files import find_recipe, suggested_recipe
from adafocus_rl.experiments.terminal.command_line import CommandParser, at_most, print_json, print_lines
from adafocus_rl.experiments.terminal.progress import Ticker, say
from adafocus_rl.files import user_path

SOME = 20
"""Number of notes of one kind that are printed; the others are counted, and the JSON document lists them."""


def check(argv: Sequence[str]) -> int:
    """Run ``adafocus data check LIST``; return 0 if nothing is wrong, else 1."""
    parser = CommandParser(prog="adafocus data check", description="Find faults in lists and videos before a run does.")
    parser.add_argument("list", nargs="?", metavar="LIST", help="training list (default: the lists of --recipe)")
    parser.add_argument("--val", metavar="LIST", help="validation list, also compared with the training list")
    add_list_options(parser)
    parser.add_argument("--recipe", help="take lists, sizes, sampling, augmentation from here (default: the paper's)")
    parser.add_argument(
        "--depth",
        choices=get_args(Depth),
        default="clip",
        help="decode the first frame of each video, the frames of its evaluation clip (default), or all",
    )
    parser.add_argument("--workers", type=at_most(256), default=2, metavar="N", help="processes (default 2)")
    parser.add_argument(
        "--videos", type=at_most(1000), default=4, metavar="N", help="videos in the picture (default 4; 0: no picture)"
    )
    parser.add_argument("--out", default="loader.png", metavar="FILE", help="the picture (default loader.png)")
    parser.add_argument("--json", action="store_true", help="print one JSON document on stdout")
    options = parser.parse_args(argv)
    out = user_path(options.out)

    from adafocus_rl.data.check import check_lists
    from adafocus_rl.experiments.config.clips import frame_sets, transform_of
    from adafocus_rl.experiments.report.loader_sheet import check_picture
    from adafocus_rl.experiments.run.clips import find_lists
    from adafocus_rl.experiments.run.runtime import find_device

    if options.videos:
        check_picture(out)

    config = load_settings(find_recipe(options.recipe)).config if options.recipe else ExperimentConfig()
    data = config.data
    lists: dict[Split, Path] = {}
    if options.list is not None:
        lists["train"] = user_path(options.list)
    elif options.recipe:
        lists["train"] = find_lists(data)["train"]
    else:
        raise UserError("`adafocus data check` needs a list file, or a recipe that names one with --recipe")
    if options.val is not None:
        lists["val"] = user_path(options.val)
    elif options.list is None:
        lists["val"] = find_lists(data)["val"]
    own_root = data.root if not data.embedded else None
    resized = transform_of(config).short_side > 0
    wanted = CheckConfig(
        lists=lists,
        root=_path(options.root or own_root),
        classes=_path(options.classes or data.classes),
        format=options.format or data.format,
        template=options.template or data.frame_template,
        frame_sets=frame_sets(config),
        num_classes=config.model.num_classes if options.recipe else 0,
        min_side=0 if resized else config.model.frame_size,
        depth=options.depth,
        workers=options.workers,
    )
    with Ticker("checking", 0) as ticker:
        report = check_lists(wanted, flip=data.flip, progress=ticker.to)
    picture = _picture(report, config, out, options.videos)
    if options.json:
        print_json({**report.plain(), "picture": str(picture) if picture else None})
    else:
        print_lines(*_lines(report))
    if picture:
        say(f"wrote {picture}")
    if not options.recipe and len(report.usable["train"]):
        gpu = find_device("auto").type != "cpu"
        name, reason = suggested_recipe(len(report.usable["train"]), gpu=gpu)
        say(f"suggested recipe: {name} ({reason})")
    return 1 if report.of("fault") else 0


def _path(name: str | None) -> Path | None:
    return user_path(name) if name else None


def _picture(report: CheckReport, config: ExperimentConfig, path: Path, videos: int) -> Path | None:
    """Draw training videos and return the path; None without usable ones, or if no picture is wanted."""
    from adafocus_rl.experiments.report.loader_sheet import write_loader_sheet

    index = report.usable["train"]
    if not (videos and len(index)):
        return None
    # The file of boxes may be the fault, so the picture is drawn without it.
    index = dataclasses.replace(index, boxes_file=None)
    path.parent.mkdir(parents=True, exist_ok=True)
    drawn = write_loader_sheet(index, config, path, videos=videos, num_classes=report.num_classes)
    return path if drawn else None


def _lines(report: CheckReport) -> list[str]:
    """Return the lines to print: faults, notes, numbers, verdict."""
    lines = [f"fault: {one}" for one in report.of("fault")]
    said: dict[str, int] = {}
    for one in report.of("note"):
        said[one.kind] = said.get(one.kind, 0) + 1
        if said[one.kind] <= SOME:
            lines.append(f"note: {one}")
    lines += [f"note: {count - SOME} more like the last ({kind})" for kind, count in said.items() if count > SOME]
    for split, summary in report.lists.items():
        sizes = [f"{count} of {size}" for size, count in summary.sizes.items()]
        some = f"{', '.join(sizes[:3])}{f' and {len(sizes) - 3} other sizes' if len(sizes) > 3 else ''}"
        counts = [count for count in summary.class_counts if count]
        lines.append(
            f"{split}: {summary.file} ({summary.format}): {summary.videos} lines, {summary.usable} usable videos "
            f"({summary.files} files, {summary.folders} folders of frames)"
        )
        if summary.usable:
            frames = summary.frames
            lines += [
                f"  frames per video: {frames['min']} to {frames['max']}, median {frames['median']:g}; sizes: {some}",
                f"  classes: {len(counts)} of {report.num_classes} have videos, {min(counts)} to {max(counts)} each",
            ]
    faults, notes = len(report.of("fault")), len(report.of("note"))
    verdict = f"{faults} fault{'s' * (faults != 1)}" if faults else "no fault"
    lines.append(f"{verdict}, {notes} note{'s' * (notes != 1)}" if notes else verdict)
    return lines
