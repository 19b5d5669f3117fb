"""``adafocus branch``: begin a run with the recognizer and the features of another."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from adafocus_rl.errors import UserError
from adafocus_rl.experiments.terminal.command_line import CommandParser, command_text
from adafocus_rl.experiments.terminal.progress import say
from adafocus_rl.files import write_bytes
from adafocus_rl.folders import replacing_folder

if TYPE_CHECKING:
    from adafocus_rl.experiments.run.folder import RunFolder


def branch(argv: Sequence[str]) -> int:
    """Run ``adafocus branch RUN --out NEW``."""
    parser = CommandParser(
        prog="adafocus branch", description="Begin a run with the recognizer and the features of another run."
    )
    parser.add_argument("run", help="run folder, at least after stage 1")
    parser.add_argument("--out", metavar="NEW", required=True, help="run folder to make")
    parser.add_argument(
        "--fine-tuned", action="store_true", help="begin with the f_C of the run's stage 3 instead of that of stage 1"
    )
    options = parser.parse_args(argv)

    from adafocus_rl.experiments.run.folder import existing_folder, own_folder
    from adafocus_rl.experiments.run.handover import load_classifier, load_recognizer, write_recognizer
    from adafocus_rl.experiments.run.lock import locked
    from adafocus_rl.experiments.run.results import results
    from adafocus_rl.experiments.run.run import Run
    from adafocus_rl.experiments.run.steps import CLASSIFIER, ENCODERS, RANDOM_PATCHES, kept_before

    source, target = existing_folder(options.run), own_folder(options.out)
    if target.config.is_file():
        raise UserError(f"{target.path} holds a run already; give another folder with --out")
    command = command_text("adafocus", "branch", *argv)
    with ExitStack() as stack:
        stack.enter_context(locked(source.path, command))
        run = Run.open(source.path)
        recognizer = load_recognizer(run, RANDOM_PATCHES.name)
        if options.fine_tuned:
            recognizer.classifier, _ = load_classifier(run, CLASSIFIER.name, recognizer.classifier)
        stack.enter_context(locked(target.path, command))
        if source.checkpoint(ENCODERS.name).is_file():
            write_bytes(target.checkpoint(ENCODERS.name), source.checkpoint(ENCODERS.name).read_bytes())
        write_recognizer(target, RANDOM_PATCHES.name, recognizer, class_names=run.class_names)
        _take_features(source, target)
        kept = kept_before(2)
        spent = {name: value for name, value in source.read_seconds().items() if any(step.took(name) for step in kept)}
        target.write_results(results([], spent, {}))
        # Last: only a folder with a configuration is a run.
        target.describe(config_text=source.config.read_text(encoding="utf-8"), command=command)
    what = "the f_C of stage 3" if options.fine_tuned else "the f_C of stage 1"
    say(
        f"wrote {target.path}, after stage 1, with {what}; `adafocus train {target.config} "
        f"--stages 2 3 --out {target.path}`"
    )
    return 0


def _take_features(source: RunFolder, target: RunFolder) -> None:
    """Use the same shared store, or link the tables: they are never changed in place."""
    if source.store.exists():
        write_bytes(target.store, source.store.read_bytes())
    elif source.features.is_dir():
        # Left by a killed process: a folder without a configuration is no run.
        shutil.rmtree(target.features, ignore_errors=True)
        with replacing_folder(target.features) as part:
            shutil.copytree(source.features, part, copy_function=_link, dirs_exist_ok=True)


def _link(source: str, target: str) -> str:
    try:
        os.link(source, target)
    except OSError:  # another disk, or a file system without links
        shutil.copy2(source, target)
    return str(Path(target))
