"""``adafocus features push|pull RUN URL``."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

Cli = Any


def _content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_features_go_to_a_url_and_come_back(cli: Cli, run: Path, tmp_path: Path) -> None:
    url, before = f"file://{tmp_path}/there", _content(run / "features")
    done = cli("features", "push", run, url, "--json")
    assert done.code == 0, done.err
    # Six tables: of train in three shards each, of val in two.
    assert json.loads(done.out) == {
        "train": {"copied": 18, "kept": 0, "missing": 0}, "val": {"copied": 12, "kept": 0, "missing": 0},
    }  # fmt: skip
    shutil.rmtree(run / "features")
    done = cli("features", "pull", run, url, "--part", "1/2")
    assert done.code == 0, done.err
    assert f"{run / 'features' / 'train'}: 12 shards of train copied, 0 were there already" in done.err
    done = cli("features", "pull", run, url)
    assert f"{run / 'features' / 'train'}: 6 shards of train copied, 12 were there already" in done.err
    assert _content(run / "features") == before
    assert cli("features", "check", run).code == 0
    done = cli("features", "pull", run, f"file://{tmp_path}/elsewhere")
    assert done.code == 2
    assert f"file://{tmp_path}/elsewhere has no features of this run; copy them there with" in done.err


def test_a_url_is_where_it_belongs(cli: Cli, run: Path) -> None:
    done = cli("features", "push", run)
    assert done.code == 2
    assert "`adafocus features push` needs a URL after the run, such as s3://bucket/folder" in done.err
    done = cli("features", "build", run, "s3://a/b")
    assert done.code == 2
    assert "`adafocus features build` takes no s3://a/b; give only the run" in done.err
    for command in (("features", "build"), ("features", "check"), ("evaluate",)):
        done = cli(*command, run, "--features", "s3://a/b")
        assert done.code == 2
        assert (
            "features are kept in a folder, and s3://a/b is a URL; copy them with `adafocus features push" in done.err
        )
    assert not Path("s3:").exists()
