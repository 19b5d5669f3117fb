"""Feature banks as earlier releases wrote them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from adafocus_rl.checksums import read_sealed, write_sealed
from adafocus_rl.features.manifest import digest


def as_old(folder: Path, version: int) -> None:
    """Turns a bank into what versions 1 and 2 wrote: one manifest, and shards that hold all tables."""
    manifests = {path.parent.name: read_sealed(path, "manifest")[0] for path in folder.glob("*/manifest.json")}
    manifest = {
        "format": "adafocus_rl.feature_bank",
        "format_version": version,
        "tables": {
            name: {"shape": table["shape"], "dtype": table["dtype"]}
            for name, table in manifests.items()
            if name != "clips"
        },
    }
    own = ("format", "format_version", "table", "shape", "dtype", "transforms")
    for table in manifests.values():
        manifest |= {name: value for name, value in table.items() if name not in own}
    size = manifests["clips"]["transforms"]
    manifest["transforms"] = {
        "frame_size": size["frame_size"], "resize_short": size["short_side"], "crop": "none",
        "scales": [1.0, 0.875, 0.75, 0.66], "flip": True,
    }  # fmt: skip
    for shard in sorted(folder.glob("clips/shard_*")):
        (folder / shard.name).mkdir()
        mark: dict[str, Any] = {"manifest": digest(manifest), "bytes": {}, "checksums": {}, "failed": []}
        for path in sorted(folder.glob(f"*/{shard.name}/*.npy")):
            own_mark, _ = read_sealed(path.parent / "done.json", "done mark")
            mark["bytes"][path.name] = own_mark["bytes"][path.name]
            mark["checksums"][path.name] = own_mark["checksums"][path.name]
            path.rename(folder / shard.name / path.name)
        if version == 1:
            del mark["checksums"]
            (folder / shard.name / "done.json").write_text(json.dumps(mark))
        else:
            write_sealed(folder / shard.name / "done.json", mark)
    for name in manifests:
        shutil.rmtree(folder / name)
    if version == 1:
        (folder / "manifest.json").write_text(json.dumps(manifest))
    else:
        write_sealed(folder / "manifest.json", manifest)
