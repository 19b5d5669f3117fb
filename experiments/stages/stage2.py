"""Stage II: train π by reinforcement learning; the recognizer is frozen (AdaFocus, section 3.3; appendix B.1)."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Literal

from adafocus_rl import checkpoint
from adafocus_rl.agents import Agent
from adafocus_rl.experiments.context import Context
from adafocus_rl.experiments.evaluate import evaluate_agent
from adafocus_rl.experiments.reporting import Ticker
from adafocus_rl.features import FeatureBank, FeatureSource, LiveFeatures, build_bank
from adafocus_rl.features.build import expected_manifest
from adafocus_rl.models.recognizer import Recognizer

Split = Literal["train", "val"]


def open_features(
    context: Context,
    recognizer: Recognizer,
    split: Split,
    *,
    kind: Literal["bank", "live"] = "bank",
    build: bool = True,
    overwrite: bool = False,
) -> FeatureSource:
    """Frozen features of a split: the run's bank, built or finished if need be, or the encoders themselves.

    Raises:
        UserError: the bank in the run folder was built from other weights, videos or transforms.
    """
    if kind == "live":
        dataset = context.train if split == "train" else context.val
        return LiveFeatures(recognizer, dataset, device=context.device, workers=context.config.data.workers)
    dataset = context.train_still if split == "train" else context.val
    config = context.config.bank
    folder = context.run.bank(split)
    if build:
        with Ticker(f"bank {split}", len(dataset)) as ticker:
            build_bank(
                folder,
                recognizer,
                dataset,
                device=context.device,
                workers=context.config.data.workers,
                shard_videos=config.shard_videos,
                chunk_videos=config.chunk_videos,
                overwrite=overwrite,
                progress=ticker.to,
            )
    bank = FeatureBank(
        folder,
        device=context.device,
        seed=context.config.seed,
        expected=expected_manifest(recognizer, dataset, shard_videos=config.shard_videos),
        resident=config.resident,
    )
    context.note_failures(bank.failed)
    return bank


def train_policy(context: Context, agent: Agent, validation: FeatureSource) -> float:
    """Lets the agent learn on its environment, with a validation pass and a checkpoint after every epoch.

    Args:
        context: the run.
        agent: on the training features, with stage I's f_C; changed in place.
        validation: features of the validation videos.

    Returns:
        Seconds of training.
    """
    rotation = checkpoint.CheckpointRotation(context.run.checkpoints, "stage2.resume")
    start, seconds = 0, 0.0
    latest = rotation.latest() if context.resume else None
    if latest is None:
        rotation.clear()
    else:
        tensors, manifest = checkpoint.load(latest, device=context.device)
        agent.load_training_state(tensors, manifest["training"], what=str(latest))
        start, seconds = int(manifest["step"]), float(manifest["seconds"])
    context.log.begin("stage2", start)
    epochs = context.config.stage2.epochs
    with Ticker("stage2", epochs) as ticker:
        ticker.advance(start)
        started = time.monotonic() - seconds

        def after_epoch(done: int, scalars: Mapping[str, float]) -> None:
            spent = time.monotonic() - started
            result = evaluate_agent(agent, agent.env.classifier, validation, batch_size=agent.env.num_envs)
            frames = len(agent.env.source.videos) * agent.env.source.num_frames * (done - start)
            timing = {"eval/top1": result.top1, "eval/mAP": result.map, "time/fps": frames / max(spent - seconds, 1e-9)}
            context.log.write("stage2", done, {**scalars, **timing})
            tensors, plain = agent.training_state()
            rotation.save(done, tensors, {"kind": "resume", "training": plain, "seconds": spent}, metric=result.top1)
            ticker.advance(1, f"reward {scalars['rollout/ep_rew_mean']:.3f} top-1 {result.top1:.3f}")

        if agent.learns:
            agent.learn(epochs=epochs, start_epoch=start, callback=after_epoch)
        seconds = time.monotonic() - started
    rotation.clear()
    return seconds
