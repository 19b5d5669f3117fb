"""Interface of methods: complete systems that recognise videos and report the compute they spent."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar
from weakref import WeakKeyDictionary

from torch import Tensor

from adafocus_rl import checkpoint
from adafocus_rl.agents.methods.outcome import Outcome, Visit
from adafocus_rl.agents.methods.registry import METHODS
from adafocus_rl.agents.methods.stream import Stream
from adafocus_rl.agents.methods.trainer import Trainer
from adafocus_rl.agents.saved import saved_class
from adafocus_rl.errors import UserError
from adafocus_rl.features import EpisodeFeatures, FeatureSource, TableSpec
from adafocus_rl.flops import Macs, component_macs
from adafocus_rl.models.config import ModelConfig
from adafocus_rl.models.recognizer import Recognizer
from adafocus_rl.options import NoOptions
from adafocus_rl.plain import build, convert, plain_options

FIRST_VISIT = Visit()

_COSTS: WeakKeyDictionary[Recognizer, Macs] = WeakKeyDictionary()


class Method(ABC):
    """Recognises batches of videos from their frozen features, at one or several operating points.

    Evaluation, comparison, replay and prediction use this interface only. A subclass is listed in
    ``adafocus_rl.agents.methods.registry`` (third parties: an entry point in the group ``adafocus_rl.methods``).

    Args:
        recognizer: frozen f_G, f_L, and the f_C that was trained on random patches.
        options: an instance of ``Options``; None uses the defaults.
        seed: seed of the method's random numbers.
    """

    Options: ClassVar[type[Any]] = NoOptions
    """Frozen dataclass of the method's options."""

    label: str
    """Short name in tables and files: ``ppo``, ``full_frame``."""

    variant: str | None = None
    """Distinguishes methods with one label, which differ in their weights only; None if there is only one."""

    tables: ClassVar[tuple[TableSpec, ...]] = ()
    """Bank tables that it needs besides those of every bank; read them with ``batch.table(spec)``. Override
    ``tables_of`` if they depend on the options."""

    knobs: Sequence[float] = ()
    """Its operating points, each a row of the results; empty if there is only one."""

    knob_name: str = "knob"
    """Name of a knob in tables and messages, such as ``λ``."""

    learns: bool = False
    """Whether ``fit`` trains anything."""

    stochastic: bool = False
    """Whether metrics are averaged over several visits of each video."""

    privileged: bool = False
    """Whether it uses ground truth; such a method is only a reference in comparisons, and useless on new videos."""

    def __init__(self, recognizer: Recognizer, options: Any = None, *, seed: int = 0) -> None:
        self.recognizer = recognizer
        self.options = self.Options() if options is None else options
        self.seed = seed

    @classmethod
    def tables_of(cls, options: Any, model: ModelConfig) -> tuple[TableSpec, ...]:
        """Return the bank tables that the method needs with these options, besides those of every bank.

        Args:
            options: an instance of ``Options``.
            model: configuration of the recognizer.
        """
        return cls.tables

    def random_counterpart(self) -> Method | None:
        """Return the same trained system with random decisions at the same mean compute, None if it makes none.

        It is a method of its own in tables, with the same label and the variant ``random decisions``.
        """
        return None

    @property
    def stem(self) -> str:
        """Name of its checkpoint in a run, and of its training in logs: the label, unless several methods share it."""
        return self.label

    @abstractmethod
    def run(self, batch: EpisodeFeatures, *, knob: float | None = None, visit: Visit = FIRST_VISIT) -> Outcome:
        """Recognise B videos.

        An implementation reads the features that it needs here, and no others: live features are computed when they
        are read, and the time of this call is the method's time.

        Args:
            batch: features of the videos.
            knob: one of ``knobs``; None for a method without any.
            visit: number of the visit, and which further results to compute.
        """

    def stream(self, *, knob: float | None = None, count: int = 1) -> Stream:
        """Begin to recognise ``count`` streams online, frame by frame, with the state kept between frames.

        Args:
            knob: as in ``run``.
            count: number of streams that are processed together.

        Raises:
            UserError: if the method, its agent or the encoders need whole clips.
        """
        raise UserError(
            f"{self.label} cannot recognise frame by frame, because it chooses among the frames of a whole clip; use "
            "another method, or recognise clips"
        )

    def fit(self, train: FeatureSource, val: FeatureSource, *, trainer: Trainer) -> None:  # noqa: B027  # nothing to learn
        """Train on the training videos, if there is anything to learn.

        Args:
            train: features of the training videos.
            val: features of the validation videos, to measure progress.
            trainer: the training loop: epochs, checkpoints, resuming, logs and progress.
        """

    @property
    def costs(self) -> Macs:
        """MACs of each part of the recognizer in one step; counted once for all methods on one recognizer."""
        if self.recognizer not in _COSTS:
            _COSTS[self.recognizer] = component_macs(self.recognizer)
        return _COSTS[self.recognizer]

    def facts(self) -> dict[str, Any]:
        """Return the plain values (JSON) that the result of ``fit`` depends on; ``save`` stores them.

        A run trains its method again when one of them, the recognizer or the training list has changed.
        """
        return {"options": plain_options(self.options), "seed": self.seed}

    def tensors(self) -> dict[str, Tensor]:
        """Return all tensors that ``save`` stores; ``load_tensors`` is the inverse."""
        return {}

    def load_tensors(self, tensors: Mapping[str, Tensor], *, what: str) -> None:  # noqa: B027  # nothing to restore
        """Restore the result of ``tensors``; ``what`` names the file in messages."""

    def save(self, path: str | Path, *, facts: Mapping[str, Any] | None = None) -> None:
        """Save the method as one safetensors file with a JSON manifest; the file is written atomically.

        Args:
            path: the file.
            facts: further plain values for the manifest.
        """
        manifest = {**(facts or {}), **self.facts(), "kind": "method", "method": type(self).__name__}
        checkpoint.save(Path(path), tensors=self.tensors(), manifest=manifest)

    @classmethod
    def load(cls, path: str | Path, recognizer: Recognizer, **parts: Any) -> Method:
        """Load a saved method of this class, or of a registered subclass.

        Args:
            path: a file that ``save`` wrote.
            recognizer: the recognizer that the method was saved with, on the device to run on.
            **parts: further arguments of the class's constructor.

        Raises:
            UserError: if the file is not a method checkpoint, contains a method that is not a ``cls``, or does not fit.
        """
        tensors, manifest = checkpoint.load(Path(path), device=next(recognizer.parameters()).device)
        found = saved_class(path, manifest, "method", cls, METHODS)
        with checkpoint.reading(path):
            seed = convert(manifest["seed"], int, "seed")
            options = build(found.Options, manifest["options"], found.__name__)
            method = found(recognizer, options, seed=seed, **parts)
            method.load_tensors(tensors, what=str(path))
        return method


def check_knob(method: Method, knob: float | None) -> None:
    """Check that a method has an operating point.

    Raises:
        UserError: if it does not; the message lists those that it has.
    """
    if knob not in (method.knobs or (None,)):
        have = ", ".join(f"{one:g}" for one in method.knobs)
        given = "none was given" if knob is None else f"there is no {knob:g}"
        if not have:
            raise UserError(f"{method.label} has no {method.knob_name} to be set; leave {knob:g} out")
        raise UserError(f"{method.label} runs at a {method.knob_name} of {have}; {given}")
