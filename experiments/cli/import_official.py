"""``adafocus import-official``: turn a checkpoint of the public AdaFocus code into a run."""

from __future__ import annotations

from collections.abc import Sequence

from adafocus_rl.errors import UserError
from adafocus_rl.experiments.terminal.command_line import CommandParser, command_text
from adafocus_rl.experiments.terminal.progress import say
from adafocus_rl.files import user_path


def import_official(argv: Sequence[str]) -> int:
    """Run ``adafocus import-official FILE --out RUN``."""
    parser = CommandParser(
        prog="adafocus import-official", description="Turn a checkpoint of the public AdaFocus code into a run."
    )
    parser.usage = (
        "adafocus import-official FILE [FILE] --out RUN [--stage N] [--recipe RECIPE] [--config MORE.yaml] "
        "[--KEY=VALUE ...]"
    )
    parser.add_argument(
        "files", nargs="+", metavar="FILE", help="a .pth.tar file of the public AdaFocus code, or one or two of TSM's"
    )
    parser.add_argument("--out", metavar="RUN", required=True, help="run folder to make")
    parser.add_argument("--recipe", help="recipe for what the file does not tell (default: by the number of classes)")
    parser.add_argument(
        "--stage", type=int, choices=[1, 2, 3],
        help="which stage the file comes from; default: 1 without a policy, 3 with one (its f_C is then fine-tuned)",
    )  # fmt: skip
    options, rest = parser.parse_known_args(argv)

    from adafocus_rl.experiments.run.folder import own_folder
    from adafocus_rl.experiments.run.lock import locked
    from adafocus_rl.experiments.run.official import settings_for, stage_of, write_run
    from adafocus_rl.models.official import read_official

    files = [user_path(name) for name in options.files]
    run = own_folder(options.out)
    if run.config.is_file():
        raise UserError(f"{run.path} holds a run already; give another folder with --out")
    if len(files) > 2:
        raise UserError(f"{len(files)} files are given; give one checkpoint, or two of TSM's")
    found = read_official(files)
    stage = stage_of(found, options.stage)
    settings = settings_for(found, options.recipe, rest)
    command = command_text("adafocus", "import-official", *argv)
    with locked(run.path, command):
        unused = found.unused + write_run(run, found, settings, stage=stage)
        run.describe(config_text=settings.text, command=command)
    say(f"not used: {', '.join(unused) or 'nothing'}")
    model = settings.config.model
    say(
        f"wrote {run.path}, after stage {stage}: {model.num_classes} classes, patches of {model.patch_size} pixels "
        "(their size is in no file: give --model.patch_size=P if it was another)"
    )
    return 0
