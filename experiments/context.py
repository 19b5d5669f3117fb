"""What every stage works with: the configuration, the run folder, the device and the videos."""

from __future__ import annotations

import dataclasses
import inspect
import typing
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from adafocus_rl.agents import AGENTS, Agent
from adafocus_rl.data import DATASETS
from adafocus_rl.data.dataset import ClipBatch, ClipDataset, make_loader
from adafocus_rl.data.index import VideoIndex, missing
from adafocus_rl.data.transforms import TransformConfig
from adafocus_rl.envs import PatchSelectionVectorEnv, RewardConfig
from adafocus_rl.errors import UserError
from adafocus_rl.experiments.config import AgentConfig, DataConfig, ExperimentConfig
from adafocus_rl.experiments.reporting import MetricsLog, Ticker, say
from adafocus_rl.experiments.run_folder import RunFolder
from adafocus_rl.features import FeatureSource
from adafocus_rl.models.classifiers import Classifier
from adafocus_rl.models.recognizer import Recognizer
from adafocus_rl.seeding import seed_all


@dataclass
class Context:
    """The state of one command on one run.

    Attributes:
        config: with ``num_classes`` filled in.
        agent_config: which agent the run trains.
        run: its folder.
        device: where everything is computed.
        train: training clips, augmented.
        train_still: the training videos with the evaluation transforms, one fixed clip each.
        val: validation clips.
        log: scalars.
        resume: whether stages go on from their last epoch.
        strict: whether the first undecodable video ends the command.
        failed: undecodable videos by path, with the reason.
    """

    config: ExperimentConfig
    agent_config: AgentConfig
    run: RunFolder
    device: torch.device
    train: ClipDataset
    train_still: ClipDataset
    val: ClipDataset
    log: MetricsLog
    resume: bool = False
    strict: bool = False
    failed: dict[str, str] = field(default_factory=dict)
    _loader: Iterable[ClipBatch] | None = None

    def note_failures(self, failed: list[tuple[str, str]]) -> None:
        """Remembers and says, once each, which videos could not be decoded.

        Raises:
            UserError: on the first one if ``strict``.
        """
        for path, reason in failed:
            if path in self.failed:
                continue
            self.failed[path] = reason
            if self.strict:
                raise UserError(f"cannot decode {path}: {reason}; leave --strict out to train without it")
            say(f"warning: left out {path}: {reason}")

    def batches(self, dataset: ClipDataset, *, batch_size: int, epoch: int) -> Iterator[ClipBatch]:
        """One shuffled pass over a dataset; undecodable videos are noted and left out.

        The loader, and with it the worker processes, lives until :meth:`end_loading`.
        """
        dataset.set_epoch(epoch)
        if self._loader is None:
            self._loader = make_loader(dataset, batch_size=batch_size, shuffle=True, workers=self.config.data.workers)
        for batch in self._loader:
            self.note_failures(batch.failed)
            if len(self.failed) >= len(dataset):
                raise UserError(
                    f"none of the {len(dataset)} training videos can be decoded; the reasons are listed above"
                )
            if len(batch):
                yield batch

    def end_loading(self) -> None:
        """Lets the worker processes of :meth:`batches` go."""
        self._loader = None

    def recognizer(self) -> Recognizer:
        """A fresh recognizer with weights that belong to the run's seed."""
        seed_all(self.config.seed, "recognizer")
        return Recognizer(self.config.model).to(self.device)

    def env(
        self, source: FeatureSource, classifier: Classifier, *, reward: RewardConfig | None = None
    ) -> PatchSelectionVectorEnv:
        """The environment of stage II on these features."""
        return PatchSelectionVectorEnv(
            source,
            classifier,
            num_envs=self.config.stage2.batch_size,
            reward=reward or self.config.env.reward,
            seed=self.config.seed,
        )

    def agent(self, env: PatchSelectionVectorEnv, name: str | None = None) -> Agent:
        """The run's agent, or one of another class with its default options."""
        chosen = AgentConfig(name=name) if name and name != self.agent_config.name else self.agent_config
        return AGENTS.get(chosen.name)(env, seed=self.config.seed, **chosen.options)


def make_context(
    config: ExperimentConfig, agent: AgentConfig, run: RunFolder, *, resume: bool = False, strict: bool = False
) -> Context:
    """Finds, or makes, the data and sets the run up.

    Raises:
        UserError: unknown device, missing lists, no video there at all, or more classes than labels allow.
    """
    device = find_device(config.device)
    if config.threads:
        torch.set_num_threads(config.threads)
    lists = find_lists(config.data)
    root = Path(config.data.root).expanduser() if config.data.root and not config.data.embedded else None
    classes = Path(config.data.classes).expanduser() if config.data.classes else None
    train_index, val_index = (VideoIndex.read(lists[split], root=root, classes=classes) for split in ("train", "val"))
    if config.model.num_classes == 0:
        model = dataclasses.replace(config.model, num_classes=train_index.num_classes)
        config = dataclasses.replace(config, model=model)
    transform = TransformConfig(
        frame_size=config.model.frame_size,
        resize_short=config.data.resize_short,
        crop=config.data.crop,
        flip=config.data.flip,
    )

    def dataset(index: VideoIndex, *, train: bool) -> ClipDataset:
        return ClipDataset(
            index,
            num_frames=config.data.num_frames,
            transform=transform,
            train=train,
            seed=config.seed,
            num_classes=config.model.num_classes,
        )

    context = Context(
        config=config,
        agent_config=agent,
        run=run,
        device=device,
        train=dataset(train_index, train=True),
        train_still=dataset(train_index, train=False),
        val=dataset(val_index, train=False),
        log=MetricsLog(run.metrics, run.path / "tensorboard"),
        resume=resume,
        strict=strict,
    )
    for split, index in (("train", train_index), ("val", val_index)):
        absent = missing(index)
        if len(absent) == len(index):
            path, reason = absent[0]
            raise UserError(
                f"none of the {len(index)} videos of {lists[split]} is there (the first: {index.root / path}: {reason}); "
                "give their folder with --data.root"
            )
        context.note_failures(absent)
    return context


def find_lists(config: DataConfig) -> dict[str, Path]:
    """The list files of both splits; an embedded dataset is made first when it is not there.

    Raises:
        UserError: neither an embedded dataset nor list files are given.
    """
    if config.embedded:
        out = Path(config.root or f"data/{config.embedded}").expanduser()
        return make_embedded(config.embedded, out, config.embedded_options)
    if not config.train_list or not config.val_list:
        raise UserError(
            "the recipe names no data; give data.train_list and data.val_list (CSV files with the columns path,label), "
            "or data.embedded"
        )
    return {"train": Path(config.train_list).expanduser(), "val": Path(config.val_list).expanduser()}


def make_embedded(name: str, out: Path, options: dict[str, Any]) -> dict[str, Path]:
    """Makes an embedded dataset, with a progress bar, or finds it complete."""
    maker = DATASETS.get(name)
    settings = None
    if options:
        kind = maker_config(name)
        try:
            settings = kind(**options)
        except TypeError as error:
            raise UserError(f"data.embedded_options of {name}: {str(error).split('() ')[-1]}") from None
    with Ticker(f"making {name}", 0) as ticker:
        return maker(out, settings, ticker.to)


def maker_config(name: str) -> type[Any]:
    """The dataclass of options that a dataset maker's ``config`` argument is annotated with."""
    maker = DATASETS.get(name)
    annotation = typing.get_type_hints(maker)["config"]
    kinds = [
        kind
        for kind in typing.get_args(annotation) or (annotation,)
        if inspect.isclass(kind) and kind is not type(None)
    ]
    return kinds[0]


def find_device(name: str) -> torch.device:
    """The device called ``name``; ``auto`` is CUDA where there is one.

    Raises:
        UserError: no such device here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(
            f"device {name!r} cannot be used here ({str(error).splitlines()[0]}); try --device=cpu"
        ) from None
    return device
