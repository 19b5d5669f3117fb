"""What every stage works with: the configuration, the run folder, the device and the videos."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from adafocus_rl.agents import Agent
from adafocus_rl.data.clips import ClipBatch
from adafocus_rl.data.dataset import ClipDataset, make_loader
from adafocus_rl.data.index import VideoIndex, missing
from adafocus_rl.data.processes import is_worker
from adafocus_rl.data.read import read_indices
from adafocus_rl.envs import PatchSelectionVectorEnv
from adafocus_rl.errors import UserError
from adafocus_rl.experiments.config.clips import clips_of
from adafocus_rl.experiments.config.embedded import make_embedded
from adafocus_rl.experiments.config.experiment import AgentConfig, DataConfig, ExperimentConfig
from adafocus_rl.experiments.config.parser import load_settings
from adafocus_rl.experiments.run.folder import RunFolder, open_run
from adafocus_rl.experiments.run.metrics_log import MetricsLog
from adafocus_rl.experiments.terminal.progress import say
from adafocus_rl.features import FeatureSource
from adafocus_rl.geometry import PatchGrid
from adafocus_rl.models.classifiers import Classifier
from adafocus_rl.models.recognizer import Recognizer
from adafocus_rl.seeding import compute_deterministically, seed_all


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
        stills: close-ups for stage 0, augmented; None when there are none, or none are wanted.
        log: scalars.
        resume: whether finished stages are kept and others go on from their last epoch.
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
    stills: ClipDataset | None
    log: MetricsLog
    resume: bool = False
    strict: bool = False
    failed: dict[str, str] = field(default_factory=dict)

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
                raise UserError(f"cannot decode {path}: {reason}; leave --strict out to go on without it")
            say(f"warning: left out {path}: {reason}")

    @property
    def index_hashes(self) -> list[str]:
        """What training lists are made of: a run cannot go on with others."""
        return [clips.index.hash() for clips in (self.train, self.stills) if clips is not None]

    @property
    def class_names(self) -> list[str] | None:
        """Names of the classes in the order of the labels, the same for all lists; None when none has any."""
        given = self.train.index.class_names or self.val.index.class_names
        return None if given is None else [*given]

    def passes(self, dataset: ClipDataset, batch_size: int) -> Callable[[int], Iterator[ClipBatch]]:
        """Shuffled passes over a dataset, by epoch; undecodable videos are noted and left out.

        The worker processes live as long as the function that is returned.
        """
        pin = self.device.type == "cuda"
        loader = make_loader(dataset, batch_size=batch_size, shuffle=True, workers=self.config.data.workers, pin=pin)

        def one_pass(epoch: int) -> Iterator[ClipBatch]:
            dataset.set_epoch(epoch)
            clips = 0
            for batch in loader:
                self.note_failures(batch.failed)
                clips += len(batch)
                if len(batch):
                    yield batch
            if not clips:
                raise UserError(f"none of the {len(dataset)} training videos can be decoded; see the reasons above")

        return one_pass

    def recognizer(self, *, with_weights: bool = True) -> Recognizer:
        """A new recognizer, its random weights those of the run's seed.

        Args:
            with_weights: False leaves out the encoders' weights files, for weights that a checkpoint brings.
        """
        model = self.config.model
        if not with_weights:
            glance, focus = (dataclasses.replace(part, weights="none") for part in (model.glance, model.focus))
            model = dataclasses.replace(model, glance=glance, focus=focus)
        seed_all(self.config.seed, "recognizer")
        return Recognizer(model).to(self.device)

    def env(self, source: FeatureSource, classifier: Classifier, **options: Any) -> PatchSelectionVectorEnv:
        """The environment of stage II on these features; ``options`` go before what the run says."""
        chosen: dict[str, Any] = {
            "num_envs": self.config.stage2.batch_size,
            "reward": self.config.env.reward,
            "seed": self.config.seed,
            **self.config.env.options(),
        }
        return PatchSelectionVectorEnv(source, classifier, **{**chosen, **options})

    def agent(self, env: PatchSelectionVectorEnv, name: str | None = None) -> Agent:
        """The run's agent, untrained, or one of another class with its default options."""
        chosen = AgentConfig(name=name) if name and name != self.agent_config.name else self.agent_config
        return chosen.make(env, seed=self.config.seed)


def make_context(
    config: ExperimentConfig,
    agent: AgentConfig,
    run: RunFolder,
    *,
    resume: bool = False,
    strict: bool = False,
    check: bool = True,
) -> Context:
    """Finds, or makes, the data. Nothing is written into the run folder.

    Args:
        config: of the run.
        agent: of the run.
        run: its folder.
        resume: for the context.
        strict: for the context.
        check: look whether the videos are there, and whether one can be decoded; needless where it was done just now.

    Raises:
        UserError: unknown device, missing lists, no usable video, or a label beyond the number of classes.
    """
    device = find_device(config.device)
    use_threads(config.threads)
    if config.deterministic:
        compute_deterministically()
    # Its own checks come first: that a patch is larger than the frame should not show as videos that are too small.
    PatchGrid(grid=config.model.grid, frame_size=config.model.frame_size, patch_size=config.model.patch_size)
    lists = find_lists(config.data)
    indices = read_run_lists(config, lists)
    for note in {note: None for index in indices.values() for note in index.notes}:
        say(f"note: {note}")
    if config.model.num_classes == 0:
        model = dataclasses.replace(config.model, num_classes=indices["train"].num_classes)
        config = dataclasses.replace(config, model=model)

    wants_stills = "stills" in lists and config.stage0.stills.epochs
    context = Context(
        config=config,
        agent_config=agent,
        run=run,
        device=device,
        train=clips_of(config, indices["train"], train=True),
        train_still=clips_of(config, indices["train"], train=False),
        val=clips_of(config, indices["val"], train=False),
        stills=clips_of(config, indices["stills"], train=True, side=config.model.patch_size) if wants_stills else None,
        log=MetricsLog(run.metrics, run.path / "tensorboard"),
        resume=resume,
        strict=strict,
    )
    for split, clips in (("train", context.train_still), ("val", context.val), ("stills", context.stills)):
        if check and clips is not None:
            context.note_failures(check_videos(clips, lists[split], workers=config.data.workers))
    return context


def read_run_lists(config: ExperimentConfig, lists: Mapping[str, Path]) -> dict[str, VideoIndex]:
    """The videos of a run's lists, their classes in the order of the training list.

    Raises:
        UserError: a list cannot be read, or the classes of one contradict those of the training list.
    """
    data = config.data
    return read_indices(
        lists,
        root=Path(data.root) if data.root and not data.embedded else None,
        classes=Path(data.classes) if data.classes else None,
        format=data.format,
        template=data.frame_template,
        num_classes=config.model.num_classes,
    )


def check_videos(clips: ClipDataset, listed_in: Path, *, workers: int = 0) -> list[tuple[str, str]]:
    """Looks whether every video is there, and decodes them in order until one can be.

    Args:
        clips: the videos.
        listed_in: their list, for the message.
        workers: 0 decodes in this process; otherwise one process does, which a video may crash.

    Returns:
        (path, reason) of the videos that are missing, or were found undecodable on the way.

    Raises:
        UserError: none can be used.
    """
    failed = dict(missing(clips.index))
    there = [row for row, record in enumerate(clips.index) if record.path not in failed]
    # A pass for each video: to leave a pass early is to end a process that may be about to send the next clip, which
    # ends badly where processes are not forks.
    batches: list[list[int]] = []
    loader = make_loader(clips, batches=batches, workers=min(1, workers))
    for row in there:
        batches[:] = [[row]]
        for batch in loader:
            if len(batch):
                return list(failed.items())
            failed.update(batch.failed)
    path, reason = next(iter(failed.items()))
    raise UserError(
        f"none of the {len(clips)} videos of {listed_in} can be used (the first: {clips.index.root / path}: {reason}); "
        "correct the list, or give their folder with --data.root"
    )


def find_lists(config: DataConfig) -> dict[str, Path]:
    """The list files by split; an embedded dataset is made first when it is not there.

    Raises:
        UserError: neither an embedded dataset nor list files are given.
    """
    if config.embedded:
        return make_embedded(config.embedded, Path(config.root or f"data/{config.embedded}"), config.embedded_options)
    if not config.train_list or not config.val_list:
        raise UserError(
            "the recipe names no data; give data.train_list and data.val_list (CSV files with the columns path,label, "
            "or one of the formats of docs/datasets.md), or data.embedded"
        )
    named = {"train": config.train_list, "val": config.val_list, "stills": config.stills_list}
    return {split: Path(name) for split, name in named.items() if name}


def use_threads(number: int = 0) -> None:
    """The threads that torch computes in: so many, its own choice (0), and always one in a worker process."""
    if is_worker():
        torch.set_num_threads(1)
    elif number:
        torch.set_num_threads(number)


def find_device(name: str) -> torch.device:
    """The device called ``name``; ``auto`` is CUDA where there is one that this process can use.

    A process that was forked from one that computes on CUDA cannot; one that was spawned can.

    Raises:
        UserError: no such device here.
    """
    if name == "auto":
        usable = torch.cuda.is_available() and not torch.cuda._is_in_bad_fork()
        return torch.device("cuda" if usable else "cpu")
    try:
        # Others either hold no numbers (`meta`) or make torch look for a module of their name.
        if not re.fullmatch(r"(cpu|cuda|mps|xpu)(:[0-9]{1,3})?", name):
            raise RuntimeError("it is none of cpu, cuda, cuda:1, mps, xpu")
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(
            f"device {name!r} cannot be used here ({str(error).splitlines()[0]}); try --device=cpu"
        ) from None
    return device


def open_context(path: str, *, strict: bool = False, check: bool = True) -> Context:
    """The context of an existing run; ``check`` looks whether its videos are there."""
    run = open_run(path)
    settings = load_settings(run.config)
    return make_context(settings.config, settings.agent, run, strict=strict, check=check)
