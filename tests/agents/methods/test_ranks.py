"""On several ranks, every method learns what it learns in one process from the same minibatches."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from adafocus_rl.agents import PPOOptions
from adafocus_rl.agents.methods import METHODS
from adafocus_rl.agents.methods.classifier import train_classifier
from adafocus_rl.agents.training_options import ClassifierTraining, SGDConfig
from adafocus_rl.features import EpisodeFeatures
from adafocus_rl.models.max_pool import MaxPoolClassifier
from tests.agents.methods.conftest import CLASSES, PlainTrainer, make_ten_clips, make_tiny
from tests.two_ranks import on_ranks

BATCH = 3
"""With two ranks, ten clips are three minibatches with parts of 1 and 2 clips, and one with a clip for one rank."""

TRAINING = ClassifierTraining(epochs=2, learning_rate=0.01, sgd=SGDConfig(batch_size=BATCH))

METHOD_OPTIONS: dict[str, list[dict[str, Any]]] = {
    "ARNet": [{"hidden": 8}],
    "AdaFrame": [{"hidden": 8, "width": 8}],
    "GFNet": [
        {
            "epochs": 2,
            "batch_size": BATCH,
            "policy": PPOOptions(hidden=8, reduced_channels=2, n_minibatches=2),
            "fine_tuning": TRAINING,
        }
    ],
    "ListenToLook": [{"hidden": 8, "width": 8}],
    "LiteEval": [{"skip_rates": (0.5,), "coarse_width": 6, "fine_width": 8}],
    "MultiAgent": [{"agents": (1, 2), "hidden": 8, "moves": 3}],
    "SCSampler": [{"sampler_loss": "ranking"}, {}],
    "UniformFrames": [{}],
    "WholeFrames": [{}],
}
"""Options with which each method is tried."""


def everything() -> dict[str, tuple[dict[str, Tensor], list[dict[str, float]]]]:
    """Train each method with each of its options; return its tensors and scalars."""
    recognizer = make_tiny(dropout=0.0)  # each rank draws the masks of its own clips
    source, found = make_ten_clips(recognizer), {}
    for name, choices in METHOD_OPTIONS.items():
        kind: Any = METHODS.get(name)
        for number, options in enumerate(choices):
            trainer = PlainTrainer()
            if name == "WholeFrames":
                method = kind(recognizer, training=TRAINING)
            else:
                own = {} if name == "GFNet" else {"training": TRAINING}
                method = kind(recognizer, kind.Options(**own, **options))
            method.fit(source, source, trainer=trainer)
            found[f"{name} {number}"] = dict(method.tensors()), trainer.scalars
    found["batch normalisation of f_C"] = max_pool(source)
    return found


def max_pool(source: Any) -> tuple[dict[str, Tensor], list[dict[str, float]]]:
    """Train an f_C with batch normalisation."""
    torch.manual_seed(0)
    width = source.vector_dim + source.local_dim
    classifier, trainer = MaxPoolClassifier(input_dim=width, num_classes=CLASSES, hidden=8, dropout=0.0), PlainTrainer()

    def local(episodes: EpisodeFeatures, epoch: int) -> Tensor:
        return episodes.full()

    train_classifier(trainer, "f_C", classifier, source, local, training=TRAINING)
    return classifier.state_dict(), trainer.scalars


def test_every_method_is_tried() -> None:
    """A method of the registry that is new belongs into ``METHOD_OPTIONS``."""
    assert sorted(METHOD_OPTIONS) == sorted(METHODS)


def test_two_ranks_learn_what_one_process_learns() -> None:
    alone = everything()
    first, second = on_ranks(everything, timeout=300.0)
    for name, (tensors, scalars) in alone.items():
        for key, expected in tensors.items():
            assert torch.equal(first[name][0][key], second[name][0][key]), (name, key)
            torch.testing.assert_close(first[name][0][key], expected, rtol=1e-4, atol=1e-5, msg=f"{name}: {key}")
        assert first[name][1] == second[name][1], name
        for found, wanted in zip(first[name][1], scalars, strict=True):
            assert found == pytest.approx(wanted, rel=1e-4, abs=1e-5), name
