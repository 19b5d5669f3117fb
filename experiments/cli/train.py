"""``adafocus train``."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

from adafocus_rl.errors import UserError
from adafocus_rl.experiments.cli.options import FEATURES_HELP
from adafocus_rl.experiments.config.parser import load_settings, parse_settings, settings_help
from adafocus_rl.experiments.config.recipe_files import find_recipe
from adafocus_rl.experiments.terminal.command_line import CommandParser, command_text

if TYPE_CHECKING:
    from adafocus_rl.experiments.run.folder import RunFolder


TIMEOUT, MIN_TIMEOUT = 45.0, 5.0
"""Default and smallest value of --rank-timeout: the default makes a job end within a minute."""


def train(argv: Sequence[str]) -> int:
    """Run ``adafocus train RECIPE``."""
    parser = CommandParser(prog="adafocus train", add_help=False)
    parser.usage = "adafocus train RECIPE [options] [--config MORE.yaml] [--KEY=VALUE ...]"
    parser.add_argument("--out", metavar="RUN", help="run folder (default: runs/NAME)")
    parser.add_argument(
        "--stages", type=int, nargs="+", default=[0, 1, 2, 3], choices=range(4), metavar="N",
        help="stages to run, of 0 1 2 3 (default: all); for example, 2 3 start from stage 1 of an earlier run",
    )  # fmt: skip
    parser.add_argument("--resume", action="store_true", help="continue the run in this folder where it stopped")
    parser.add_argument("--overwrite", action="store_true", help="discard the run in this folder")
    parser.add_argument("--features", metavar="DIR", help=FEATURES_HELP)
    parser.add_argument("--strict", action="store_true", help="stop at the first video that cannot be decoded")
    parser.add_argument("--json", action="store_true", help="print results.json on stdout instead of the table")
    parser.add_argument(
        "--dry-run", action="store_true",
        help="train nothing: measure a few batches, and print how long all stages will take, and their disk and memory",
    )  # fmt: skip
    parser.add_argument(
        "--rank-timeout", type=float, default=TIMEOUT, metavar="SECONDS",
        help="under torchrun, end the job if a process gives no sign of life for this long (default: %(default)g)",
    )  # fmt: skip
    if {"-h", "--help"} & {*argv}:
        parser.print_help()
        sys.stdout.write(settings_help("keys of the recipe, each also as --KEY=VALUE:"))
        return 0
    if not argv or argv[0].startswith("-"):
        raise UserError("`adafocus train` needs a recipe first: a name of `adafocus list`, or the path of a YAML file")
    recipe = find_recipe(argv[0])
    options, rest = parser.parse_known_args(argv[1:])
    settings = parse_settings("adafocus train", ["--config", str(recipe), *rest])

    if not MIN_TIMEOUT <= options.rank_timeout < math.inf:
        raise UserError(f"--rank-timeout is {options.rank_timeout:g}; give at least {MIN_TIMEOUT:g} seconds")

    from adafocus_rl import ranks
    from adafocus_rl.experiments.cli.finish import finish
    from adafocus_rl.experiments.cli.joined import joined
    from adafocus_rl.experiments.evaluation.evaluate import evaluate
    from adafocus_rl.experiments.forecast.forecast import forecast
    from adafocus_rl.experiments.forecast.output import begin_long_training, check_one_process, print_forecast
    from adafocus_rl.experiments.run.folder import own_folder
    from adafocus_rl.experiments.run.lock import locked
    from adafocus_rl.experiments.run.run import Run
    from adafocus_rl.experiments.run.store import use_store
    from adafocus_rl.experiments.training.methods import other_methods
    from adafocus_rl.experiments.training.train import check_names, rehearse
    from adafocus_rl.experiments.training.train import train as train_run

    folder = own_folder(options.out or f"runs/{settings.config.name}")
    stages = sorted(set(options.stages))
    command = command_text("adafocus", "train", *argv)
    if options.dry_run:
        check_one_process()
    # Entered before the ranks join, so that the folder stays locked until they have parted.
    with ExitStack() as lock, joined(settings.config.device, timeout=options.rank_timeout, arguments=["train", *argv]):

        def check() -> bool:
            """Return whether there is a run to go on with."""
            _check_folder(folder, settings.values, stages, resume=options.resume, overwrite=options.overwrite)
            # A folder without a configuration holds no run, only what an interrupted `--overwrite` has left, perhaps.
            return bool(options.resume) and folder.config.is_file()

        def open_folder() -> tuple[bool, bool]:
            """Return whether the folder is new, since it is created only after all checks, and ``check``'s result."""
            new = not folder.path.is_dir()
            if not new and not options.dry_run:
                lock.enter_context(locked(folder.path, command))
            return new, check()

        def begin() -> bool:
            """Prepare the folder; return whether there is a run to go on with."""
            resume = run.resume
            if new:
                lock.enter_context(locked(folder.path, command))
                resume = check()  # another process may have created it meanwhile
            if options.overwrite:
                folder.discard()
            elif not resume:
                for name in folder.discard_from(min(stages)):
                    run.log.forget(name)
            folder.describe(config_text=settings.text, command=command)
            use_store(folder, options.features)
            return resume

        new, resume = ranks.first(open_folder)
        run = Run(folder, settings.config, resume=resume, strict=options.strict)
        # Lists are read in seconds, and weights are downloaded; embedded data are made, which takes longer.
        checks: list[Callable[[], object]] = [run.check_videos, lambda: check_names(run, stages)]
        for checked in reversed(checks) if settings.config.data.embedded else checks:
            ranks.first(checked)
        began = time.monotonic()
        rehearse(run, stages)
        if options.dry_run:
            print_forecast(forecast(run, stages, store=options.features), as_json=options.json)
            return 0
        begin_long_training(run, stages, rehearsed=time.monotonic() - began, store=options.features)
        run.resume = ranks.first(begin)
        features = train_run(run, stages)
        if features is None:
            found = ranks.first(folder.read_results)
        else:
            found = evaluate(run, features, partial(other_methods, run, features))
        if ranks.is_first():
            finish(run, found, as_json=options.json)
    return 0


def _check_folder(
    folder: RunFolder, wanted: Mapping[str, Any], stages: Sequence[int], *, resume: bool, overwrite: bool
) -> None:
    """Refuse to discard or mix up finished work, unless the user asked for it."""
    from adafocus_rl.experiments.run.metrics_log import read_metrics
    from adafocus_rl.experiments.run.same_run import check_same_run

    if overwrite and resume:
        raise UserError("--resume and --overwrite exclude each other; give one of them")
    if overwrite and 0 not in stages:
        raise UserError(
            f"--overwrite would discard the checkpoint that stage {min(stages)} starts from; "
            "leave it out: the stages asked for are done anew anyway"
        )
    if overwrite or not folder.config.is_file():
        return
    if not resume and 0 in stages:
        raise UserError(
            f"{folder.path} holds a run already; add --resume to go on with it, --overwrite to discard it, "
            "or --out for another folder"
        )
    if resume:
        # Read now: a damaged file would end the run only when it is used, at the end.
        folder.read_results()
        read_metrics(folder.metrics)
    check_same_run(folder, load_settings(folder.config).values, wanted, stages=stages, resume=resume)
