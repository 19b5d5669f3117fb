"""``adafocus features``: build, check and copy the feature banks of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from adafocus_rl.errors import UserError
from adafocus_rl.experiments.cli.features_copy import copy
from adafocus_rl.experiments.cli.options import FEATURES_HELP
from adafocus_rl.experiments.terminal.command_line import CommandParser, command_text, print_json
from adafocus_rl.experiments.terminal.progress import Ticker, say

if TYPE_CHECKING:
    from adafocus_rl.experiments.run.run import Run
    from adafocus_rl.experiments.run.tables import Split
    from adafocus_rl.features import TableStore
    from adafocus_rl.features.parts import Part
    from adafocus_rl.features.shards import StoredTable
    from adafocus_rl.models.recognizer import Recognizer


def features(argv: Sequence[str]) -> int:
    """Run ``adafocus features build|check RUN`` or ``adafocus features push|pull RUN URL``."""
    parser = CommandParser(prog="adafocus features", description="Build, check or copy the feature banks of a run.")
    parser.add_argument("action", choices=["build", "check", "push", "pull"])
    parser.add_argument("run", help="run folder")
    parser.add_argument("url", nargs="?", help="push: copy finished shards there; pull: copy them from there")
    parser.add_argument("--overwrite", action="store_true", help="build: discard the existing features")
    parser.add_argument("--features", metavar="DIR", help=f"build, pull: {FEATURES_HELP}; others: read them there")
    parser.add_argument(
        "--part", metavar="K/N", help="only part K of N, such as 3/16; other processes can build the others meanwhile"
    )
    parser.add_argument("--json", action="store_true", help="print which parts are missing, or the banks, as JSON")
    options = parser.parse_args(argv)

    from adafocus_rl.experiments.run.folder import existing_folder
    from adafocus_rl.experiments.run.handover import load_recognizer
    from adafocus_rl.experiments.run.lock import in_turn, locked
    from adafocus_rl.experiments.run.run import Run
    from adafocus_rl.experiments.run.steps import RANDOM_PATCHES
    from adafocus_rl.experiments.run.store import note_index, store_of, use_store
    from adafocus_rl.experiments.run.tables import SPLITS, still_clips
    from adafocus_rl.features.parts import WHOLE, Part
    from adafocus_rl.features.remote import RemoteFolder

    build, copies = options.action == "build", options.action in ("push", "pull")
    if copies == (options.url is None):
        raise UserError(
            f"`adafocus features {options.action}` needs a URL after the run, such as s3://bucket/folder"
            if copies
            else f"`adafocus features {options.action}` takes no {options.url}; give only the run"
        )
    remote = RemoteFolder(options.url) if copies else None
    writes = options.action in ("build", "pull")
    part = Part.parse(options.part) if options.part else WHOLE
    if options.overwrite and part != WHOLE:
        raise UserError(
            "--overwrite and --part exclude each other, because a part would discard the shards of the others; to "
            "build anew in parts, delete the folder of the features first"
        )
    command, path = command_text("adafocus", "features", *argv), existing_folder(options.run).path
    with locked(path, command, part=(part.number, part.of)) if writes else nullcontext():
        run = Run.open(options.run)
        if build:  # a bank is checked without its videos
            run.check_videos()
        recognizer = load_recognizer(run, RANDOM_PATCHES.name)
        if writes:
            with nullcontext() if part == WHOLE else in_turn(path):
                use_store(run.folder, options.features)
                if part != WHOLE:
                    for split in SPLITS:
                        note_index(run.folder, split, still_clips(run, split).index.hash())
        stores = {split: store_of(run.folder, split, options.features) for split in SPLITS}
        if remote is not None:
            counts = copy(run, recognizer, stores, way=options.action, remote=remote, part=part)
            if options.json:
                print_json(counts)
            return 0
        document: dict[str, Any] = {"complete": True, "missing_parts": [], "banks": {}}
        if part != WHOLE:
            missing = _part(run, recognizer, stores, part, build=build)
            document |= {"complete": not missing, "missing_parts": missing}
        if part == WHOLE or (build and document["complete"]):
            document["banks"] = _whole(run, recognizer, stores, build=build, overwrite=options.overwrite)
    if options.json:
        print_json(document)
    return 0


def _part(
    run: Run, recognizer: Recognizer, stores: Mapping[Split, TableStore], part: Part, *, build: bool
) -> list[int]:
    """Build or check one part of each table, say which parts are missing, and return their numbers."""
    from adafocus_rl.experiments.run.features import tables_of
    from adafocus_rl.experiments.run.tables import build_tables, expected_tables, missing_parts
    from adafocus_rl.features.parts import spans

    tables = tables_of(run.config)
    for split, store in stores.items():
        if build:
            build_tables(run, recognizer, split, store=store, tables=tables, part=part)
        else:
            expected, _ = expected_tables(run, recognizer, split, store=store, tables=tables, built=False)
            _check_content(run, store, store.find(expected), split, part)
    missing = missing_parts(run, recognizer, stores=stores, tables=tables, of=part.of)
    folders = " and ".join(dict.fromkeys(str(store.folder) for store in stores.values()))
    if part.number in missing:
        raise UserError(
            f"part {part} of the features in {folders} is incomplete; finish it with `adafocus features build RUN "
            f"--part {part}`"
        )
    if missing:
        say(f"{folders}: part {part} is complete; missing parts: {spans(missing)} of {part.of}")
    elif not build:
        say(f"{folders}: part {part} is complete, as are all others")
    return missing


def _whole(
    run: Run, recognizer: Recognizer, stores: Mapping[Split, TableStore], *, build: bool, overwrite: bool
) -> dict[Split, dict[str, Any]]:
    """Build or check whole banks, and describe them."""
    from adafocus_rl.experiments.run.features import open_bank

    found: dict[Split, dict[str, Any]] = {}
    for split, store in stores.items():
        bank = open_bank(run, recognizer, split, build=build, overwrite=overwrite, store=store)
        if not build:
            # In the run's own folder, also check tables that were not opened.
            _check_content(run, store, bank.tables if store.shared else {**store.tables(), **bank.tables}, split)
        what = f" of {split}" if store.shared else ""
        say(f"{store.folder}: complete, {len(bank.videos)} videos{what}, fits the run")
        found[split] = {"folder": str(store.folder), "videos": len(bank.videos)}
    return found


def _check_content(
    run: Run, store: TableStore, tables: Mapping[str, StoredTable], split: Split, part: Part | None = None
) -> None:
    from adafocus_rl.experiments.run.tables import still_clips
    from adafocus_rl.features.parts import WHOLE
    from adafocus_rl.features.verify import verify_tables

    part = WHOLE if part is None else part
    paths = [record.path for record in still_clips(run, split).index]
    shards = max((len(part.shards(table.shards)) for table in tables.values()), default=0)
    title = f"bank {split}" if part == WHOLE else f"bank {split}, part {part}"
    with Ticker(title, shards) as ticker:
        without = verify_tables(tables.values(), paths=paths, part=part, progress=ticker.to)
    if without:
        say(
            f"warning: {len(without)} of {shards} shards of {store.folder} are of an earlier version and have no "
            "checksums, so damage to them cannot be seen; `adafocus features build RUN --overwrite` makes them anew"
        )
