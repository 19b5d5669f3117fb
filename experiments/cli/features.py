"""``adafocus features``."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext

from adafocus_rl.experiments.run.features import open_bank
from adafocus_rl.experiments.run.folder import existing_folder
from adafocus_rl.experiments.run.handover import load_recognizer
from adafocus_rl.experiments.run.lock import locked
from adafocus_rl.experiments.run.run import Run
from adafocus_rl.experiments.terminal.command_line import CommandParser, command_text
from adafocus_rl.experiments.terminal.progress import Ticker, say
from adafocus_rl.features import FeatureBank
from adafocus_rl.features.verify import verify_bank


def features(argv: Sequence[str]) -> int:
    """``adafocus features build|check RUN``."""
    parser = CommandParser(prog="adafocus features", description="The feature banks of a run.")
    parser.add_argument("action", choices=["build", "check"])
    parser.add_argument("run", help="run folder")
    parser.add_argument("--overwrite", action="store_true", help="build: discard what is there")
    options = parser.parse_args(argv)
    build = options.action == "build"
    command = command_text("adafocus", "features", *argv)
    with locked(existing_folder(options.run).path, command) if build else nullcontext():
        run = Run.open(options.run)
        if build:  # a bank is checked without its videos
            run.check_videos()
        recognizer = load_recognizer(run, "stage1")
        for split in ("train", "val"):
            bank = open_bank(run, recognizer, split, build=build, overwrite=options.overwrite)
            if not build:
                _check_content(run, bank, split)
            say(f"{run.folder.bank(split)}: complete, {len(bank.videos)} videos, fits the run")
    return 0


def _check_content(run: Run, bank: FeatureBank, split: str) -> None:
    index = (run.clips.train_still if split == "train" else run.clips.val).index
    with Ticker(f"bank {split}", bank.num_shards) as ticker:
        without = verify_bank(bank, paths=[record.path for record in index], progress=ticker.to)
    if without:
        say(
            f"warning: {len(without)} of {bank.num_shards} shards of {bank.folder} are of an earlier version and have "
            "no checksums, so damage to them cannot be seen; `adafocus features build RUN --overwrite` makes them anew"
        )
