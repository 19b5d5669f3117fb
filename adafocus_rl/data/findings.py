"""Input and results of a check of lists and videos."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from adafocus_rl.data.formats import ListFormat
from adafocus_rl.data.index import VideoIndex, VideoRecord
from adafocus_rl.data.raw_annotations import Split
from adafocus_rl.data.read import ListContent

Depth = Literal["quick", "clip", "all"]
"""How much of a video to decode: its first frame, the frames sampled in evaluation, or every frame."""

Level = Literal["fault", "note"]


@dataclass(frozen=True, kw_only=True)
class CheckConfig:
    """What to check, and against what."""

    lists: dict[Split, Path]
    """The list files; "val" is also checked against "train"."""
    root: Path | None = None
    """Folder of relative paths; None for each list's own folder."""
    classes: Path | None = None
    """File of class names; None for the one beside each list."""
    format: ListFormat = "auto"
    """Format of the lists."""
    template: str | None = None
    """Pattern of the names of frames in folders; None detects it for each folder."""
    frame_sets: tuple[int, ...] = (16,)
    """T, frames of a clip; or several numbers, for as many sets of frames, each spread over the whole video."""
    num_classes: int = 0
    """K; 0 for the number of class names or, without names, one more than the largest label of the first list."""
    min_side: int = 0
    """Smallest allowed short side of a frame in pixels; 0 if frames are resized."""
    depth: Depth = "clip"
    """How much of each video to decode."""
    workers: int = 2
    """Number of processes; 0 works in this process."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One fault or note."""

    level: Level
    """Fault, or note."""
    kind: str
    """Identifier of the kind of finding."""
    where: str
    """List and line, or the subject of the finding."""
    text: str
    """Description and advice."""

    def __str__(self) -> str:
        return f"{self.where}: {self.text}"


@dataclass(kw_only=True)
class Listed:
    """A list in the process of being checked."""

    split: Split
    """Split of the list."""
    file: Path
    """The list file."""
    content: ListContent
    """All its lines."""
    lines: dict[str, int] = field(default_factory=dict)
    """Line number of each path."""
    records: list[VideoRecord] = field(default_factory=list)
    """The videos without a fault so far."""

    def where(self, record: VideoRecord) -> str:
        """List and line of a video."""
        return f"{self.file}, line {self.lines[record.path]}"

    def path(self, record: VideoRecord) -> Path:
        """Path of a video."""
        return self.content.root / record.path


@dataclass(kw_only=True)
class ListSummary:
    """Statistics of a list; all except ``videos`` refer to its usable videos."""

    file: str
    """The list file."""
    format: str
    """Format of the list."""
    videos: int
    """Number of lines."""
    usable: int
    """Number of videos without a fault."""
    files: int
    """Number of video files."""
    folders: int
    """Number of folders of frames."""
    frames: dict[str, float]
    """Minimum, median and maximum of the frames per video; empty without a usable video."""
    sizes: dict[str, int]
    """Number of videos by width × height, the most frequent first."""
    class_counts: list[int]
    """(K,) number of videos of each class; a video counts for each of its labels."""


@dataclass(kw_only=True)
class CheckReport:
    """Result of a check."""

    num_classes: int = 0
    """K."""
    findings: list[Finding] = field(default_factory=list)
    """Faults and notes, in the order of the checks."""
    lists: dict[Split, ListSummary] = field(default_factory=dict)
    """Statistics of each list."""
    usable: dict[Split, VideoIndex] = field(default_factory=dict)
    """The videos without a fault."""

    def of(self, level: Level) -> list[Finding]:
        """Return the faults, or the notes."""
        return [finding for finding in self.findings if finding.level == level]

    def plain(self) -> dict[str, Any]:
        """Convert the report to plain values for JSON."""

        def plain(level: Level) -> list[dict[str, str]]:
            return [{"kind": one.kind, "where": one.where, "text": one.text} for one in self.of(level)]

        return {
            "classes": self.num_classes,
            "lists": {split: asdict(summary) for split, summary in self.lists.items()},
            "faults": plain("fault"),
            "notes": plain("note"),
        }
