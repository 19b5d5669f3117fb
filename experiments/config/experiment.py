"""Configuration of a run: keyword-only dataclasses, one per concern. Defaults are the paper's (appendix B.1)."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from adafocus_rl.agents import AGENTS
from adafocus_rl.data.formats import ListFormat
from adafocus_rl.envs import RewardConfig, SpaceConfig
from adafocus_rl.errors import UserError
from adafocus_rl.experiments.config.stages import (
    SkipConfig,
    Stage0Config,
    Stage1Config,
    Stage2Config,
    Stage3Config,
)
from adafocus_rl.features.options import EightBitTable, Precision
from adafocus_rl.models.config import ModelConfig, clip_frames
from adafocus_rl.options import MOST, require_range

if TYPE_CHECKING:
    from adafocus_rl.agents import Agent
    from adafocus_rl.envs import DecisionVectorEnv

REFERENCES = ("RandomAgent", "CenterAgent", "GaussianAgent", "OracleAgent")
"""Agents without a training that a run is compared with by default."""


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Videos, and how clips are made from them."""

    embedded: str | None = None
    """Name of a dataset that the package generates itself (``adafocus list``); null uses your own list files."""

    embedded_options: dict[str, Any] = field(default_factory=dict)
    """Options of the embedded dataset; see ``adafocus data make NAME --help``."""

    root: str | None = None
    """Folder that relative paths in the lists start from; null is the list's own folder. For an embedded dataset, the
    folder in which it is made (null is ``data/NAME``)."""

    train_list: str | None = None
    """Training list file, in one of the formats; not needed with an embedded dataset."""

    val_list: str | None = None
    """Validation list file."""

    stills_list: str | None = None
    """List of close-ups with the same classes, on which stage 0 first trains encoders that have no published weights;
    frames of at least ``model.patch_size``. Null for none; an embedded dataset has its own."""

    classes: str | None = None
    """File of class names, one per line; null uses ``classes.txt`` beside the list, if there is one."""

    format: ListFormat = "auto"
    """Format of the list files: ``csv`` with ``path,label``, or an official one (``docs/datasets.md``); ``auto``
    detects each file's."""

    frame_template: str | None = None
    """File names of the frames in a video's folder, such as ``image_{:05d}.jpg``; null detects them in each folder."""

    num_frames: int = 16
    """Number of frames sampled from a video, at least 1: T, or the sum of both sets if f_G and f_L process separate
    sets of frames (``model.glance.num_frames``)."""

    resize_short: int | None = None
    """Length in pixels to which the short side is resized before cropping to ``model.frame_size``; null is 256/224 of
    that, 0 keeps the original size."""

    crop: Literal["multiscale", "none"] = "multiscale"
    """Crop in training; evaluation crops the centre."""

    flip: bool = True
    """Mirror half of the training clips; set it to false if left and right matter."""

    workers: int = 2
    """Number of decoding processes; 0 decodes in the main process, which then ends if a codec crashes."""

    decode_timeout: float = 300.0
    """Seconds after which a decoding process still busy with one video is ended and the video left out; 0 waits
    forever."""

    def __post_init__(self) -> None:
        require_range(self, "num_frames", least=1, most=10_000)
        require_range(self, "resize_short", least=0, most=16_384)
        require_range(self, "workers", least=0, most=256)
        # At most a week: waiting for a process counts milliseconds in 32 bits.
        require_range(self, "decode_timeout", least=0, most=604_800)


@dataclass(frozen=True, kw_only=True)
class BankConfig:
    """How the tables of frozen features are built and read; results depend on ``precision`` and ``eight_bit`` only."""

    shard_videos: int = 64
    """Number of videos per shard, the unit of resuming; applies to tables built from now on."""

    chunk_videos: int = 4
    """Number of videos encoded at once; limits memory use."""

    precision: Precision = "float32"
    """Precision in which the encoders compute the tables; features are stored as float16 or, with ``eight_bit``, in 8
    bits. ``bfloat16`` is
    faster on processors and GPUs that support it; building reports by how much it changes features, for MobileNet-V2
    several percent. Live features are float32."""

    eight_bit: tuple[EightBitTable, ...] = ()
    """Tables to store in 8 bits instead of 16, which take half the disk and memory: ``[global_map]``, f_G's maps, of
    which π sees the rounding, or ``[global_map, local]``, f_L's features of patches, too, of which f_C sees it. Each
    value is off by at most (highest − lowest) / 510 of its frame. Live features are not rounded."""

    resident: Literal["auto", "always", "never"] = "auto"
    """Whether whole tables are held on the device; ``auto`` does so if they take at most half of its free memory."""

    def __post_init__(self) -> None:
        require_range(self, "shard_videos", "chunk_videos", least=1, most=MOST)


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """The final evaluation and its table."""

    batch_size: int = 64
    """Number of videos evaluated at once."""

    repeats: int = 10
    """Number of passes over the videos from which the results of random agents are averaged."""

    references: list[str] = field(default_factory=lambda: list(REFERENCES))
    """Agents to compare with, by class name; each is in the table with its default options. They must not need a
    training. ``OracleAgent`` is left out where the data has no true boxes."""

    timed_videos: int = 8
    """Number of videos whose recognition from decoded frames is timed, one at a time (median of three rounds)."""

    full_frame_epochs: int | None = None
    """Epochs to train f_C of the whole-frame row; null is those of stages I and III together, 0 leaves the row out."""

    sheet_videos: int = 6
    """Number of videos in ``patches.png``; 0 writes no picture."""

    report_videos: int = 50
    """Number of videos in ``report.html``; 0 writes no page."""

    replay_every: int = 5
    """Interval, in epochs of stage II, of pictures of a few validation clips in TensorBoard. An evaluation adds one
    picture of each method. 0 writes none."""

    def __post_init__(self) -> None:
        require_range(self, "batch_size", "repeats", least=1, most=MOST)
        require_range(self, "timed_videos", "full_frame_epochs", "replay_every", least=0, most=MOST)
        require_range(self, "sheet_videos", least=0, most=1000)
        require_range(self, "report_videos", least=0, most=10_000)


@dataclass(frozen=True, kw_only=True)
class EnvConfig(SpaceConfig):
    """The environment of stage II."""

    reward: RewardConfig = field(default_factory=RewardConfig)
    """Reward of the agent."""


@dataclass(frozen=True, kw_only=True)
class AgentConfig:
    """The agent's class and options."""

    name: str = "PPOAgent"
    """Name of a registered agent class."""

    options: Any = None
    """The class's ``Options``; null uses their defaults."""

    def __post_init__(self) -> None:
        if self.options is None:
            object.__setattr__(self, "options", AGENTS.get(self.name).Options())

    def make(self, env: DecisionVectorEnv, *, seed: int) -> Agent:
        """Create the untrained agent for an environment.

        Raises:
            UserError: if no agent has this name, or it does not fit the environment.
        """
        kind: type[Agent] = AGENTS.get(self.name)
        return kind(env, self.options, seed=seed)


@dataclass(frozen=True, kw_only=True)
class ExperimentConfig:
    """The whole configuration of a run."""

    name: str = "run"
    """Name of the run; its folder is ``runs/NAME`` unless ``--out`` names another."""

    seed: int = 0
    """Seed of all random numbers."""

    device: str = "auto"
    """``auto`` (CUDA if available, else the CPU), ``cpu``, ``cuda``, ``cuda:1``, ``mps``."""

    threads: int = 0
    """Number of CPU threads of the main process; 0 uses torch's default."""

    deterministic: bool = False
    """Make results on a GPU bitwise reproducible, at some cost in speed; on a CPU they always are. ``--resume`` then
    reaches exactly the parameters of an uninterrupted run."""

    data: DataConfig = field(default_factory=DataConfig)
    """Videos and clips."""

    model: ModelConfig = field(default_factory=ModelConfig)
    """f_G, f_L, f_C and sizes. If ``num_classes`` is 0, the number comes from the training list."""

    env: EnvConfig = field(default_factory=EnvConfig)
    """Observation space, action space and reward."""

    stage0: Stage0Config = field(default_factory=Stage0Config)
    """Initialise f_G and f_L."""

    stage1: Stage1Config = field(default_factory=Stage1Config)
    """Train f_L and f_C on random patches."""

    stage2: Stage2Config = field(default_factory=Stage2Config)
    """Train π."""

    skip: SkipConfig = field(default_factory=SkipConfig)
    """Train π′."""

    stage3: Stage3Config = field(default_factory=Stage3Config)
    """Fine-tune f_C with π."""

    bank: BankConfig = field(default_factory=BankConfig)
    """Precomputed features."""

    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    """Final evaluation."""

    agent: AgentConfig = field(default_factory=AgentConfig)
    """The agent, which selects the patches."""

    methods: dict[str, Any] = field(default_factory=dict)
    """Further methods to train and evaluate: their ``Options`` by registered name."""

    def __post_init__(self) -> None:
        # Checked here, because --help creates each block with its defaults and must not import the agents.
        references = self.evaluation.references
        if learners := [name for name in references if AGENTS.get(name).learns]:
            raise UserError(
                f"evaluation.references is {references}; give agents that need no training, without "
                f"{', '.join(learners)}"
            )
        if ".." in Path(self.name).parts:
            raise UserError(f"name is {self.name!r}, which leads out of the folder of runs; give one without `..`")
        require_range(self, "threads", least=0, most=1024)
        reason = None
        if self.env.action_space == "continuous":
            reason = "env.action_space is continuous", "holds the patches of the grid only"
            if len(self.model.patch_scales) > 1:
                raise UserError(
                    "env.action_space is continuous, a position without a size, but model.patch_scales is "
                    f"{[*self.model.patch_scales]}; give env.action_space=grid, or one scale"
                )
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
        """Whether validation features are computed live, because no bank can hold them."""
        return self.env.action_space == "continuous" or clip_frames(self.model) is not None
