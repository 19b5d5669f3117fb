"""``adafocus compare``."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adafocus_rl.agents import AGENTS
from adafocus_rl.errors import UserError
from adafocus_rl.experiments.command_line import CommandParser, one_line, print_json
from adafocus_rl.experiments.compare.bases import Base, base_of, prepare
from adafocus_rl.experiments.compare.plots import plot_compute, plot_curves, require_matplotlib
from adafocus_rl.experiments.compare.pool import Failure, cores, run_all
from adafocus_rl.experiments.compare.report import write_comparison_report
from adafocus_rl.experiments.compare.summary import (
    CONFIDENCE,
    RESAMPLES,
    as_plain,
    curves,
    read_results,
    summarise,
)
from adafocus_rl.experiments.compare.table import print_comparison
from adafocus_rl.experiments.compare.training import Training, make_training
from adafocus_rl.experiments.compare.variants import (
    Variant,
    ablation_names,
    agent_variant,
    as_arguments,
    check_names,
    read_ablation,
    variant_settings,
)
from adafocus_rl.experiments.context import find_device, make_context
from adafocus_rl.experiments.parser import Settings, load_settings
from adafocus_rl.experiments.recipe_files import find_recipe, recipe_names
from adafocus_rl.experiments.reporting import Ticker, say
from adafocus_rl.experiments.run_folder import RunFolder, environment, open_run
from adafocus_rl.features.shards import write_json

FAILED = 1
"""Exit code when some of the variants have no result."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is to be compared, on what, and where the results go."""

    title: str
    run: RunFolder
    stored: Settings
    bases: dict[str, Base]
    """By variant's name."""
    settings: dict[str, Settings]
    """By variant's name, in the order of the rows."""
    work: Path
    """Folder of trainings, and of recognizers and banks that the run does not have."""
    out: Path
    """Folder of compare.json and the pictures."""
    seeds: int
    finetune: bool


def compare(argv: Sequence[str]) -> int:
    """``adafocus compare RUN --agents A B C``."""
    parser = CommandParser(
        prog="adafocus compare",
        description="Trains and evaluates agents, or variants of one, on a run's frozen recognizer and bank. A rerun "
        "does only what is missing. Further --KEY=VALUE change the configuration of all of them.",
    )
    parser.add_argument("run", metavar="RUN", help="run folder; or a recipe, whose run is in runs/NAME")
    parser.add_argument(
        "--agents", nargs="+", metavar="AGENT", help="class names, with options: PPOAgent:gamma=0.9,n_epochs=4"
    )
    parser.add_argument("--ablation", metavar="NAME", help=f"{', '.join(ablation_names())}; or a YAML file")
    parser.add_argument("--seeds", type=int, default=5, metavar="N", help="trainings of each (default: 5)")
    parser.add_argument("--finetune", action="store_true", help="stage III for each, too; both are reported")
    parser.add_argument("--out", metavar="DIR", help="folder of everything written (default: RUN/compare)")
    parser.add_argument("--run", dest="folder", metavar="RUN", help="run folder, where a recipe comes first")
    parser.add_argument("--jobs", type=int, metavar="J", help="processes (default: one per core; 1 on a GPU)")
    parser.add_argument("--json", action="store_true", help="print compare.json on stdout instead of the table")
    options, rest = parser.parse_known_args(argv)
    for name in ("seeds", "jobs"):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise UserError(f"--{name} is {value}; give at least 1")
    if bool(options.agents) == bool(options.ablation):
        raise UserError("`adafocus compare` needs --agents A B …, or --ablation NAME: one of them")
    if unexpected := [argument for argument in rest if not argument.startswith("--") or "=" not in argument]:
        raise UserError(f"unexpected argument {unexpected[0]!r}; keys of the configuration are given as --KEY=VALUE")
    run = find_run(options.run, options.folder)
    title, variants = (
        read_ablation(options.ablation) if options.ablation else ("", list(map(agent_variant, options.agents)))
    )
    plan = make_plan(run, variants, rest, title=title, out=options.out, seeds=options.seeds, finetune=options.finetune)
    jobs = options.jobs or (cores() if find_device(plan.stored.config.device).type == "cpu" else 1)
    content, failures = carry_out(plan, jobs=jobs, command=shlex.join(["adafocus", "compare", *argv]))
    if options.json:
        print_json(content)
    else:
        print_comparison(content)
    for failure in failures:
        sys.stderr.write(f"adafocus: {failure.name}: {one_line(failure.reason)}\n")
    return FAILED if failures else 0


def find_run(name: str, folder: str | None) -> RunFolder:
    """The run called so: a run folder, or a recipe by name or path, whose run is in ``folder`` or runs/NAME.

    Raises:
        UserError: there is no such run.
    """
    is_recipe = name in recipe_names() or name.endswith((".yaml", ".yml"))
    if RunFolder(Path(name).expanduser()).config.is_file() or not is_recipe:
        if folder is not None:
            raise UserError(f"{name} is a run folder, or no recipe, so --run {folder} says it twice; give one of them")
        return open_run(name)
    run = RunFolder(Path(folder or f"runs/{load_settings(find_recipe(name)).config.name}").expanduser())
    if not run.config.is_file():
        raise UserError(
            f"there is no run of {name} in {run.path} to compare on; make it with `adafocus train {name} "
            f"--out {run.path}`, or name one with --run"
        )
    return run


def make_plan(
    run: RunFolder,
    variants: Sequence[Variant],
    arguments: Sequence[str],
    *,
    title: str = "",
    out: str | None = None,
    seeds: int = 5,
    finetune: bool = False,
) -> Plan:
    """Reads and checks all configurations before any work.

    Args:
        run: the run to compare on.
        variants: what to compare.
        arguments: ``--KEY=VALUE`` for all of them.
        title: the ablation's name; empty for a list of agents.
        out: folder of everything written; None takes ``compare`` in the run folder.
        seeds: trainings of each variant.
        finetune: whether stage III follows each.

    Raises:
        UserError: a key, a class or a value is wrong, or a variant needs another stage 0.
    """
    check_names(variants)
    work = Path(out).expanduser() if out else run.path / "compare"
    stored = load_settings(run.config)
    settings = {
        variant.name: variant_settings(run, [*arguments, *as_arguments(variant.overrides)]) for variant in variants
    }
    return Plan(
        title=title or "agents",
        run=run,
        stored=stored,
        bases={name: base_of(run, stored, wanted, work / "bases", name=name) for name, wanted in settings.items()},
        settings=settings,
        work=work,
        # Ablations of one run share its trainings, and each has its own table.
        out=work if out or not title else work / title,
        seeds=seeds,
        finetune=finetune,
    )


def carry_out(plan: Plan, *, jobs: int, command: str) -> tuple[dict[str, Any], list[Failure]]:
    """Trains what is missing, then writes compare.json and the pictures.

    Args:
        plan: what to do.
        jobs: processes.
        command: for compare.json.

    Returns:
        The content of compare.json, and why variants failed.

    Raises:
        UserError: the run's own checkpoint or bank is missing, half-written or stale.
    """
    started = time.monotonic()
    failures = _prepare_bases(plan)
    trainings = _trainings(plan, {failure.name for failure in failures})
    todo = [training for training in trainings if not training.finished]
    if len(todo) < len(trainings):
        say(f"{len(trainings) - len(todo)} of {len(trainings)} trainings are finished already")
    if todo:
        with Ticker("compare", len(todo)) as ticker:
            say(f"{len(todo)} trainings, {min(jobs, len(todo))} at a time, in {plan.work / 'trainings'}")
            failures += run_all(
                todo, processes=jobs, done=lambda training: ticker.advance(1, f"{training.name} seed {training.seed}")
            )
    found = read_results(trainings, 2)
    rows = [*summarise(found, stage=2, seeds=plan.seeds)]
    rows += summarise(read_results(trainings, 3), stage=3, seeds=plan.seeds)
    content = {
        "title": plan.title,
        "run": str(plan.run.path),
        "command": command,
        "seeds": plan.seeds,
        "confidence": CONFIDENCE,
        "resamples": RESAMPLES,
        "rows": as_plain(rows),
        "settings": {
            name: {"agent": wanted.values["agent"], "bank": str(plan.bases[name].run.features)}
            for name, wanted in plan.settings.items()
        },
        "curves": curves(found),
        "failed": [{"agent": failure.name, "reason": failure.reason} for failure in failures],
        "jobs": jobs,
        "seconds": round(time.monotonic() - started, 1),
        "environment": environment(),
    }
    plan.out.mkdir(parents=True, exist_ok=True)
    write_json(plan.out / "compare.json", content)
    _draw(plan.out, content)
    context = make_context(plan.stored.config, plan.stored.agent, plan.run)
    say(f"wrote {write_comparison_report(context, content, trainings, plan.out / 'report.html')}")
    return content, failures


def _prepare_bases(plan: Plan) -> list[Failure]:
    """The recognizers and banks that are missing; the run's own must be there."""
    failures: list[Failure] = []
    reasons: dict[Path, str | None] = {}
    for name, base in plan.bases.items():
        if base.run.path not in reasons:
            if base.changed:
                say(f"{name}: {base.needs}, in {base.run.path}")
            try:
                prepare(base, plan.run, plan.stored)
                reasons[base.run.path] = None
            except UserError as error:
                if not base.changed:
                    raise
                reasons[base.run.path] = str(error)
        if (reason := reasons[base.run.path]) is not None:
            failures.append(Failure(name=name, reason=reason))
    return failures


def _trainings(plan: Plan, without: set[str]) -> list[Training]:
    """The first seed of all variants, then the second, so that an interrupted comparison has some of each."""
    firsts = {
        name: make_training(name, wanted, plan.bases[name], plan.work / "trainings", finetune=plan.finetune)
        for name, wanted in plan.settings.items()
        if name not in without
    }
    kinds = {name: AGENTS.get(wanted.agent.name) for name, wanted in plan.settings.items()}
    return [
        training.with_seed(seed)
        for seed in range(plan.seeds)
        for name, training in firsts.items()
        if seed == 0 or plan.finetune or kinds[name].learns or kinds[name].stochastic
    ]


def _draw(out: Path, content: dict[str, Any]) -> None:
    try:
        require_matplotlib()
    except UserError as error:
        say(str(error))
        return
    rows, title = content["rows"], f"{content['title']}: {content['seeds']} seed{'s' * (content['seeds'] > 1)}"
    if rows:
        plot_compute(out / "compare.png", rows, title=f"{title}, interquartile mean, 95 % interval")
    if content["curves"]:
        plot_curves(out / "curves.png", content["curves"], rows, title=f"{title}, mean and range")
    say(f"wrote {out / 'compare.json'} and pictures beside it")
