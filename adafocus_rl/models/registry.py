"""The registries of encoders and classifiers."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from adafocus_rl.registry import Registry

if TYPE_CHECKING:
    from adafocus_rl.models.classifiers import Classifier
    from adafocus_rl.models.encoders import Encoder

ENCODERS: Registry[Callable[[], Encoder]] = Registry(
    "encoder",
    "adafocus_rl.encoders",
    {
        "mobilenet_v2": "adafocus_rl.models.torchvision_encoders:MobileNetV2Encoder",
        "none": "adafocus_rl.models.small:NoEncoder",
        "resnet101": "adafocus_rl.models.torchvision_encoders:resnet101",
        "resnet18": "adafocus_rl.models.torchvision_encoders:resnet18",
        "resnet34": "adafocus_rl.models.torchvision_encoders:resnet34",
        "resnet50": "adafocus_rl.models.torchvision_encoders:resnet50",
        "small_focus": "adafocus_rl.models.small:SmallFocus",
        "small_glance": "adafocus_rl.models.small:SmallGlance",
        "tsm_mobilenet_v2": "adafocus_rl.models.temporal_shift:TSMMobileNetV2Encoder",
        "tsm_resnet18": "adafocus_rl.models.temporal_shift:tsm_resnet18",
        "tsm_resnet34": "adafocus_rl.models.temporal_shift:tsm_resnet34",
        "tsm_resnet50": "adafocus_rl.models.temporal_shift:tsm_resnet50",
    },
)
"""Encoders by name; each entry is called without arguments and returns a freshly initialised network."""

PACKAGES: Registry[Callable[[str], Encoder]] = Registry(
    "package of encoders", None, {"timm": "adafocus_rl.models.timm_encoders:TimmEncoder"}
)
"""Packages whose networks are encoders by the name ``PACKAGE:NAME``; each entry is called with NAME."""

CLASSIFIERS: Registry[Callable[..., Classifier]] = Registry(
    "classifier",
    None,
    {
        "average": "adafocus_rl.models.classifiers:averaging_classifier",
        "gru": "adafocus_rl.models.classifiers:GRUClassifier",
        "max_pool": "adafocus_rl.models.max_pool:MaxPoolClassifier",
    },
)
"""Classifiers by name; each entry takes ``input_dim``, ``num_classes``, ``hidden`` and ``dropout``."""
