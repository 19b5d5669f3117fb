"""The documentation site: generated references are complete, and links to the repository lead to pages.

`make docs` builds the site itself, strict; these tests need none of its packages.
"""

from __future__ import annotations

import dataclasses
import inspect
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest

import adafocus_rl
from adafocus_rl.agents import AGENTS
from adafocus_rl.agents.methods import METHODS
from adafocus_rl.data import DATASETS
from adafocus_rl.envs import REWARDS
from adafocus_rl.experiments.config.chosen import Keys
from adafocus_rl.models import ENCODERS
from adafocus_rl.options import options_of
from website import api, commands, keys, links, notebooks, parts

ROOT = Path(__file__).parent.parent
LAYERS = ("adafocus_rl", "envs", "agents", "experiments")


def pages() -> dict[str, str]:
    """All pages of docs/, by path in the repository."""
    return {path.relative_to(ROOT).as_posix(): path.read_text("utf-8") for path in (ROOT / "docs").rglob("*.md")}


def test_every_mark_of_a_page_names_a_part() -> None:
    marks = [mark for text in pages().values() for mark in parts.MARK.findall(text)]
    assert {name for name, _ in marks} == parts.PARTS.keys()
    assert sum(text.count("<!-- generated") for text in pages().values()) == len(marks)


def test_every_key_of_a_recipe_has_an_entry() -> None:
    found = re.findall(r"\{ #(\S+) \}\n:   (.*)", keys.recipe_keys())
    wanted = {
        key for key, _ in Keys().leaves() if not key.startswith("skip.options") and key not in ("agent", "methods")
    }
    assert {key for key, _ in found} == wanted
    # A sentence about it, then what it takes.
    assert [key for key, text in found if text.startswith(" *")] == []


def test_every_option_of_a_name_has_an_entry() -> None:
    for text, registry in ((keys.agents(), AGENTS), (keys.methods(), METHODS)):
        for name in registry:
            assert f"## `{name}`\n" in text
            for option, value in options_of(registry.get(name).Options).items():
                block = dataclasses.is_dataclass(value.hint)
                assert not value.readable or block or f"{{ #{name}.{option} }}" in text, f"{name}.{option}"
    assert {*re.findall(r"^### `(\w+)`", keys.datasets(), re.MULTILINE)} == {*DATASETS}
    for text, names in ((keys.encoders(), ENCODERS.names()), (keys.rewards(), REWARDS.names())):
        entries = dict(re.findall(r"^`(\w+)`\n:   (.+)$", text, re.MULTILINE))
        assert [*entries] == names


def test_every_command_and_argument_has_an_entry() -> None:
    text = commands.commands()
    for words in commands.all_commands():
        assert f"## `adafocus {' '.join(words)}`\n" in text
    section = text.split("## `adafocus compare`\n")[1].split("\n## ")[0]
    assert "`--seeds` `N`\n:   " in section
    assert "%" not in re.sub(r"\d %|\d%", "", section)  # of argparse's own placeholders


def with_names() -> Iterator[str]:
    """The modules that state what they offer."""
    for layer in LAYERS:
        for folder, inner, names in os.walk(ROOT / layer):
            inner[:] = [name for name in inner if not (Path(folder) / name).is_symlink()]
            for name in sorted(names):
                path = Path(folder) / name
                if path.suffix == ".py" and re.search(r"^__all__ = ", path.read_text("utf-8"), re.MULTILINE):
                    parts = path.relative_to(ROOT).with_suffix("").parts
                    module = ".".join(parts if layer == "adafocus_rl" else ("adafocus_rl", *parts))
                    yield module.removesuffix(".__init__")


def test_every_public_name_has_an_entry() -> None:
    text = "".join(pages().values())
    listed = re.findall(r"^<!-- generated: api (\S+) -->$", text, re.MULTILINE)
    assert sorted(listed) == sorted(with_names())
    entries = api.package("adafocus_rl.envs")
    assert "::: adafocus_rl.envs.PatchSelectionVectorEnv\n" in entries
    for module in (ROOT / "experiments").glob("*.py"):
        if module.stem != "__init__":
            name = f"adafocus_rl.experiments.{module.stem}"
            assert f"::: {name}\n" in text or name in listed


def test_public_names_are_documented() -> None:
    """An entry without a docstring would be an empty page. Module constants have theirs below the assignment."""
    faults = []
    for module in with_names():
        package = __import__(module, fromlist=["*"])
        for name in package.__all__:
            entry = getattr(package, name)
            # Python 3.10 calls an alias of a type with parameters a class.
            if (inspect.isclass(entry) and not get_args(entry)) or inspect.isfunction(entry):
                faults += [f"{module}.{name}"] if not (entry.__doc__ or "").strip() else []
    assert faults == []


HEADINGS = [
    "Description", "Action space", "Observation space", "Rewards", "Starting state", "Episode end",
    "Arguments", "Versions",
]  # fmt: skip


def test_every_environment_has_a_page_in_gymnasiums_form() -> None:
    told = {}
    for path in (ROOT / "docs" / "environments").glob("*.md"):
        text = path.read_text("utf-8")
        (identifier,) = re.findall(r"^\| id \| `([^`]+)` \|$", text, re.MULTILINE)
        told[identifier] = re.findall(r"^## (.+)$", text, re.MULTILINE)
        assert f'"adafocus_rl:{identifier}"' in text
    assert told == dict.fromkeys(adafocus_rl.ENVIRONMENTS, HEADINGS)


def test_arguments_are_those_of_the_signature() -> None:
    text = keys.arguments(
        "adafocus_rl.experiments.gym_entry:make_patch_selection", "adafocus_rl.envs:PatchSelectionVectorEnv"
    )
    named = re.findall(r"^`(\w+)`$", text, re.MULTILINE)
    assert named[:3] == ["run", "split", "features"]
    assert {"num_envs", "reward", "time_step", "autoreset_mode"} <= {*named}
    assert len(named) == len({*named})
    assert "B, at least 1. *Default: `64`.*" in text


@pytest.mark.parametrize(
    ("link", "place", "leads_to"),
    [
        ("[a](../agents/base.py)", "docs/data.md", "[a](repository/agents/base.py.md)"),
        ("[a](../CONTRIBUTING.md#style)", "docs/data.md", "[a](repository/CONTRIBUTING.md#style)"),
        ("[a](../README.md)", "docs/data.md", "[a](index.md)"),
        ("[a](../data.md#x)", "docs/reference/keys.md", "[a](../data.md#x)"),
        ("[a](../../envs/problem.py)", "docs/reference/keys.md", "[a](../repository/envs/problem.py.md)"),
        ("[a](docs/data.md)", "CONTRIBUTING.md", "[a](../data.md)"),
        ("[a](tests/fuzz/readers)", "CONTRIBUTING.md", "[a](tests/fuzz/readers/index.md)"),
        ("![a](patches.png)", "docs/data.md", "![a](patches.png)"),
        ("[a](https://x.org/../y) [b](#c)", "docs/data.md", "[a](https://x.org/../y) [b](#c)"),
    ],
)
def test_a_link_leads_to_a_page_of_the_site(link: str, place: str, leads_to: str) -> None:
    assert links.rewrite(link, place) == leads_to


def test_a_linked_file_becomes_a_page() -> None:
    found = links.generated("[a](../agents/base.py) [b](../tests/fuzz/readers)", "docs/data.md")
    code = found["repository/agents/base.py.md"]
    assert "{.python" in code
    assert (ROOT / "agents" / "base.py").read_text("utf-8") in code
    assert "- `media.py`" in found["repository/tests/fuzz/readers/index.md"]
    with pytest.raises(FileNotFoundError, match=r"docs/data\.md links to agents/nothing\.py, which is not there"):
        links.generated("[a](../agents/nothing.py)", "docs/data.md")


def test_links_of_all_pages_lead_somewhere() -> None:
    for place, text in pages().items():
        links.generated(text, place)


def test_the_navigation_names_every_page() -> None:
    """`make docs` fails for a page that is not in the navigation; this says so without building it."""
    nav = (ROOT / "mkdocs.yml").read_text("utf-8").split("\nnav:\n")[1]
    named = re.findall(r"([\w/.-]+\.(?:md|ipynb))$", nav, re.MULTILINE)
    there = [place.removeprefix("docs/") for place in pages()]
    assert sorted(name for name in named if name.endswith(".md") and not name.startswith("repository/")) == sorted(
        there
    )
    assert len(named) == len({*named})


PAGE = "# T\nSay.\n\n```python\nprint(1)\n1 + 1\n```\n\n```toml\na = 1\n```\n\n```bash\nls\n```\nEnd.\n"


def test_the_cells_of_a_page() -> None:
    assert notebooks.cells(PAGE) == [
        ("markdown", "# T\nSay."),
        ("python", "print(1)\n1 + 1"),
        ("markdown", "```toml\na = 1\n```"),
        ("bash", "ls"),
        ("markdown", "End."),
    ]


def test_outputs_stand_below_their_cells() -> None:
    outputs: list[list[dict[str, Any]]] = [
        [
            {"output_type": "stream", "name": "stdout", "text": "\x1b[31m1\x1b["},
            {"output_type": "stream", "name": "stdout", "text": "0m\n"},
            {"output_type": "stream", "name": "stderr", "text": "progress"},
            {"output_type": "execute_result", "data": {"text/plain": "2"}},
        ],
        [{"output_type": "display_data", "data": {"image/png": "aGk=", "text/plain": "<Image>"}}],
    ]
    found = notebooks.insert(PAGE, outputs, stem="t")
    assert "```python\nprint(1)\n1 + 1\n```\n\n```{.text .output}\n1\n2\n```\n" in found.text
    assert "```bash\nls\n```\n\n![Output of the code above](t-0.png)\nEnd.\n" in found.text
    assert found.files == {"t-0.png": b"hi"}


def test_a_page_is_executed() -> None:
    pytest.importorskip("nbclient", reason="`make docs` installs it")
    text = "# T\n\n```python\nx = 20 + 1\nprint(2 * x)\n```\n\n```bash\npwd >&2; echo $((6 * 8))\n```\n"
    executed = notebooks.execute({"a/t.md": text})["a/t.md"]
    assert [line for line in executed.text.splitlines() if line in ("42", "48")] == ["42", "48"]
    assert [*executed.files] == ["t.ipynb"]


def test_pages_show_no_path_of_the_machine_that_builds_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ADAFOCUS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(Path, "home", lambda: Path("/home/me"))
    said = f"{tmp_path}/cache/demo-1/0.mp4\n/home/me/a\n{tmp_path}/page/runs/mine\n/usr/lib"
    outputs = [[{"output_type": "stream", "name": "stdout", "text": said}], []]
    found = notebooks.insert(PAGE, outputs, stem="t", names=notebooks.shown_names(str(tmp_path / "page")))
    assert "{.text .output}\n~/.cache/adafocus_rl/demo-1/0.mp4\n~/a\nruns/mine\n/usr/lib\n```" in found.text
