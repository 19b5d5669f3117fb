"""``adafocus data extract``: write the frames of listed videos as folders of images, and a list of these folders."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from adafocus_rl.data.class_names import class_names_text
from adafocus_rl.data.index import BOX_COLUMNS, VideoIndex, VideoRecord, read_boxes
from adafocus_rl.data.read import read_index
from adafocus_rl.errors import UserError
from adafocus_rl.experiments.cli.options import add_list_options
from adafocus_rl.experiments.terminal.command_line import CommandParser, at_most, print_json
from adafocus_rl.experiments.terminal.progress import Ticker, say
from adafocus_rl.files import user_path, write_together

if TYPE_CHECKING:
    from adafocus_rl.data.extract import Extracted

EXTRACT_SECONDS = 3600.0
"""Time limit for extracting one video; unlike a check, it decodes all frames."""

CLASSES = "classes.txt"
"""Names of the classes of all lists in a folder."""


def extract(argv: Sequence[str]) -> int:
    """Run ``adafocus data extract LIST --out DIR``; return 0 if every video was extracted, 1 if some cannot be read."""
    parser = CommandParser(
        prog="adafocus data extract",
        description="Write the frames of each listed video as JPEG images into a folder of its own, and a list of "
        "these folders. Videos that are already extracted are checked and kept, so after an interruption the same "
        "command continues.",
    )
    parser.add_argument("list", metavar="LIST", help="list file")
    add_list_options(parser)
    parser.add_argument("--split", choices=["train", "val"], help="subset of annotations that contain several")
    parser.add_argument("--out", required=True, metavar="DIR", help="folder for the image folders and the list")
    parser.add_argument(
        "--short",
        type=at_most(16_384),
        default=256,
        metavar="N",
        help="short side of images in pixels (default 256; 0: keep the size)",
    )
    parser.add_argument("--quality", type=int, default=95, metavar="N", help="JPEG quality, 1 to 100 (default 95)")
    parser.add_argument("--workers", type=at_most(256), default=2, metavar="N", help="processes (default 2)")
    parser.add_argument("--json", action="store_true", help="print one JSON document on stdout")
    options = parser.parse_args(argv)
    if not 1 <= options.quality <= 100:
        raise UserError(f"--quality is {options.quality}; give 1 to 100")
    if options.short < 0 or options.workers < 0:
        raise UserError("--short and --workers cannot be negative; give 0 or more")

    from adafocus_rl.data.extract import TEMPLATE, Extracted, ExtractJob, extract_video, folder_names
    from adafocus_rl.data.processes import run_in_processes

    source, out = user_path(options.list), user_path(options.out)
    index = read_index(
        source,
        root=user_path(options.root) if options.root else None,
        classes=user_path(options.classes) if options.classes else None,
        format=options.format or "auto",
        template=options.template,
        split=options.split,
        # All lists extracted into one folder share one order of classes.
        order=out / CLASSES if (out / CLASSES).is_file() else None,
    )
    for note in index.notes:
        say(f"note: {note}")
    list_file = out / f"{_stem(source)}.csv"
    if os.path.realpath(list_file) == os.path.realpath(source):
        raise UserError(f"{source} would be overwritten by the list of folders; give another folder with --out")
    boxes = read_boxes(index)  # read now, so that a mistake in them shows before the work
    names = folder_names([record.path for record in index])
    jobs = [
        ExtractJob(
            source=index.full_path(i),
            out=out / names[i],
            limit=record.video_frames,
            template=index.template,
            short=options.short,
            quality=options.quality,
        )
        for i, record in enumerate(index)
    ]
    if any(os.path.realpath(job.source) == os.path.realpath(job.out) for job in jobs):
        raise UserError(f"{out} holds the folders that are to be extracted; give another folder with --out")
    results: dict[int, Extracted] = {}
    with Ticker(f"extracting {source.name}", len(jobs)) as ticker:
        for position, result in run_in_processes(extract_video, jobs, workers=options.workers, seconds=EXTRACT_SECONDS):
            results[position] = result or Extracted(fault="the decoder crashes on it, or comes to no end")
            ticker.advance()
    good = [i for i in range(len(index)) if results[i].fault is None]
    failed = {index[i].path: results[i].fault for i in range(len(index)) if results[i].fault is not None}
    for path, reason in failed.items():
        say(f"left out {path}: {reason}")
    if not good:
        raise UserError(f"none of the {len(index)} videos of {source} can be extracted; see the reasons above")
    _write_list(index, good, names, results, boxes, list_file)
    fresh = sum(results[i].fresh for i in good)
    say(f"{fresh} videos extracted, {len(good) - fresh} were there, {len(failed)} left out")
    say(f"wrote {list_file}")
    if options.json:
        print_json(
            {
                "list": str(list_file),
                "template": TEMPLATE,
                "extracted": fresh,
                "kept": len(good) - fresh,
                "frames": sum(results[i].frames for i in good),
                "failed": [{"path": path, "reason": reason} for path, reason in failed.items()],
            }
        )
    return 1 if failed else 0


def _stem(path: Path) -> str:
    return path.name.removesuffix(".gz").rsplit(".", 1)[0]


def _write_list(
    index: VideoIndex,
    good: Sequence[int],
    names: Sequence[str],
    results: Mapping[int, Extracted],
    boxes: Mapping[str, NDArray[np.float32]],
    list_file: Path,
) -> None:
    """Write the list of folders, the class names, and true boxes at the size of the images: all of them or none."""
    records = [
        VideoRecord(path=names[i], video_frames=results[i].frames, labels=index[i].labels, extra=index[i].extra)
        for i in good
    ]
    contents = {list_file: VideoIndex(records=records, root=list_file.parent).text()}
    if index.class_names is not None:
        contents[list_file.with_name(CLASSES)] = class_names_text(index.class_names)
    if index.boxes_file is not None:
        content = io.StringIO()
        writer = csv.writer(content, lineterminator="\n")
        writer.writerow(BOX_COLUMNS)
        for i in good:
            for frame, box in enumerate(boxes[index[i].path][: results[i].frames] * results[i].scale):
                if box[0] == box[0]:  # NaN: the object is absent
                    writer.writerow([names[i], frame, *(f"{value:.2f}" for value in box)])
        contents[list_file.with_name(f"{list_file.stem}_boxes.csv")] = content.getvalue()
    write_together(contents)
