"""Videos named on a command line: folders of videos and wildcards stand for the videos in them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml

from adafocus_rl.errors import UserError
from adafocus_rl.experiments.cli.named_videos import named_videos
from tests.experiments.conftest import Cli


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    folder = tmp_path / "clips"
    for name in ("b.mp4", "a [1].mp4", "deep/c.AVI", "frames/0.jpg", "frames/1.jpg", "notes.txt", ".hidden.mp4"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def test_what_names_stand_for(clips: Path) -> None:
    inside = [str(clips / name) for name in ("a [1].mp4", "b.mp4", "deep/c.AVI", "frames")]
    assert named_videos([str(clips)]) == inside
    assert named_videos([str(clips / "*.mp4")]) == inside[:2]
    for itself in (str(clips / "frames"), str(clips / "b.mp4"), "0", str(clips / "none.mp4"), str(clips / "*.mov")):
        assert named_videos([itself]) == [itself]
    # Brackets in a name that exists are no wildcard.
    assert named_videos([inside[0]]) == inside[:1]
    assert named_videos([inside[1], inside[0]]) == [inside[1], inside[0]]


def test_a_folder_without_videos_is_named_itself(tmp_path: Path) -> None:
    assert named_videos([str(tmp_path)]) == [str(tmp_path)]


@pytest.mark.parametrize("url", ["rtsp://camera/live", "https://example.org/a.mp4"])
def test_a_url_is_not_opened(url: str) -> None:
    with pytest.raises(UserError, match=r"is a URL, which is not opened; .*ffmpeg -i"):
        named_videos([url])


def test_predict_and_select_take_folders(cli: Cli, run: Path, recipe: Path, tmp_path: Path) -> None:
    root = Path(yaml.safe_load(recipe.read_text())["data"]["root"])
    folder = tmp_path / "some"
    folder.mkdir()
    for name in ("00001.mp4", "00000.mp4"):
        shutil.copy(root / "val" / name, folder)
    done = cli("predict", run, folder, "--json")
    assert done.code == 0
    paths = [video["path"] for video in json.loads(done.out)["videos"]]
    assert paths == [str(folder / "00000.mp4"), str(folder / "00001.mp4")]
    assert cli("select", run, folder / "*.mp4", "--out", tmp_path / "selected.json").code == 0
    assert len(json.loads((tmp_path / "selected.json").read_text())["videos"]) == 2
    done = cli("predict", run, "rtsp://camera/live", "--online")
    assert done.code == 2
    assert "is a URL" in done.err
