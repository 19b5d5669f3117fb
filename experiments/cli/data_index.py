"""``adafocus data index``: make training and validation lists from a folder of videos, or from a table of them."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from adafocus_rl.data.class_names import class_names_text
from adafocus_rl.data.index import VideoIndex, VideoRecord
from adafocus_rl.data.list_text import is_utf8
from adafocus_rl.data.locate import VIDEO_SUFFIXES
from adafocus_rl.data.own_videos import OwnVideos, folds_of, read_table, scan_folder, split_videos, validation_fold
from adafocus_rl.errors import UserError
from adafocus_rl.experiments.terminal.command_line import CommandParser, command_text, print_json
from adafocus_rl.experiments.terminal.progress import say
from adafocus_rl.files import read_text, user_path, write_together


def index(argv: Sequence[str]) -> int:
    """Run ``adafocus data index FOLDER``."""
    parser = CommandParser(
        prog="adafocus data index",
        description="Write train.csv, val.csv and classes.txt for a folder with a folder of videos for each class, or "
        "for a CSV file with the columns path,label and optionally group and fold. Videos are files that end in "
        f"{' '.join(sorted(VIDEO_SUFFIXES))}, and folders of .jpg or .png images, at any depth below their class. "
        "Names that begin with a dot are ignored.",
    )
    parser.add_argument("source", metavar="FOLDER", help="the folder, or the CSV file")
    parser.add_argument("--out", metavar="DIR", help="folder for the lists (default: FOLDER, or the CSV file's folder)")
    parser.add_argument("--root", metavar="DIR", help="folder that paths in a CSV file start from (default: its own)")
    parser.add_argument(
        "--val", type=float, default=0.2, metavar="SHARE", help="share of validation videos (default 0.2)"
    )
    parser.add_argument("--fold", help="value of the column fold that marks validation videos (default: the first)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the random split (default 0)")
    parser.add_argument("--overwrite", action="store_true", help="replace existing lists")
    parser.add_argument("--json", action="store_true", help="print one JSON document on stdout")
    options = parser.parse_args(argv)
    source = user_path(options.source)
    folder = source if source.is_dir() or source.suffix.lower() != ".csv" else source.parent
    if options.root and folder == source:
        raise UserError("--root goes with a CSV file; the paths of a folder start from the folder")
    root = user_path(options.root) if options.root else folder
    out = user_path(options.out) if options.out else folder
    files = {name: out / name for name in ("train.csv", "val.csv", "classes.txt")}
    videos = scan_folder(source) if folder == source else read_table(source)
    names = class_names_text(videos.class_names)
    taken = [path for name, path in files.items() if path.exists() and name != "classes.txt"]
    if files["classes.txt"].exists() and not _holds(files["classes.txt"], names):
        taken.append(files["classes.txt"])
    if any(path.samefile(source) for path in taken):
        raise UserError(f"{source} would be overwritten by the lists; give another folder for them with --out")
    if taken and not options.overwrite:
        raise UserError(f"{taken[0]} is there already; add --overwrite to replace it, or --out for another folder")
    train, val = split_videos(videos, val=options.val, seed=options.seed, fold=options.fold)
    folds = folds_of(videos)
    if folds and options.fold is None:
        say(
            f"note: the column fold decides the split: {validation_fold(videos)!r} is validation, of "
            f"{', '.join(map(repr, folds))}; --fold names another one"
        )
    lists = {
        files[name]: VideoIndex(records=_from(root, out, records), root=out).text()
        for name, records in (("train.csv", train), ("val.csv", val))
    }
    write_together({**lists, files["classes.txt"]: names})
    _report(videos, train, val, files, as_json=options.json)
    return 0


def _holds(path: Path, text: str) -> bool:
    """Return whether the file contains the text, regardless of line endings."""
    try:
        return read_text(path, "file of class names").replace("\r\n", "\n") == text
    except UserError:
        return False


def _from(root: Path, out: Path, records: Sequence[VideoRecord]) -> list[VideoRecord]:
    """Return the records with paths relative to the lists' folder, so that no option has to name the root.

    Raises:
        UserError: if the relative path of the root is not UTF-8.
    """
    way = os.path.relpath(root, out)
    if root != out and not is_utf8(way):
        raise UserError(f"paths would begin with {way!r}, which is no UTF-8; give another folder with --out")
    return [
        VideoRecord(
            path=record.path if root == out else Path(os.path.relpath(root / record.path, out)).as_posix(),
            video_frames=record.video_frames,
            labels=record.labels,
            extra=record.extra,
        )
        for record in records
    ]


def _report(
    videos: OwnVideos,
    train: Sequence[VideoRecord],
    val: Sequence[VideoRecord],
    files: dict[str, Path],
    *,
    as_json: bool,
) -> None:
    counts = {
        split: Counter(label for record in records for label in record.labels)
        for split, records in (("train", train), ("val", val))
    }
    if as_json:
        print_json(
            {
                "files": {name: str(path) for name, path in files.items()},
                "train": len(train),
                "val": len(val),
                "classes": {
                    name: {split: count[label] for split, count in counts.items()}
                    for label, name in enumerate(videos.class_names)
                },
                "ignored": dict(videos.ignored),
                **({"unlisted": videos.unlisted} if videos.unlisted else {}),
            }
        )
    if videos.unlisted:
        say(
            f"warning: {len(videos.unlisted)} videos were left out because lists cannot hold their names, which are no "
            f"UTF-8, or have blanks or line breaks at their ends (the first: {videos.unlisted[0]!r}); rename them"
        )
    if videos.ignored:
        endings = ", ".join(f"{count} {ending}" for ending, count in sorted(videos.ignored.items()))
        say(f"note: files that are no videos by their names were passed over: {endings}")
    for split, count in counts.items():
        absent = [name for label, name in enumerate(videos.class_names) if not count[label]]
        if absent:
            say(f"note: {len(absent)} classes have no video in {split}.csv: {', '.join(absent[:10])}")
    say(f"{len(videos.class_names)} classes, {len(train)} training and {len(val)} validation videos")
    for path in files.values():
        say(f"wrote {path}")
    check = command_text("adafocus", "data", "check", str(files["train.csv"]), "--val", str(files["val.csv"]))
    say(f"`{check}` looks for faults in them, and suggests a recipe")
