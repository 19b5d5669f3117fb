"""``adafocus features``."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING

from adafocus_rl.experiments.cli.options import FEATURES_HELP
from adafocus_rl.experiments.terminal.command_line import CommandParser, command_text
from adafocus_rl.experiments.terminal.progress import Ticker, say

if TYPE_CHECKING:
    from adafocus_rl.experiments.run.run import Run
    from adafocus_rl.features import FeatureBank


def features(argv: Sequence[str]) -> int:
    """Run ``adafocus features build|check RUN``."""
    parser = CommandParser(prog="adafocus features", description="Build or check the feature bank of a run.")
    parser.add_argument("action", choices=["build", "check"])
    parser.add_argument("run", help="run folder")
    parser.add_argument("--overwrite", action="store_true", help="build: discard the existing features")
    parser.add_argument("--features", metavar="DIR", help=f"build: {FEATURES_HELP}; check: read them there")
    options = parser.parse_args(argv)

    from adafocus_rl.experiments.run.features import open_bank
    from adafocus_rl.experiments.run.folder import existing_folder
    from adafocus_rl.experiments.run.handover import load_recognizer
    from adafocus_rl.experiments.run.lock import locked
    from adafocus_rl.experiments.run.run import Run
    from adafocus_rl.experiments.run.steps import RANDOM_PATCHES
    from adafocus_rl.experiments.run.store import store_of, use_store

    build = options.action == "build"
    command = command_text("adafocus", "features", *argv)
    with locked(existing_folder(options.run).path, command) if build else nullcontext():
        run = Run.open(options.run)
        if build:  # a bank is checked without its videos
            run.check_videos()
        recognizer = load_recognizer(run, RANDOM_PATCHES.name)
        if build:
            use_store(run.folder, options.features)
        for split in ("train", "val"):
            store = store_of(run.folder, split, options.features)
            bank = open_bank(run, recognizer, split, build=build, overwrite=options.overwrite, store=store)
            if not build:
                _check_content(run, bank, split)
            what = f" of {split}" if store.shared else ""
            say(f"{store.folder}: complete, {len(bank.videos)} videos{what}, fits the run")
    return 0


def _check_content(run: Run, bank: FeatureBank, split: str) -> None:
    from adafocus_rl.features.verify import verify_tables

    index = (run.clips.train_still if split == "train" else run.clips.val).index
    # In the run's own folder, also check tables that were not opened.
    tables = bank.tables if bank.store.shared else {**bank.store.tables(), **bank.tables}
    shards = max(table.shards for table in tables.values())
    with Ticker(f"bank {split}", shards) as ticker:
        without = verify_tables(tables.values(), paths=[record.path for record in index], progress=ticker.to)
    if without:
        say(
            f"warning: {len(without)} of {shards} shards of {bank.folder} are of an earlier version and have no "
            "checksums, so damage to them cannot be seen; `adafocus features build RUN --overwrite` makes them anew"
        )
