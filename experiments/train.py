"""The whole job: stages 0–III, then the table."""

from __future__ import annotations

import copy
import shutil
import time
from collections.abc import Sequence
from typing import Any

from adafocus_rl import checkpoint
from adafocus_rl.agents import Agent, CenterAgent, GaussianAgent, OracleAgent, RandomAgent
from adafocus_rl.errors import UserError
from adafocus_rl.experiments.contact_sheet import write_contact_sheet
from adafocus_rl.experiments.context import Context
from adafocus_rl.experiments.evaluate import (
    Row,
    evaluate_agent,
    evaluate_full_frames,
    gmacs,
    milliseconds,
)
from adafocus_rl.experiments.reporting import say
from adafocus_rl.experiments.stages import (
    finetune_classifier,
    open_features,
    train_encoders,
    train_full_frame_classifier,
    train_on_random_patches,
    train_policy,
)
from adafocus_rl.features import FeatureSource
from adafocus_rl.models.classifiers import Classifier
from adafocus_rl.models.recognizer import Recognizer
from adafocus_rl.models.saving import recognizer_manifest, recognizer_tensors, restore_recognizer

REFERENCE_AGENTS: tuple[type[Agent], ...] = (RandomAgent, CenterAgent, GaussianAgent, OracleAgent)


def train(context: Context, stages: Sequence[int]) -> dict[str, Any]:
    """Runs the given stages, in order, each from the checkpoint of the one before, and evaluates.

    Args:
        context: the run.
        stages: some of 0, 1, 2, 3.

    Returns:
        The content of results.json.

    Raises:
        UserError: a checkpoint that a stage starts from is missing or of another architecture.
    """
    recognizer = context.recognizer()
    seconds: dict[str, float] = dict(context.run.read_results().get("seconds", {}))

    for number, stage in ((0, train_encoders), (1, train_on_random_patches)):
        name = f"stage{number}"
        if number not in stages or _finished(context, name):
            continue
        if number == 1:
            _load(context, "stage0", recognizer)
        seconds[str(number)] = stage(context, recognizer)
        _save(context, name, recognizer, seconds[str(number)])
        # Features of the old weights: they would be refused as stale.
        shutil.rmtree(context.run.path / "features", ignore_errors=True)
    if max(stages) < 2:
        results = {"rows": [], "seconds": seconds}
        context.run.write_results(results)
        return results

    _load(context, "stage1", recognizer)
    started = time.monotonic()
    validation = open_features(context, recognizer, "val")
    training = open_features(context, recognizer, "train", kind=context.config.stage2.features)
    seconds["bank"] = time.monotonic() - started

    agent = context.agent(context.env(training, recognizer.classifier))
    if 2 in stages and not _finished(context, "stage2"):
        seconds["2"] = train_policy(context, agent, validation)
        agent.save(context.run.checkpoint("stage2"))
    else:
        agent = load_agent(context, agent)

    tuned = copy.deepcopy(recognizer.classifier)
    if 3 in stages:
        if not _finished(context, "stage3"):
            source = training
            if context.config.stage3.features != context.config.stage2.features:
                source = open_features(context, recognizer, "train", kind=context.config.stage3.features)
            seconds["3"] = finetune_classifier(context, tuned, agent, source)
            _save_classifier(context, "stage3", tuned)
        _load_classifier(context, "stage3", tuned)
    return evaluate(context, recognizer, agent, tuned if 3 in stages else None, training, validation, seconds)


def evaluate(
    context: Context,
    recognizer: Recognizer,
    agent: Agent,
    tuned: Classifier | None,
    training: FeatureSource,
    validation: FeatureSource,
    seconds: dict[str, float],
) -> dict[str, Any]:
    """One row per agent and f_C, and the whole-frame row; writes results.json and the contact sheet.

    Args:
        context: the run.
        recognizer: with stage I's f_C.
        agent: the run's agent.
        tuned: stage III's f_C; None when there is none.
        training: features to train the whole-frame row's f_C on, once per run.
        validation: features to evaluate on.
        seconds: time spent so far, by stage.
    """
    say("evaluating")
    started = time.monotonic()
    full = _full_frame_classifier(context, recognizer, training)
    agents = [
        agent,
        *(kind(agent.env, seed=context.config.seed) for kind in REFERENCE_AGENTS if kind is not type(agent)),
    ]
    if not (~validation.episodes(validation.videos[:64]).boxes.isnan()).any():
        agents = [one for one in agents if not isinstance(one, OracleAgent)]
    config = context.config.evaluation
    frames = context.config.data.num_frames
    rows = []
    after = [(2, recognizer.classifier), *([(3, tuned)] if tuned else [])]
    for one in agents:
        total, local = gmacs(recognizer, num_frames=frames, policy_macs=one.macs_per_step(), full_frames=False)
        spent = milliseconds(
            recognizer, recognizer.classifier, one, context.val, device=context.device, videos=config.timed_videos
        )
        for stage, classifier in after:
            found = evaluate_agent(one, classifier, validation, batch_size=config.batch_size, repeats=config.repeats)
            rows.append(
                Row(agent=one.label, after_stage=stage, top1=found.top1, map=found.map, gmacs_per_video=total,
                    local_gmacs_per_video=local, ms_per_video=spent, videos=found.videos)
            )  # fmt: skip
    total, local = gmacs(recognizer, num_frames=frames, policy_macs=0, full_frames=True)
    spent = milliseconds(recognizer, full, None, context.val, device=context.device, videos=config.timed_videos)
    found = evaluate_full_frames(full, validation, batch_size=config.batch_size)
    rows.append(
        Row(agent="full_frame", after_stage=after[-1][0], top1=found.top1, map=found.map, gmacs_per_video=total,
            local_gmacs_per_video=local, ms_per_video=spent, videos=found.videos)
    )  # fmt: skip
    rows.sort(key=lambda row: row.after_stage)
    if config.sheet_videos:
        write_contact_sheet(context, agent, after[-1][1], validation, count=config.sheet_videos)
    seconds["evaluate"] = time.monotonic() - started
    results = {
        "rows": [row.as_dict() for row in rows],
        "seconds": {name: round(value, 1) for name, value in seconds.items()},
        "failed": [{"path": path, "reason": reason} for path, reason in context.failed.items()],
    }
    context.run.write_results(results)
    return results


def _full_frame_classifier(context: Context, recognizer: Recognizer, training: FeatureSource) -> Classifier:
    """The whole-frame row's f_C, trained once per set of encoder weights."""
    classifier: Classifier = context.recognizer().classifier
    path = context.run.checkpoint("full_frame")
    focus = checkpoint.tensors_hash(recognizer.focus)
    if path.is_file():
        tensors, manifest = checkpoint.load(path, device=context.device)
        if manifest.get("focus") == focus:
            checkpoint.load_into(classifier, tensors, prefix="classifier.", what=str(path))
            return classifier.eval()
    train_full_frame_classifier(context, classifier, training)
    tensors = {f"classifier.{name}": value for name, value in classifier.state_dict().items()}
    checkpoint.save(path, tensors=tensors, manifest={"kind": "classifier", "focus": focus})
    return classifier


def load_recognizer_of(context: Context) -> Recognizer:
    """The run's recognizer after stage I.

    Raises:
        UserError: its checkpoint is missing or of another architecture.
    """
    recognizer = context.recognizer()
    _load(context, "stage1", recognizer)
    return recognizer


def evaluate_run(context: Context, agent_name: str | None = None) -> dict[str, Any]:
    """Evaluates a trained run again, with its own agent or one that needs no training."""
    recognizer = load_recognizer_of(context)
    validation = open_features(context, recognizer, "val")
    training = open_features(context, recognizer, "train")
    agent = load_agent(context, context.agent(context.env(training, recognizer.classifier), agent_name))
    tuned = None
    if context.run.checkpoint("stage3").is_file():
        tuned = copy.deepcopy(recognizer.classifier)
        _load_classifier(context, "stage3", tuned)
    seconds = dict(context.run.read_results().get("seconds", {}))
    return evaluate(context, recognizer, agent, tuned, training, validation, seconds)


def load_agent(context: Context, agent: Agent) -> Agent:
    """The run's trained agent, or the given one when it has nothing to learn.

    Raises:
        UserError: no checkpoint of stage II, or one of another agent.
    """
    if not agent.learns:
        return agent
    return type(agent).load(_required(context, "stage2"), agent.env)


def _finished(context: Context, name: str) -> bool:
    """On --resume, a stage whose checkpoint is there is done."""
    return context.resume and context.run.checkpoint(name).is_file()


def _required(context: Context, name: str) -> Any:
    path = context.run.checkpoint(name)
    if not path.is_file():
        raise UserError(
            f"there is no checkpoint {path} to start from; run stage {name[-1]} first: add {name[-1]} to --stages"
        )
    return path


def _save(context: Context, name: str, recognizer: Recognizer, seconds: float) -> None:
    manifest = {**recognizer_manifest(recognizer), "kind": "recognizer", "stage": name, "seconds": seconds}
    checkpoint.save(context.run.checkpoint(name), tensors=recognizer_tensors(recognizer), manifest=manifest)


def _load(context: Context, name: str, recognizer: Recognizer) -> None:
    path = _required(context, name)
    tensors, manifest = checkpoint.load(path, device=context.device)
    restore_recognizer(recognizer, tensors, manifest, what=str(path))
    recognizer.eval()


def _save_classifier(context: Context, name: str, classifier: Classifier) -> None:
    tensors = {f"classifier.{key}": value for key, value in classifier.state_dict().items()}
    checkpoint.save(context.run.checkpoint(name), tensors=tensors, manifest={"kind": "classifier", "stage": name})


def _load_classifier(context: Context, name: str, classifier: Classifier) -> None:
    path = _required(context, name)
    tensors, _ = checkpoint.load(path, device=context.device)
    checkpoint.load_into(classifier, tensors, prefix="classifier.", what=str(path))
    classifier.eval()
