"""The commands that work on a run: train, evaluate, features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack, nullcontext
from typing import Any

from adafocus_rl.errors import UserError
from adafocus_rl.experiments.command_line import CommandParser, command_text, print_json
from adafocus_rl.experiments.context import Context, make_context
from adafocus_rl.experiments.evaluate import evaluate as evaluate_run
from adafocus_rl.experiments.evaluate import evaluate_one
from adafocus_rl.experiments.features import RunFeatures, open_bank
from adafocus_rl.experiments.handover import load_recognizer
from adafocus_rl.experiments.metrics_log import read_metrics
from adafocus_rl.experiments.parser import experiment_parser, load_settings, parse_settings
from adafocus_rl.experiments.recipe_files import find_recipe
from adafocus_rl.experiments.reporting import Ticker, say
from adafocus_rl.experiments.run_folder import RunFolder, open_run
from adafocus_rl.experiments.run_lock import locked
from adafocus_rl.experiments.same_run import check_same_run
from adafocus_rl.experiments.tables import print_results
from adafocus_rl.experiments.train import rehearse
from adafocus_rl.experiments.train import train as train_run
from adafocus_rl.features import FeatureBank
from adafocus_rl.features.verify import verify_bank
from adafocus_rl.files import user_path


def train(argv: Sequence[str]) -> int:
    """``adafocus train RECIPE``."""
    parser = CommandParser(prog="adafocus train", add_help=False)
    parser.usage = "adafocus train RECIPE [options] [--config MORE.yaml] [--KEY=VALUE ...]"
    parser.add_argument("--out", metavar="RUN", help="run folder (default: runs/NAME)")
    parser.add_argument(
        "--stages", type=int, nargs="+", default=[0, 1, 2, 3], choices=range(4), metavar="N",
        help="which stages, of 0 1 2 3; default all; 2 3, say, start from the stage 1 of an earlier run",
    )  # fmt: skip
    parser.add_argument("--resume", action="store_true", help="go on where the run in this folder stopped")
    parser.add_argument("--overwrite", action="store_true", help="discard the run in this folder")
    parser.add_argument("--strict", action="store_true", help="stop at the first video that cannot be decoded")
    parser.add_argument("--json", action="store_true", help="print results.json on stdout instead of the table")
    keys = experiment_parser("adafocus train")
    if {"-h", "--help"} & {*argv}:
        parser.print_help()
        keys.usage = "keys of the recipe, each also as --KEY=VALUE:"
        keys.print_help()
        return 0
    if not argv or argv[0].startswith("-"):
        raise UserError("`adafocus train` needs a recipe first: a name of `adafocus list`, or the path of a YAML file")
    recipe = find_recipe(argv[0])
    options, rest = parser.parse_known_args(argv[1:])
    settings = parse_settings(keys, ["--config", str(recipe), *rest])

    run = RunFolder(user_path(options.out or f"runs/{settings.config.name}"))
    stages = sorted(set(options.stages))
    command = command_text("adafocus", "train", *argv)
    with ExitStack() as stack:
        # A folder that is not there is made when all has been looked at.
        new = not run.path.is_dir()
        if not new:
            stack.enter_context(locked(run.path, command))
        _check_folder(run, settings.values, stages, resume=options.resume, overwrite=options.overwrite)
        context = make_context(settings.config, settings.agent, run, resume=options.resume, strict=options.strict)
        rehearse(context, stages)
        if new:
            stack.enter_context(locked(run.path, command))
            # Another process may have been faster.
            _check_folder(run, settings.values, stages, resume=options.resume, overwrite=options.overwrite)
        if options.overwrite:
            run.discard()
        elif not options.resume:
            for name in run.discard_from(min(stages)):
                context.log.forget(name)
        run.describe(config_text=settings.text, command=command)
        _finish(context, train_run(context, stages), as_json=options.json)
    return 0


def _check_folder(
    run: RunFolder, wanted: Mapping[str, Any], stages: Sequence[int], *, resume: bool, overwrite: bool
) -> None:
    """Makes sure that no finished work is lost or mixed up without being asked for."""
    if overwrite and resume:
        raise UserError("--resume and --overwrite exclude each other; give one of them")
    if overwrite and 0 not in stages:
        raise UserError(
            f"--overwrite would discard the checkpoint that stage {min(stages)} starts from; "
            "leave it out: the stages asked for are done anew anyway"
        )
    if overwrite or not run.config.is_file():
        return
    if not resume and 0 in stages:
        raise UserError(
            f"{run.path} holds a run already; add --resume to go on with it, --overwrite to discard it, "
            "or --out for another folder"
        )
    if resume:
        # Before anything is done: what would end the run at its end.
        run.read_results()
        read_metrics(run.metrics)
    check_same_run(run, load_settings(run.config).values, wanted, stages=stages, resume=resume)


def evaluate(argv: Sequence[str]) -> int:
    """``adafocus evaluate RUN``."""
    parser = CommandParser(prog="adafocus evaluate", description="Metrics on the validation split.")
    parser.add_argument("run", help="run folder")
    parser.add_argument("--agent", help="measure this agent (a class name) alone, and write nothing")
    parser.add_argument("--strict", action="store_true", help="stop at the first video that cannot be decoded")
    parser.add_argument("--json", action="store_true", help="print JSON on stdout instead of the table")
    options = parser.parse_args(argv)
    with locked(open_run(options.run).path, command_text("adafocus", "evaluate", *argv)):
        context = open_context(options.run, strict=options.strict)
        features = RunFeatures(context, load_recognizer(context, "stage1"))
        if options.agent is None:
            _finish(context, evaluate_run(context, features), as_json=options.json)
        else:
            _print(context, evaluate_one(context, features, options.agent), as_json=options.json)
    return 0


def features(argv: Sequence[str]) -> int:
    """``adafocus features build|check RUN``."""
    parser = CommandParser(prog="adafocus features", description="The feature banks of a run.")
    parser.add_argument("action", choices=["build", "check"])
    parser.add_argument("run", help="run folder")
    parser.add_argument("--overwrite", action="store_true", help="build: discard what is there")
    options = parser.parse_args(argv)
    build = options.action == "build"
    command = command_text("adafocus", "features", *argv)
    with locked(open_run(options.run).path, command) if build else nullcontext():
        context = open_context(options.run, check=build)  # a bank is checked without its videos
        recognizer = load_recognizer(context, "stage1")
        for split in ("train", "val"):
            bank = open_bank(context, recognizer, split, build=build, overwrite=options.overwrite)
            if not build:
                _check_content(context, bank, split)
            say(f"{context.run.bank(split)}: complete, {len(bank.videos)} videos, fits the run")
    return 0


def _check_content(context: Context, bank: FeatureBank, split: str) -> None:
    index = (context.train_still if split == "train" else context.val).index
    with Ticker(f"bank {split}", len(bank.marks)) as ticker:
        without = verify_bank(bank, paths=[record.path for record in index], progress=ticker.to)
    if without:
        say(
            f"warning: {len(without)} of {len(bank.marks)} shards of {bank.folder} are of an earlier version and have "
            "no checksums, so damage to them cannot be seen; `adafocus features build RUN --overwrite` makes them anew"
        )


def open_context(path: str, *, strict: bool = False, check: bool = True) -> Context:
    """The context of an existing run; ``check`` looks whether its videos are there."""
    run = open_run(path)
    settings = load_settings(run.config)
    return make_context(settings.config, settings.agent, run, strict=strict, check=check)


def _print(context: Context, results: Mapping[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(results)
    else:
        print_results(results)
    if context.failed:
        say(f"{len(context.failed)} videos were left out because they cannot be decoded:")
        for path, reason in context.failed.items():
            say(f"  {path}: {reason}")


def _finish(context: Context, results: Mapping[str, Any], *, as_json: bool) -> None:
    _print(context, results, as_json=as_json)
    written = [path for path in (context.run.results, context.run.sheet, context.run.report) if path.is_file()]
    say(f"wrote {', '.join(map(str, written))}")
