"""Stage II: train π, or a π′, by reinforcement learning on frozen features (AdaFocus, section 3.3; appendix B.1)."""

from __future__ import annotations

import time
from collections.abc import Mapping

from adafocus_rl.agents import Agent
from adafocus_rl.experiments.evaluation.measure import evaluate_agent
from adafocus_rl.experiments.run.run import Run
from adafocus_rl.experiments.terminal.progress import Ticker
from adafocus_rl.experiments.training.divergence import explaining_divergence, refuse_divergence
from adafocus_rl.experiments.training.live_view import LiveView
from adafocus_rl.experiments.training.progress import check_index
from adafocus_rl.features import FeatureSource
from adafocus_rl.rotation import CheckpointRotation


def train_policy(
    run: Run, agent: Agent, validation: FeatureSource, *, stage: str = "stage2", epochs: int | None = None
) -> float:
    """Lets the agent learn on its environment, with a validation pass and a checkpoint after every epoch.

    Args:
        run: the run.
        agent: π or a π′, on the training features, with stage I's f_C; changed in place.
        validation: features of the validation videos.
        stage: name in logs and stem of checkpoints.
        epochs: passes over the training videos; None takes stage II's.

    Returns:
        Seconds of training.

    Raises:
        UserError: the loss or a parameter is not finite; nothing of the epoch is written.
    """
    rotation = CheckpointRotation(run.folder.checkpoints, f"{stage}.resume")
    epochs = run.config.stage2.epochs if epochs is None else epochs
    start, before = 0, 0.0
    latest = rotation.load_latest(device=run.device) if run.resume else None
    if latest is not None:
        path, tensors, manifest = latest
        with rotation.advising(path):
            check_index(run, manifest, str(path))
            agent.load_training_state(tensors, manifest["training"], what=str(path))
            start, before = int(manifest["step"]), float(manifest["seconds"])
    run.log.forget(stage, after=start)
    source = agent.env.source
    view = LiveView(run, validation, stage=stage, epochs=epochs)
    with Ticker(stage, epochs) as ticker:
        ticker.advance(start)
        began = time.monotonic()

        def after_epoch(done: int, scalars: Mapping[str, float]) -> None:
            run.clips.note_failures(source.failed)
            tensors, plain = agent.training_state()
            refuse_divergence(run, stage, done, scalars, tensors)
            spent = time.monotonic() - began
            frames = len(source.videos) * source.num_frames * (done - start)
            result = evaluate_agent(agent, agent.env.classifier, validation, batch_size=agent.env.num_envs)
            measured = {"eval/top1": result.top1, "eval/mAP": result.map, "time/fps": frames / max(spent, 1e-9)}
            kept = "" if result.kept is None else f" kept {result.kept:.2f}"
            if result.kept is not None:
                measured["eval/kept"] = result.kept
            run.log.write(stage, done, {**scalars, **measured})
            view.after_epoch(agent, done)
            seconds = before + time.monotonic() - began
            index = run.clips.index_hashes
            rotation.save(done, tensors, {"kind": "resume", "training": plain, "seconds": seconds, "index": index})
            reward = scalars.get("rollout/ep_rew_mean", float("nan"))
            ticker.advance(1, f"reward {reward:.3f} top-1 {result.top1:.3f}{kept}")

        with explaining_divergence(run, stage, lambda: agent.training_state()[0]):
            agent.learn(agent.env, epochs=epochs, start_epoch=start, callback=after_epoch)
        return before + time.monotonic() - began
