"""``adafocus import-official``: a checkpoint of the public AdaFocus code becomes a run."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from adafocus_rl import checkpoint
from adafocus_rl.errors import UserError
from adafocus_rl.experiments.command_line import CommandParser
from adafocus_rl.experiments.handover import write_classifier, write_recognizer
from adafocus_rl.experiments.parser import Settings, experiment_parser, parse_settings
from adafocus_rl.experiments.recognition import blank_agent
from adafocus_rl.experiments.reporting import say
from adafocus_rl.experiments.run_folder import RunFolder
from adafocus_rl.models.official import OfficialCheckpoint, read_official, take
from adafocus_rl.models.recognizer import Recognizer


def import_official(argv: Sequence[str]) -> int:
    """``adafocus import-official FILE --out RUN``."""
    parser = CommandParser(prog="adafocus import-official", description="A run of a public checkpoint.")
    parser.usage = "adafocus import-official FILE --out RUN [--stage N] [--config MORE.yaml] [--KEY=VALUE ...]"
    parser.add_argument("file", help="a .pth.tar file of the public AdaFocus code")
    parser.add_argument("--out", metavar="RUN", required=True, help="run folder to make")
    parser.add_argument(
        "--stage", type=int, choices=[1, 2, 3],
        help="which stage the file comes from; default: 1 without a policy, 3 with one (its f_C is then fine-tuned)",
    )  # fmt: skip
    options, rest = parser.parse_known_args(argv)
    file, run = Path(options.file).expanduser(), RunFolder(Path(options.out).expanduser())
    if run.config.is_file():
        raise UserError(f"{run.path} holds a run already; give another folder with --out")
    found = read_official(file)
    stage = options.stage or (3 if found.policy else 1)
    if stage > 1 and not found.policy:
        raise UserError(f"{file} holds no policy, so it does not come from stage {stage}; give --stage=1")
    settings = _settings(found, rest)
    unused = found.unused + write_run(run, found, settings, stage=stage)
    run.describe(config_text=settings.text, command=shlex.join(["adafocus", "import-official", *argv]))
    say(f"not used: {', '.join(unused) or 'nothing'}")
    model = settings.config.model
    say(
        f"wrote {run.path}, after stage {stage}: {model.num_classes} classes, {model.grid}×{model.grid} positions; "
        f"patches of {model.patch_size} pixels, which is in no file: give --model.patch_size=P if it was another"
    )
    return 0


def write_run(run: RunFolder, found: OfficialCheckpoint, settings: Settings, *, stage: int) -> list[str]:
    """The checkpoints that our stages would have left.

    Args:
        run: the folder.
        found: the file's tensors.
        settings: the run's configuration.
        stage: after which stage the file was written. The file of stage III has one f_C, the fine-tuned one: it then
            stands in stage I's place, too.

    Returns:
        Names of tensors that no network had a place for.

    Raises:
        UserError: weights are missing, or do not fit the configuration.
    """
    config = settings.config
    with torch.random.fork_rng(devices=[]):  # the weights drawn here are overwritten at once
        recognizer = Recognizer(config.model).eval()
    unused = _fill(recognizer, found.recognizer, found.path, part="the recognizer")
    agent = None
    if stage > 1:
        agent = blank_agent(config, settings.agent, recognizer)
        network = getattr(agent, "network", None)
        if not isinstance(network, nn.Module):
            raise UserError(f"agent is {settings.agent.name}, which has no place for a policy's weights; give PPOAgent")
        unused += _fill(network, found.policy, found.path, part="the policy")
    write_recognizer(run, "stage1", recognizer)
    if agent is not None:
        agent.save(run.checkpoint("stage2"))
    if stage > 2:
        write_classifier(run, "stage3", recognizer.classifier, {})
    return unused


def _fill(network: nn.Module, tensors: Mapping[str, Tensor], path: Path, *, part: str) -> list[str]:
    wanted = take(path, tensors, network.state_dict(), part=part)
    checkpoint.load_into(network, wanted, prefix="", what=str(path))
    return [name for name in tensors if name not in wanted]


def _settings(found: OfficialCheckpoint, argv: Sequence[str]) -> Settings:
    """What the shapes say, under what the user says; the rest is as in the paper."""
    model = found.model
    inferred = [
        f"--name={found.path.name.split('.')[0]}", f"--model.num_classes={model.num_classes}",
        f"--model.grid={model.grid}", f"--model.glance_size={model.glance_size}",
        f"--model.classifier.hidden={model.classifier.hidden}",
        # An f_C for whole frames is in no file, and would take a training of its own.
        "--evaluation.full_frame_epochs=0",
        "--agent=PPOAgent",
    ]  # fmt: skip
    if found.policy:
        inferred += [f"--agent.{name}={value}" for name, value in found.policy_options.items()]
    return parse_settings(experiment_parser("adafocus import-official"), [*inferred, *argv])
