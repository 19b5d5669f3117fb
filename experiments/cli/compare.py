"""``adafocus compare``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from adafocus_rl.errors import UserError
from adafocus_rl.experiments.cli.options import AGENT_HELP
from adafocus_rl.experiments.compare.variants import ablation_names, agent_variant, read_ablation
from adafocus_rl.experiments.config.parser import load_settings
from adafocus_rl.experiments.terminal.command_line import CommandParser, at_most, command_text, print_json, sentence
from adafocus_rl.experiments.terminal.tables import print_plain
from adafocus_rl.files import user_path

FAILED = 1
"""Exit code if some of the variants have no result."""


def compare(argv: Sequence[str]) -> int:
    """Run ``adafocus compare RUN --agents A B C``, or ``adafocus compare RUN --methods all --sweep``."""
    parser = CommandParser(
        prog="adafocus compare",
        description="Train and evaluate agents, or variants of one, on the frozen recognizer and bank of a run; or on "
        "those of several runs, the folds of a cross-validation, whose videos then count together. A rerun does only "
        "what is missing. With --sweep: whole systems, each at all of its operating points. Further arguments "
        "--KEY=VALUE change the configuration of all variants.",
    )
    parser.add_argument("runs", nargs="+", metavar="RUN", help="run folder, or a recipe whose run is in runs/NAME")
    parser.add_argument("--agents", nargs="+", metavar="AGENT", help=f"agents: {AGENT_HELP}")
    parser.add_argument("--ablation", metavar="NAME", help=f"{', '.join(ablation_names())}; or a YAML file")
    parser.add_argument("--seeds", type=at_most(10_000), default=5, metavar="N", help="seeds per variant (default: 5)")
    parser.add_argument("--finetune", action="store_true", help="also run stage III for each; report both results")
    parser.add_argument("--full-frame", action="store_true", help="add the run's own row of f_L on whole frames")
    parser.add_argument(
        "--methods", nargs="+", metavar="LABEL",
        help="add the run's own rows of these methods; with --sweep, the systems to train and measure: all, or class "
        "names or labels",
    )  # fmt: skip
    parser.add_argument(
        "--sweep", action="store_true",
        help="train each system of --methods once per seed, measure it at all of its operating points beside the same "
        "system with random decisions, and draw accuracy against GMACs and milliseconds",
    )  # fmt: skip
    parser.add_argument(
        "--published", action="store_true", help="with --sweep: also draw published points, in charts of their own"
    )
    parser.add_argument(
        "--out",
        metavar="DIR",
        help="folder for all output (default: RUN/compare); with several runs, for the combined results (required)",
    )
    parser.add_argument("--run", dest="folder", metavar="RUN", help="folder of the run, if RUN is a recipe")
    parser.add_argument("--jobs", type=at_most(256), metavar="J", help="processes (default: one per core; 1 on a GPU)")
    parser.add_argument("--json", action="store_true", help="print the results on stdout instead of the table")
    options, rest = parser.parse_known_args(argv)
    for name in ("seeds", "jobs"):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise UserError(f"--{name} is {value}; give at least 1")
    if unexpected := [argument for argument in rest if not argument.startswith("--") or "=" not in argument]:
        raise UserError(f"unexpected argument {unexpected[0]!r}; keys of the configuration are given as --KEY=VALUE")

    from adafocus_rl.experiments.compare.carry_out import carry_out
    from adafocus_rl.experiments.compare.plan import find_run, make_plan
    from adafocus_rl.experiments.compare.table import print_comparison
    from adafocus_rl.experiments.sweep.choose import ALL
    from adafocus_rl.record import WHOLE_FRAMES

    if options.sweep:
        return _sweep(options, rest, command_text("adafocus", "compare", *argv))
    if options.published:
        raise UserError("--published goes with --sweep, whose charts the published points stand beside")
    if ALL in (options.methods or ()):
        raise UserError("--methods all goes with --sweep; without it, give labels of methods in the run's own table")
    if bool(options.agents) == bool(options.ablation):
        raise UserError("`adafocus compare` needs --agents A B …, --ablation NAME, or --methods … --sweep: one of them")
    several = len(options.runs) > 1
    if several and not options.out:
        raise UserError("give --out DIR, where the results of all these runs together go")
    if several and options.folder:
        raise UserError("--run goes with a single recipe; give the folders of several runs one after another")
    runs = [find_run(name, options.folder) for name in options.runs]
    title, variants = (
        read_ablation(options.ablation) if options.ablation else ("", list(map(agent_variant, options.agents)))
    )
    plans = [
        make_plan(
            run,
            variants,
            rest,
            title=title,
            out=None if several else options.out,
            seeds=options.seeds,
            finetune=options.finetune,
            methods=[*(options.methods or []), *([WHOLE_FRAMES] if options.full_frame else [])],
        )
        for run in runs
    ]
    content, failures = carry_out(
        plans,
        together=user_path(options.out) if several else None,
        jobs=options.jobs or _default_jobs(*(plan.stored.config.device for plan in plans)),
        command=command_text("adafocus", "compare", *argv),
    )
    if options.json:
        print_json(content)
    else:
        print_comparison(content)
    for failure in failures:
        sentence(f"{failure.name}: {failure.reason}")
    return FAILED if failures else 0


def _sweep(options: Any, rest: Sequence[str], command: str) -> int:
    """Compare whole systems along their operating points."""
    from adafocus_rl.experiments.compare.plan import find_run
    from adafocus_rl.experiments.sweep.carry_out import Request, sweep
    from adafocus_rl.experiments.sweep.choose import ALL
    from adafocus_rl.experiments.sweep.output import system_notes, system_table

    for name in ("agents", "ablation", "finetune", "full_frame"):
        if getattr(options, name):
            raise UserError(f"--{name.replace('_', '-')} does not go with --sweep; it takes systems with --methods")
    if len(options.runs) > 1:
        raise UserError(f"--sweep takes one run, and {len(options.runs)} are given; call it once for each")
    folder = find_run(options.runs[0], options.folder)
    content, rows = sweep(
        Request(
            folder=folder,
            methods=options.methods or [ALL],
            arguments=rest,
            seeds=options.seeds,
            jobs=options.jobs or _default_jobs(load_settings(folder.config).config.device),
            out=options.out,
            published=options.published,
            command=command,
        )
    )
    if options.json:
        print_json(content)
    elif rows:
        system_table(rows).print(f"{content['run']}: validation top-1 %, {rows[0].videos} videos", width=170)
        for note in system_notes(rows, content):
            print_plain(note)
    for failure in content["failed"]:
        sentence(f"{failure['system']}: {failure['reason']}")
    return FAILED if content["failed"] else 0


def _default_jobs(*devices: str) -> int:
    """Return the number of processes: one per core on a CPU, one on a GPU."""
    from adafocus_rl.experiments.run.environment import cores
    from adafocus_rl.experiments.run.runtime import find_device

    return cores() if all(find_device(device).type == "cpu" for device in devices) else 1
