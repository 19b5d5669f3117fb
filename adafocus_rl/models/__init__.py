"""Perception: encoders f_G and f_L, classifiers f_C, and the recogniser that holds them."""

from typing import TYPE_CHECKING

from adafocus_rl.on_demand import on_demand

if TYPE_CHECKING:
    from adafocus_rl.models.classifiers import Classifier, create_classifier, sequence_loss
    from adafocus_rl.models.config import ClassifierConfig, EncoderConfig, ModelConfig
    from adafocus_rl.models.encoders import Encoder, create_encoder
    from adafocus_rl.models.recognizer import Recognizer
    from adafocus_rl.models.registry import CLASSIFIERS, ENCODERS
    from adafocus_rl.models.saving import (
        load_recognizer,
        recognizer_manifest,
        recognizer_tensors,
        restore_recognizer,
        save_recognizer,
    )
else:
    __getattr__, __dir__ = on_demand(
        __name__,
        {
            "adafocus_rl.models.classifiers": ["Classifier", "create_classifier", "sequence_loss"],
            "adafocus_rl.models.config": ["ClassifierConfig", "EncoderConfig", "ModelConfig"],
            "adafocus_rl.models.encoders": ["Encoder", "create_encoder"],
            "adafocus_rl.models.recognizer": ["Recognizer"],
            "adafocus_rl.models.registry": ["CLASSIFIERS", "ENCODERS"],
            "adafocus_rl.models.saving": [
                "load_recognizer",
                "recognizer_manifest",
                "recognizer_tensors",
                "restore_recognizer",
                "save_recognizer",
            ],
        },
    )

__all__ = [
    "CLASSIFIERS",
    "ENCODERS",
    "Classifier",
    "ClassifierConfig",
    "Encoder",
    "EncoderConfig",
    "ModelConfig",
    "Recognizer",
    "create_classifier",
    "create_encoder",
    "load_recognizer",
    "recognizer_manifest",
    "recognizer_tensors",
    "restore_recognizer",
    "save_recognizer",
    "sequence_loss",
]
