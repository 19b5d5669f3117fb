"""``adafocus doctor``: what it finds here, and what it says where something is broken."""

from __future__ import annotations

import configparser
import importlib.metadata
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch

from adafocus_rl.experiments.doctor import decoding, machine, packages
from adafocus_rl.experiments.doctor.examine import examine
from adafocus_rl.experiments.run import versions
from adafocus_rl.experiments.run.environment import environment

ROOT = Path(__file__).parents[2]


def test_the_command_finds_this_installation_sound(tmp_path: Path) -> None:
    environment = {**os.environ, "ADAFOCUS_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "adafocus_rl", "doctor"]
    done = subprocess.run([*command, "--json"], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr + done.stdout
    found = json.loads(done.stdout)
    assert (found["ok"], found["faults"]) == (True, [])
    assert found["packages"]["torch"] == importlib.metadata.version("torch")
    assert all(state["works"] and state["ms"] > 0 for state in found["decoding"].values())
    assert "h264" in found["codecs"]
    assert found["threads"] == {"torch": 1, "variables": {"OMP_NUM_THREADS": "1"}}
    assert found["folders"]["cache"] | {"free": 0} == {
        "path": str(tmp_path / "cache"), "writable": True, "free": 0, "reason": "",
    }  # fmt: skip
    assert not (tmp_path / "cache").exists()


def test_every_line_fits_a_terminal_of_80_columns(cli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(versions, "version", _without("sb3-contrib"))
    done = cli("doctor")
    assert done.code == 0
    lines = done.out.splitlines()
    assert lines[-1] == "Everything that is required works."
    assert [line for line in lines if len(line) > 80 and "/" not in line] == []
    place = lines.index("  sb3-contrib is missing, for recurrent agents of sb3-contrib")
    assert lines[place + 1] == '    pip install "sb3-contrib>=2.6"'


def test_a_missing_and_an_old_package_are_faults(cli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        return "0.18.9+cu1" if name == "av" else _without("rich")(name)

    monkeypatch.setattr(versions, "version", version)
    done = cli("doctor", "--json")
    assert done.code == 1
    assert json.loads(done.out)["faults"] == [
        {"what": "rich is not installed", "command": 'pip install "rich>=13.0"'},
        {"what": "av 0.18.9+cu1 is older than 17.1", "command": 'pip install "av>=17.1"'},
    ]


def test_opencv_without_windows_counts_as_opencv(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        return "4.12.0.88" if name == "opencv-python-headless" else _without("opencv-python")(name)

    monkeypatch.setattr(versions, "version", version)
    found = {one.name: one for one in packages.read_requirements()}
    assert (found["opencv-python"].found, found["opencv-python"].too_old) == ("4.12.0.88", False)
    # A run records the same version, under the name that it has had in all runs.
    assert environment()["packages"]["opencv-python"] == "4.12.0.88"


def test_what_cannot_be_decoded_or_written_is_named(cli: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "no.mp4").write_bytes(b"no video")
    monkeypatch.setattr(decoding, "CLIP", tmp_path / "no.mp4")
    monkeypatch.setenv("ADAFOCUS_CACHE", str(tmp_path / "no.mp4" / "cache"))
    done = cli("doctor")
    assert done.code == 1
    assert "decoding H.264 does not work: " in " ".join(done.out.split())
    assert "pip install --force-reinstall av" in done.out
    assert "export ADAFOCUS_CACHE=FOLDER" in done.out
    assert done.out.splitlines()[-1] == "Something that is required does not work."


def test_torch_without_its_torchvision_is_one_fault(cli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def nms(*_: object) -> None:
        raise RuntimeError("operator torchvision::nms does not exist\nmore")

    monkeypatch.setattr("torchvision.ops.nms", nms)
    done = cli("doctor", "--json")
    assert done.code == 1
    (fault,) = json.loads(done.out)["faults"]
    assert fault["what"] == "torch and torchvision do not work together: operator torchvision::nms does not exist"
    assert cli("doctor").code == 1


def test_notes_on_what_could_be_better(monkeypatch: pytest.MonkeyPatch) -> None:
    real = machine.devices()
    monkeypatch.setattr(machine, "devices", lambda: {**real, "cores": 1, "nvidia_driver": True, "cuda": []})
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    found = examine()
    assert found["ok"]
    notes = {note["command"]: note["what"] for note in found["notes"]}
    assert notes["export OMP_NUM_THREADS=1"] == "torch uses 8 threads on 1 core(s)"
    assert "there is an NVIDIA driver" in notes["pip install --force-reinstall torch torchvision"]


def test_every_extra_says_what_it_is_for() -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    assert {*config["options.extras_require"]} == {*packages.EXTRAS, *packages.DEVELOPMENT}


def test_a_preloaded_allocator_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MALLOC_ARENA_MAX", "2")
    assert machine.allocator()["variables"]["MALLOC_ARENA_MAX"] == "2"
    with tempfile.NamedTemporaryFile(prefix="libjemalloc.so.") as file:
        file.write(b"x" * 4096)
        file.flush()
        import mmap

        with mmap.mmap(file.fileno(), 4096):
            name = machine.allocator()["name"]
    assert name == ("jemalloc" if sys.platform == "linux" else name)


def _without(name: str) -> Any:
    """``importlib.metadata.version`` where one package is missing."""

    def version(asked: str) -> str:
        if asked == name:
            raise importlib.metadata.PackageNotFoundError(asked)
        return importlib.metadata.version(asked)

    return version
