"""What a method is: a whole system that recognises videos, and says what it spent on them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar
from weakref import WeakKeyDictionary

from torch import Tensor

from adafocus_rl import checkpoint
from adafocus_rl.agents.methods.outcome import Outcome, Visit
from adafocus_rl.agents.methods.trainer import Trainer
from adafocus_rl.errors import UserError
from adafocus_rl.features import EpisodeFeatures, FeatureSource, TableSpec
from adafocus_rl.flops import Macs, component_macs
from adafocus_rl.models.recognizer import Recognizer
from adafocus_rl.options import NoOptions
from adafocus_rl.plain import build, convert, plain_options
from adafocus_rl.registry import Registry

METHODS: Registry[type[Method]] = Registry("method", "adafocus_rl.methods")
"""Methods by class name, which a configuration switches on (``methods.NAME``); ``adafocus list`` shows them."""

FIRST_VISIT = Visit()

_COSTS: WeakKeyDictionary[Recognizer, Macs] = WeakKeyDictionary()


class Method(ABC):
    """Recognises batches of videos from their frozen features, at one or several operating points.

    Evaluation, comparison, replay and prediction know methods by this class alone. A subclass is registered with
    ``@METHODS.register("ClassName")`` (third parties: an entry point in the group ``adafocus_rl.methods``).

    Args:
        recognizer: frozen f_G, f_L, and the f_C that was trained on random patches.
        options: an instance of ``Options``; None takes the defaults.
        seed: of everything random in the method.
    """

    Options: ClassVar[type[Any]] = NoOptions
    """Frozen dataclass of the method's options."""

    label: str
    """Short name in tables and files: ``ppo``, ``full_frame``."""

    variant: str | None = None
    """Tells apart methods of one label, which differ in their weights alone; None where there is only one."""

    tables: ClassVar[tuple[TableSpec, ...]] = ()
    """Tables of the bank that it needs besides those that every bank has; read with ``batch.table(spec)``."""

    knobs: Sequence[float] = ()
    """Its operating points, each a row of the results; empty for a method that has only one."""

    knob_name: ClassVar[str] = "knob"
    """What a knob is called where one is shown: ``λ``."""

    learns: ClassVar[bool] = False
    """Whether ``fit`` trains anything; its checkpoint in a run is then named after its label."""

    stochastic: bool = False
    """Whether metrics are to be averaged over several visits of each video."""

    privileged: bool = False
    """Whether it uses ground truth: a reference in comparisons, not a rival, and of no use on a new video."""

    def __init__(self, recognizer: Recognizer, options: Any = None, *, seed: int = 0) -> None:
        self.recognizer = recognizer
        self.options = self.Options() if options is None else options
        self.seed = seed

    @abstractmethod
    def run(self, batch: EpisodeFeatures, *, knob: float | None = None, visit: Visit = FIRST_VISIT) -> Outcome:
        """Recognise B videos.

        What is needed of the features is read here, and only that, for live features spend their compute when they
        are read; the time of this call is the method's time.

        Args:
            batch: features of the videos.
            knob: one of ``knobs``; None for a method without any.
            visit: how often the videos were seen before, and what else is wanted.
        """

    def fit(self, train: FeatureSource, val: FeatureSource, *, trainer: Trainer) -> None:  # noqa: B027  # nothing to learn
        """Learn from the training videos, if there is anything to learn.

        Args:
            train: their features.
            val: features of the validation videos, to measure progress.
            trainer: owns epochs, checkpoints, resume, logs and progress.
        """

    def rivals(self, kept: Mapping[float | None, float]) -> Sequence[Method]:
        """Methods that it is to be compared with, at the same operating points; none if nothing else is said.

        Args:
            kept: share of the frames that f_L looked at, by knob, as it was measured; empty of methods that skip none.
        """
        return ()

    @property
    def costs(self) -> Macs:
        """What each part of the recognizer costs in a step; counted once for all methods on one recognizer."""
        if self.recognizer not in _COSTS:
            _COSTS[self.recognizer] = component_macs(self.recognizer)
        return _COSTS[self.recognizer]

    def facts(self) -> dict[str, Any]:
        """Return the plain values (JSON) that the result of ``fit`` depends on; ``save`` stores them.

        A run trains its method again when one of them, the recognizer or the training list has changed.
        """
        return {"options": plain_options(self.options), "seed": self.seed}

    def tensors(self) -> dict[str, Tensor]:
        """Everything that ``save`` stores as tensors; the inverse is ``load_tensors``."""
        return {}

    def load_tensors(self, tensors: Mapping[str, Tensor], *, what: str) -> None:  # noqa: B027  # nothing to restore
        """Restore what ``tensors`` gave; ``what`` names the file in messages."""

    def save(self, path: str | Path, *, facts: Mapping[str, Any] | None = None) -> None:
        """One safetensors file with a JSON manifest; written whole or not at all.

        Args:
            path: the file.
            facts: further plain values of the manifest.
        """
        manifest = {**(facts or {}), **self.facts(), "kind": "method", "method": type(self).__name__}
        checkpoint.save(Path(path), tensors=self.tensors(), manifest=manifest)

    @classmethod
    def load(cls, path: str | Path, recognizer: Recognizer, **parts: Any) -> Method:
        """A method as it was saved: of this class, or of one below it that is registered.

        Args:
            path: what ``save`` wrote.
            recognizer: the one that it was saved with, on the device where the method shall run.
            **parts: what the class's constructor wants besides.

        Raises:
            UserError: the file is no method's, was saved by a class that is no ``cls``, or does not fit.
        """
        tensors, manifest = checkpoint.load(Path(path), device=next(recognizer.parameters()).device)
        if manifest.get("kind") != "method":
            raise UserError(f"{path} is a checkpoint of kind {manifest.get('kind')!r}, not of a method")
        with checkpoint.reading(path):
            name, seed = convert(manifest["method"], str, f"the method of {path}"), int(manifest["seed"])
        found = cls if name == cls.__name__ else METHODS.get(name)
        if not issubclass(found, cls):
            raise UserError(f"{path} holds a {name}; load it with {name}.load or Method.load")
        with checkpoint.reading(path):
            method = found(recognizer, build(found.Options, manifest["options"], name), seed=seed, **parts)
            method.load_tensors(tensors, what=str(path))
        return method


def check_knob(method: Method, knob: float | None) -> None:
    """Refuse an operating point that a method does not have.

    Raises:
        UserError: naming those that it has.
    """
    if knob not in (method.knobs or (None,)):
        have = ", ".join(f"{one:g}" for one in method.knobs)
        given = "none was given" if knob is None else f"there is no {knob:g}"
        if not have:
            raise UserError(f"{method.label} has no {method.knob_name} to be set; leave {knob:g} out")
        raise UserError(f"{method.label} runs at a {method.knob_name} of {have}; {given}")
