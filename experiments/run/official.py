"""Runs from checkpoints of the public AdaFocus code."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from adafocus_rl import checkpoint
from adafocus_rl.errors import UserError
from adafocus_rl.experiments.config.parser import Settings, parse_settings
from adafocus_rl.experiments.config.recipe_files import find_recipe
from adafocus_rl.experiments.run.folder import RunFolder
from adafocus_rl.experiments.run.handover import blank_env, write_classifier, write_recognizer
from adafocus_rl.experiments.run.steps import CLASSIFIER, ENCODERS, POLICY, RANDOM_PATCHES
from adafocus_rl.models.official import OfficialCheckpoint, take
from adafocus_rl.models.recognizer import Recognizer


def stage_of(found: OfficialCheckpoint, wanted: int | None) -> int:
    """Return the stage after which a run from this file continues.

    Args:
        found: the content of the file.
        wanted: the stage that the user names; None for none.

    Raises:
        UserError: if the file cannot come from the stage that the user names.
    """
    if found.family == "tsm":
        if wanted:
            raise UserError(f"{found.path} holds a network of TSM's, which stage 0 ends with; leave --stage out")
        return 0
    stage = wanted or (3 if found.policy else 1)
    if stage > 1 and not found.policy:
        raise UserError(f"{found.path} holds no policy, so it does not come from stage {stage}; give --stage=1")
    return stage


def write_run(run: RunFolder, found: OfficialCheckpoint, settings: Settings, *, stage: int) -> list[str]:
    """Write the checkpoints that our stages would have left.

    Args:
        run: the run folder.
        found: the tensors of the file.
        settings: the run's configuration.
        stage: stage after which the file was written. A file of stage III has only the fine-tuned f_C, which is then
            used for stage I as well.

    Returns:
        Names of tensors that no network uses.

    Raises:
        UserError: if weights are missing, or do not fit the configuration.
    """
    config = settings.config
    if found.family != "tsm" and config.model.patch_scales != (1.0,):
        raise UserError(
            f"model.patch_scales is {[*config.model.patch_scales]}, but the public AdaFocus code cuts patches of one "
            "size; leave it out"
        )
    with torch.random.fork_rng(devices=[]):  # the weights drawn here are overwritten at once
        recognizer = Recognizer(config.model).eval()
    unused = _fill(recognizer, found.recognizer, found.path, part="the recognizer")
    agent = config.agent.make(blank_env(config, recognizer), seed=config.seed)
    if stage > 1:
        network = getattr(agent, "network", None)
        if not isinstance(network, nn.Module):
            raise UserError(f"agent is {config.agent.name}, which has no place for a policy's weights; give PPOAgent")
        unused += _fill(network, found.policy, found.path, part="the policy")
    if stage == 0:
        write_recognizer(run, ENCODERS.name, recognizer)
    if stage > 0 or not agent.learns:  # TSM alone, on whole frames, is complete after stage 0
        write_recognizer(run, RANDOM_PATCHES.name, recognizer)
    if stage > 1:
        agent.save(run.checkpoint(POLICY.name))
    if stage > 2:
        write_classifier(run, CLASSIFIER.name, recognizer.classifier, {})
    return unused


def _fill(network: nn.Module, tensors: Mapping[str, Tensor], path: Path, *, part: str) -> list[str]:
    wanted = take(path, tensors, network.state_dict(), part=part)
    checkpoint.load_into(network, wanted, prefix="", what=str(path))
    return [name for name in tensors if name not in wanted]


def settings_for(found: OfficialCheckpoint, recipe: str | None, argv: Sequence[str]) -> Settings:
    """Return the settings: a recipe, overridden by what the tensors' shapes imply, overridden by the user."""
    classes = found.options["model.num_classes"]
    if recipe is None:
        if found.family == "adafocus":
            recipe = "fcvid" if classes == 239 else "activitynet"
        else:
            recipe = "jester" if classes == 27 else "something_v1"
    base = [f"--config={find_recipe(recipe)}"]
    alone = found.family == "tsm" and not any(name.startswith("glance.") for name in found.recognizer)
    if alone:
        base.append("--config=tsm")
    options = {
        "name": found.path.name.split(".")[0],
        # All weights come from the file.
        "model.glance.weights": "none",
        "model.focus.weights": "none",
        # No file contains an f_C for whole frames, which would need a training of its own.
        "evaluation.full_frame_epochs": 0,
        **found.options,
    }
    inferred = [
        f"--{name}={json.dumps(value) if isinstance(value, bool) else value}" for name, value in options.items()
    ]
    return parse_settings("adafocus import-official", [*base, *inferred, *argv])
