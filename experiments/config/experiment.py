"""What a recipe says: keyword-only dataclasses, one per concern. Defaults are the paper's (appendix B.1)."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from adafocus_rl.agents import AGENTS, Agent
from adafocus_rl.data.formats import ListFormat
from adafocus_rl.envs import DecisionVectorEnv, RewardConfig, SpaceConfig
from adafocus_rl.errors import UserError
from adafocus_rl.experiments.config.stages import (
    SkipConfig,
    Stage0Config,
    Stage1Config,
    Stage2Config,
    Stage3Config,
)
from adafocus_rl.models.config import ModelConfig, clip_frames
from adafocus_rl.options import MOST, require_range


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Which videos, and how a clip is made of one."""

    embedded: str | None = None
    """Name of a dataset that the project makes itself (``adafocus list``); null for one's own list files."""

    embedded_options: dict[str, Any] = field(default_factory=dict)
    """Options of the embedded dataset; see ``adafocus data make NAME --help``."""

    root: str | None = None
    """Folder that relative paths in the lists start from; null is the list's own folder. For an embedded dataset, the
    folder it is made in (null is ``data/NAME``)."""

    train_list: str | None = None
    """Training list file, in one of the formats; not needed with an embedded dataset."""

    val_list: str | None = None
    """Validation list file."""

    stills_list: str | None = None
    """List of close-ups with the same classes, on which stage 0 first trains encoders that have no published weights;
    frames of at least ``model.patch_size``. Null for none; an embedded dataset brings its own."""

    classes: str | None = None
    """File of class names, one per line; null takes ``classes.txt`` beside the list, if there is one."""

    format: ListFormat = "auto"
    """Format of the list files: ``csv`` with ``path,label``, or an official one (``docs/datasets.md``); ``auto``
    detects each file's."""

    frame_template: str | None = None
    """Names of the frames in folders, as ``image_{:05d}.jpg``; null when each folder tells."""

    num_frames: int = 16
    """Frames sampled from a video; at least 1. T, or both sets together where f_G and f_L look at sets of their own
    (``model.glance.num_frames``)."""

    resize_short: int | None = None
    """Short side in pixels before cropping to ``model.frame_size``; null is 256/224 of it, 0 keeps the size."""

    crop: Literal["multiscale", "none"] = "multiscale"
    """Training crop; evaluation crops the centre."""

    flip: bool = True
    """Mirror half of the training clips; false where left and right matter."""

    workers: int = 2
    """Decoding processes; 0 decodes in the main process, which a crash of a codec then ends."""

    decode_timeout: float = 300.0
    """Seconds after which a decoding process that is still at the same video is ended and the video left out; 0 waits
    for ever."""

    def __post_init__(self) -> None:
        require_range(self, "num_frames", least=1, most=10_000)
        require_range(self, "resize_short", least=0, most=16_384)
        require_range(self, "workers", least=0, most=256)
        # A week; what waits for a process counts in milliseconds, in 32 bits.
        require_range(self, "decode_timeout", least=0, most=604_800)


@dataclass(frozen=True, kw_only=True)
class BankConfig:
    """The tables of frozen features: how they are built and read, which no result depends on."""

    shard_videos: int = 64
    """Videos in one shard, the unit of resuming, of tables that are built from now on."""

    chunk_videos: int = 4
    """Videos encoded at once; bounds memory."""

    resident: Literal["auto", "always", "never"] = "auto"
    """Whether tables are held on the device whole; ``auto`` does so when they take at most half of its free memory."""

    def __post_init__(self) -> None:
        require_range(self, "shard_videos", "chunk_videos", least=1, most=MOST)


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """The final table."""

    batch_size: int = 64
    """Videos evaluated at once."""

    repeats: int = 10
    """Visits of every video over which random agents are averaged."""

    timed_videos: int = 8
    """Videos, one at a time, whose recognition from decoded frames is timed (median of three rounds)."""

    full_frame_epochs: int | None = None
    """Passes to train the whole-frame row's f_C; null is as many as stages I and III together, 0 leaves the row out."""

    sheet_videos: int = 6
    """Rows of ``patches.png``; 0 writes none."""

    report_videos: int = 50
    """Videos in ``report.html``; 0 writes none."""

    replay_every: int = 5
    """Epochs of stage II between pictures of a few validation clips in TensorBoard; 0 writes none."""

    def __post_init__(self) -> None:
        require_range(self, "batch_size", "repeats", least=1, most=MOST)
        require_range(self, "timed_videos", "full_frame_epochs", "replay_every", least=0, most=MOST)
        require_range(self, "sheet_videos", least=0, most=1000)
        require_range(self, "report_videos", least=0, most=10_000)


@dataclass(frozen=True, kw_only=True)
class EnvConfig(SpaceConfig):
    """The environment of stage II."""

    reward: RewardConfig = field(default_factory=RewardConfig)
    """What a choice of patch is paid."""


@dataclass(frozen=True, kw_only=True)
class AgentConfig:
    """Which agent, and its options."""

    name: str = "PPOAgent"
    """Name of a registered class."""

    options: Any = None
    """The class's ``Options``; null takes their defaults."""

    def __post_init__(self) -> None:
        if self.options is None:
            object.__setattr__(self, "options", AGENTS.get(self.name).Options())

    def make(self, env: DecisionVectorEnv, *, seed: int) -> Agent:
        """The agent on an environment, untrained.

        Raises:
            UserError: no agent has this name, or it does not fit the environment.
        """
        return AGENTS.get(self.name)(env, self.options, seed=seed)


@dataclass(frozen=True, kw_only=True)
class ExperimentConfig:
    """All that a run is made of."""

    name: str = "run"
    """Name of the run; its folder is ``runs/NAME`` unless ``--out`` says otherwise."""

    seed: int = 0
    """Everything random follows from it."""

    device: str = "auto"
    """``auto`` (CUDA when there is one), ``cpu``, ``cuda``, ``cuda:1``, ``mps``."""

    threads: int = 0
    """CPU threads of the main process; 0 leaves it to torch."""

    deterministic: bool = False
    """On a GPU, too, the same numbers to the last bit each time, at some cost in speed; on a CPU it is so anyway. With
    it, ``--resume`` reaches exactly the parameters of an uninterrupted run."""

    data: DataConfig = field(default_factory=DataConfig)
    """Videos and clips."""

    model: ModelConfig = field(default_factory=ModelConfig)
    """f_G, f_L, f_C and sizes. ``num_classes`` 0 takes the number from the training list."""

    env: EnvConfig = field(default_factory=EnvConfig)
    """The decision problem."""

    stage0: Stage0Config = field(default_factory=Stage0Config)
    """Initialise f_G and f_L."""

    stage1: Stage1Config = field(default_factory=Stage1Config)
    """f_L and f_C on random patches."""

    stage2: Stage2Config = field(default_factory=Stage2Config)
    """π."""

    skip: SkipConfig = field(default_factory=SkipConfig)
    """π′."""

    stage3: Stage3Config = field(default_factory=Stage3Config)
    """f_C with π."""

    bank: BankConfig = field(default_factory=BankConfig)
    """Precomputed features."""

    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    """The final table."""

    agent: AgentConfig = field(default_factory=AgentConfig)
    """Who chooses the patches."""

    methods: dict[str, Any] = field(default_factory=dict)
    """Methods to train and evaluate beside the agent, by registered name: each one's ``Options``."""

    def __post_init__(self) -> None:
        if ".." in Path(self.name).parts:
            raise UserError(f"name is {self.name!r}, which leads out of the folder of runs; give one without `..`")
        require_range(self, "threads", least=0, most=1024)
        reason = None
        if self.env.action_space == "continuous":
            reason = "env.action_space is continuous", "holds the patches of the grid only"
        frames = clip_frames(self.model)
        if frames is not None:
            reason = "f_G and f_L look at clips as a whole", "holds the features of single frames"
            if self.data.num_frames != sum(frames):
                raise UserError(
                    f"data.num_frames is {self.data.num_frames}, but f_G looks at {frames[0]} frames of a clip and "
                    f"f_L at {frames[1]} others; give data.num_frames={sum(frames)}"
                )
        for stage, features in (("stage2", self.stage2.features), ("stage3", self.stage3.features)):
            if reason and features != "live":
                raise UserError(
                    f"{reason[0]}, but {stage}.features is {features!r}, which {reason[1]}; give {stage}.features=live"
                )

    @property
    def live_validation(self) -> bool:
        """Whether validation features must be computed live, because no bank can hold them."""
        return self.env.action_space == "continuous" or clip_frames(self.model) is not None
