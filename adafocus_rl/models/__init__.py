"""Perception: encoders f_G and f_L, classifiers f_C, and the recogniser that holds them."""

# The modules of encoders and of a classifier are imported for their entries in the registries.
from adafocus_rl.models import max_pool as max_pool
from adafocus_rl.models import small as small
from adafocus_rl.models import temporal_shift as temporal_shift
from adafocus_rl.models import torchvision_encoders as torchvision_encoders
from adafocus_rl.models.classifiers import CLASSIFIERS, Classifier, create_classifier, sequence_loss
from adafocus_rl.models.config import ClassifierConfig, EncoderConfig, ModelConfig
from adafocus_rl.models.encoders import ENCODERS, Encoder, create_encoder
from adafocus_rl.models.recognizer import Recognizer
from adafocus_rl.models.saving import (
    load_recognizer,
    recognizer_manifest,
    recognizer_tensors,
    restore_recognizer,
    save_recognizer,
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
