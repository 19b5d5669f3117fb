"""What a check of lists and videos is given, and what it says."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from adafocus_rl.data.formats import ListFormat
from adafocus_rl.data.index import VideoIndex, VideoRecord
from adafocus_rl.data.inspect_video import Depth
from adafocus_rl.data.raw_annotations import Split
from adafocus_rl.data.read import ListContent

Level = Literal["fault", "note"]


@dataclass(frozen=True, kw_only=True)
class CheckConfig:
    """What is to be checked, and against what."""

    lists: dict[Split, Path]
    """The list files; "val" is checked against "train", too."""
    root: Path | None = None
    """Folder of relative paths; None for each list's own."""
    classes: Path | None = None
    """File of class names; None for the one beside each list."""
    format: ListFormat = "auto"
    """Format of the lists."""
    template: str | None = None
    """Names of frames in folders; None when each folder tells."""
    frame_sets: tuple[int, ...] = (16,)
    """T, frames of a clip; or several numbers, for as many sets of frames, each spread over the whole video."""
    num_classes: int = 0
    """K; 0 for the number of class names or, without names, one more than the largest label of the first list."""
    min_side: int = 0
    """Pixels that the shorter side of a frame must have; 0 when frames are resized."""
    depth: Depth = "clip"
    """How much of each video is decoded."""
    workers: int = 2
    """Processes; 0 works in this one."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that was found."""

    level: Level
    """Whether something is wrong, or only worth knowing."""
    kind: str
    """A word for it, the same for all of its kind."""
    where: str
    """List and line, or what it is about."""
    text: str
    """What it is, and what to do."""

    def __str__(self) -> str:
        return f"{self.where}: {self.text}"


@dataclass(kw_only=True)
class Listed:
    """One list on its way through the check."""

    split: Split
    """Which split it is of."""
    file: Path
    """The list file."""
    content: ListContent
    """All its lines."""
    lines: dict[str, int] = field(default_factory=dict)
    """Line of each path."""
    records: list[VideoRecord] = field(default_factory=list)
    """The videos in which no fault was found so far."""

    def where(self, record: VideoRecord) -> str:
        """List and line of a video."""
        return f"{self.file}, line {self.lines[record.path]}"

    def path(self, record: VideoRecord) -> Path:
        """Where a video lies."""
        return self.content.root / record.path


@dataclass(kw_only=True)
class ListSummary:
    """Numbers of a list; all but ``videos`` are of its usable videos."""

    file: str
    """The list file."""
    format: str
    """Its format."""
    videos: int
    """Lines."""
    usable: int
    """Videos without a fault."""
    files: int
    """Video files."""
    folders: int
    """Folders of frames."""
    frames: dict[str, float]
    """Frames of a video: min, median, max; empty without a usable video."""
    sizes: dict[str, int]
    """Videos by width × height, the most frequent first."""
    class_counts: list[int]
    """(K,) videos of each class; a video counts for each of its labels."""


@dataclass(kw_only=True)
class CheckReport:
    """All that was found."""

    num_classes: int = 0
    """K."""
    findings: list[Finding] = field(default_factory=list)
    """Faults and notes, in the order in which they were found."""
    lists: dict[Split, ListSummary] = field(default_factory=dict)
    """Numbers of each list."""
    usable: dict[Split, VideoIndex] = field(default_factory=dict)
    """The videos without a fault."""

    def of(self, level: Level) -> list[Finding]:
        """The faults, or the notes."""
        return [finding for finding in self.findings if finding.level == level]

    def plain(self) -> dict[str, Any]:
        """Plain values for JSON."""

        def plain(level: Level) -> list[dict[str, str]]:
            return [{"kind": one.kind, "where": one.where, "text": one.text} for one in self.of(level)]

        return {
            "classes": self.num_classes,
            "lists": {split: asdict(summary) for split, summary in self.lists.items()},
            "faults": plain("fault"),
            "notes": plain("note"),
        }
