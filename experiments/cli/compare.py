"""``adafocus compare``."""

from __future__ import annotations

from collections.abc import Sequence

from adafocus_rl.errors import UserError
from adafocus_rl.experiments.compare.carry_out import carry_out
from adafocus_rl.experiments.compare.plan import find_run, make_plan
from adafocus_rl.experiments.compare.pool import cores
from adafocus_rl.experiments.compare.table import print_comparison
from adafocus_rl.experiments.compare.variants import ablation_names, agent_variant, read_ablation
from adafocus_rl.experiments.run.runtime import find_device
from adafocus_rl.experiments.terminal.command_line import CommandParser, at_most, command_text, print_json, sentence
from adafocus_rl.files import user_path
from adafocus_rl.record import WHOLE_FRAMES

FAILED = 1
"""Exit code if some of the variants have no result."""


def compare(argv: Sequence[str]) -> int:
    """Run ``adafocus compare RUN --agents A B C``."""
    parser = CommandParser(
        prog="adafocus compare",
        description="Train and evaluate agents, or variants of one, on the frozen recognizer and bank of a run; or on "
        "those of several runs, the folds of a cross-validation, whose videos then count together. A rerun does only "
        "what is missing. Further arguments --KEY=VALUE change the configuration of all variants.",
    )
    parser.add_argument("runs", nargs="+", metavar="RUN", help="run folder, or a recipe whose run is in runs/NAME")
    parser.add_argument(
        "--agents", nargs="+", metavar="AGENT", help="class names, with options: PPOAgent:gamma=0.9,n_epochs=4"
    )
    parser.add_argument("--ablation", metavar="NAME", help=f"{', '.join(ablation_names())}; or a YAML file")
    parser.add_argument("--seeds", type=at_most(10_000), default=5, metavar="N", help="seeds per variant (default: 5)")
    parser.add_argument("--finetune", action="store_true", help="also run stage III for each; report both results")
    parser.add_argument("--full-frame", action="store_true", help="add the run's own row of f_L on whole frames")
    parser.add_argument("--methods", nargs="+", metavar="LABEL", help="add the run's own rows of these methods")
    parser.add_argument(
        "--out",
        metavar="DIR",
        help="folder for all output (default: RUN/compare); with several runs, for the combined results (required)",
    )
    parser.add_argument("--run", dest="folder", metavar="RUN", help="folder of the run, if RUN is a recipe")
    parser.add_argument("--jobs", type=at_most(256), metavar="J", help="processes (default: one per core; 1 on a GPU)")
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
    on_cpu = all(find_device(plan.stored.config.device).type == "cpu" for plan in plans)
    content, failures = carry_out(
        plans,
        together=user_path(options.out) if several else None,
        jobs=options.jobs or (cores() if on_cpu else 1),
        command=command_text("adafocus", "compare", *argv),
    )
    if options.json:
        print_json(content)
    else:
        print_comparison(content)
    for failure in failures:
        sentence(f"{failure.name}: {failure.reason}")
    return FAILED if failures else 0
