"""What the commands do; :mod:`adafocus_rl.experiments.cli` imports them when one is asked for."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser

from adafocus_rl.agents import AGENTS
from adafocus_rl.data import DATASETS
from adafocus_rl.envs import REWARDS
from adafocus_rl.errors import UserError
from adafocus_rl.experiments.cli import print_json
from adafocus_rl.experiments.context import Context, make_context, make_embedded, maker_config
from adafocus_rl.experiments.parser import (
    config_text,
    experiment_parser,
    find_recipe,
    full_command,
    load_config,
    one_sentence,
    recipe_names,
    to_config,
)
from adafocus_rl.experiments.reporting import say
from adafocus_rl.experiments.run_folder import RunFolder, open_run
from adafocus_rl.experiments.tables import print_results
from adafocus_rl.experiments.train import evaluate_run, load_recognizer_of, train
from adafocus_rl.models import ENCODERS


def train_command(argv: Sequence[str]) -> int:
    """``adafocus train RECIPE``."""
    parser = experiment_parser("adafocus train")
    parser.usage = "adafocus train RECIPE [--out RUN] [--stages 0 1 2 3] [--resume] [--KEY=VALUE ...]"
    parser.add_argument("--out", default=None, help="run folder (default: runs/NAME)")
    parser.add_argument("--stages", type=int, nargs="+", default=[0, 1, 2, 3], help="which stages; default all")
    parser.add_argument("--resume", action="store_true", help="go on where the run in this folder stopped")
    parser.add_argument("--overwrite", action="store_true", help="discard the run in this folder")
    parser.add_argument("--strict", action="store_true", help="stop at the first video that cannot be decoded")
    parser.add_argument("--json", action="store_true", help="print results.json on stdout instead of the table")
    recipe, rest = _take_positional(argv, "a recipe: a name of `adafocus list`, or a YAML file", parser)
    with one_sentence(parser):
        parsed = parser.parse_args(["--config", str(find_recipe(recipe)), *rest])
    stages = sorted(set(parsed.stages))
    if any(stage not in (0, 1, 2, 3) for stage in stages):
        raise UserError(f"--stages got {' '.join(map(str, parsed.stages))}; give some of 0 1 2 3")
    config, agent = to_config(parser, parsed)
    run = RunFolder(Path(parsed.out or f"runs/{config.name}").expanduser())
    _claim(run, stages, resume=parsed.resume, overwrite=parsed.overwrite)
    context = make_context(config, agent, run, resume=parsed.resume, strict=parsed.strict)
    run.describe(config_text=config_text(parser, parsed), command=full_command())
    results = train(context, stages)
    _finish(context, results, as_json=parsed.json)
    return 0


def _claim(run: RunFolder, stages: Sequence[int], *, resume: bool, overwrite: bool) -> None:
    """Makes sure that no finished work is lost without being asked for."""
    if overwrite and resume:
        raise UserError("--resume and --overwrite exclude each other; give one of them")
    if overwrite:
        run.clear()
    elif not resume and 0 in stages and run.config.is_file():
        raise UserError(
            f"{run.path} holds a run already; add --resume to go on with it, --overwrite to discard it, "
            "or --out for another folder"
        )
    if not resume:
        # A stage that is done anew makes what came after it stale.
        for stage in range(min(stages), 4):
            run.checkpoint(f"stage{stage}").unlink(missing_ok=True)


def _finish(context: Context, results: Mapping[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(results)
    else:
        print_results(results)
    if context.failed:
        say(f"{len(context.failed)} videos were left out because they cannot be decoded:")
        for path, reason in context.failed.items():
            say(f"  {path}: {reason}")
    say(f"wrote {context.run.results}" + (f" and {context.run.sheet}" if context.run.sheet.is_file() else ""))


def evaluate_command(argv: Sequence[str]) -> int:
    """``adafocus evaluate RUN``."""
    parser = argparse.ArgumentParser(prog="adafocus evaluate", description="Metrics on the validation split.")
    parser.add_argument("run", help="run folder")
    parser.add_argument("--agent", help="evaluate this agent (a class name) beside the references")
    parser.add_argument("--strict", action="store_true", help="stop at the first video that cannot be decoded")
    parser.add_argument("--json", action="store_true", help="print JSON on stdout instead of the table")
    options = parser.parse_args(argv)
    run = open_run(options.run)
    config, agent = load_config(run.config)
    context = make_context(config, agent, run, strict=options.strict)
    _finish(context, evaluate_run(context, options.agent), as_json=options.json)
    return 0


def features_command(argv: Sequence[str]) -> int:
    """``adafocus features build|check RUN``."""
    from adafocus_rl.experiments.stages import open_features

    parser = argparse.ArgumentParser(prog="adafocus features", description="The feature bank of a run.")
    parser.add_argument("action", choices=["build", "check"])
    parser.add_argument("run", help="run folder")
    parser.add_argument("--overwrite", action="store_true", help="build: discard a bank built from something else")
    options = parser.parse_args(argv)
    run = open_run(options.run)
    config, agent = load_config(run.config)
    context = make_context(config, agent, run)
    recognizer = load_recognizer_of(context)
    for split in ("train", "val"):
        if options.action == "check":
            bank = open_features(context, recognizer, split, build=False)
            say(f"{run.bank(split)}: complete, {len(bank.videos)} videos, fits the run")
        else:
            open_features(context, recognizer, split, overwrite=options.overwrite)
    return 0


def data_command(argv: Sequence[str]) -> int:
    """``adafocus data make NAME OUT``."""
    parser = argparse.ArgumentParser(prog="adafocus data", description="Embedded data.")
    parser.add_argument("action", choices=["make"])
    parser.add_argument("name", help=f"one of: {', '.join(DATASETS.names())}")
    parser.add_argument("out", help="folder to write")
    options, rest = parser.parse_known_args(argv)
    DATASETS.get(options.name)
    settings = ArgumentParser(prog=f"adafocus data make {options.name} OUT", exit_on_error=False)
    settings.add_class_arguments(maker_config(options.name), None, fail_untyped=True)
    with one_sentence(settings):
        parsed = settings.parse_args(rest)
    lists = make_embedded(options.name, Path(options.out).expanduser(), vars(parsed))
    for split, path in lists.items():
        say(f"{split}: {path}")
    return 0


def list_command(argv: Sequence[str]) -> int:
    """``adafocus list``."""
    parser = argparse.ArgumentParser(prog="adafocus list", description="Names that recipes and options can use.")
    parser.add_argument("--json", action="store_true", help="print JSON on stdout")
    options = parser.parse_args(argv)
    names = {
        "recipes": recipe_names(),
        "agents": AGENTS.names(),
        "encoders": ENCODERS.names(),
        "datasets": DATASETS.names(),
        "rewards": REWARDS.names(),
    }
    if options.json:
        print_json(names)
    else:
        for kind, entries in names.items():
            print(f"{kind}: {' '.join(entries)}")
    return 0


def _take_positional(argv: Sequence[str], what: str, parser: ArgumentParser) -> tuple[str, list[str]]:
    """The first argument, unless it asks for help; the parser's own positionals cannot precede a config file."""
    if any(argument in ("-h", "--help") for argument in argv):
        parser.print_help()
        raise SystemExit(0)
    if not argv or argv[0].startswith("-"):
        raise UserError(f"`{parser.prog}` needs {what}")
    return argv[0], list(argv[1:])
