"""Pages that are notebooks: their code is executed when the site is built, and its output is shown below it.

Tutorials are Markdown files, which GitHub shows and a difference of two versions can be read. Their ``python`` and
``bash`` blocks are the cells. An error in a cell fails the build. The site also offers each page as an ``.ipynb`` file,
without outputs.
"""

from __future__ import annotations

import base64
import os
import re
import sys
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from adafocus_rl.experiments.run.shipped import cache_folder

BLOCK = re.compile(r"^```(python|bash)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ESCAPES = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
USUAL_CACHE = "~/.cache/adafocus_rl"
"""Folder of the shipped run's copy for most users."""

TIMEOUT = 300
"""Seconds that a cell may take."""


@dataclass(frozen=True, kw_only=True)
class Executed:
    """A page after its code was executed."""

    text: str
    """The page, with outputs."""

    files: Mapping[str, bytes] = field(default_factory=dict)
    """Pictures and the notebook, by name; they belong beside the page."""


def cells(text: str) -> list[tuple[str, str]]:
    """Return the cells of a page: (``markdown``, ``python`` or ``bash``, source)."""
    found, start = [], 0
    for block in BLOCK.finditer(text):
        found += [("markdown", text[start : block.start()].strip()), (block[1], block[2].rstrip("\n"))]
        start = block.end()
    return [(kind, source) for kind, source in [*found, ("markdown", text[start:].strip())] if source]


def notebook(text: str) -> Any:
    """Return a page as a notebook without outputs."""
    from nbformat import v4

    made = v4.new_notebook(metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}})
    for number, (kind, source) in enumerate(cells(text)):
        shell = "%%bash\n" if kind == "bash" else ""
        cell = v4.new_markdown_cell(source) if kind == "markdown" else v4.new_code_cell(f"{shell}{source}")
        cell.id = f"cell-{number}"  # the same in every build
        made.cells.append(cell)
    return made


def execute(pages: Mapping[str, str]) -> dict[str, Executed]:
    """Execute pages, two at a time, each in an empty folder of its own.

    Args:
        pages: texts by the pages' paths.

    Raises:
        nbclient.exceptions.CellExecutionError: if a cell fails.
    """
    # Commands of ``bash`` cells are those of this environment, and find a terminal that is wide enough for tables.
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    os.environ["COLUMNS"] = "110"
    with ThreadPoolExecutor(2) as pool:
        return dict(zip(pages, pool.map(_execute, pages, pages.values()), strict=True))


def _execute(place: str, text: str) -> Executed:
    import nbformat
    from nbclient import NotebookClient

    stem, made = Path(place).stem, notebook(text)
    plain = nbformat.writes(made).encode()
    quiet = ["--log-level=ERROR"]  # of a kernel that only this machine can reach
    with tempfile.TemporaryDirectory() as folder:
        where = {"metadata": {"path": folder}}
        NotebookClient(made, timeout=TIMEOUT, kernel_name="python3", resources=where, extra_arguments=quiet).execute()
    outputs = [cell.outputs for cell in made.cells if cell.cell_type == "code"]
    found = insert(text, outputs, stem=stem, names=shown_names(folder))
    link = f"\n[Download this page as a notebook]({stem}.ipynb){{: download={stem}.ipynb }}\n"
    head, _, rest = found.text.partition("\n")
    return Executed(text=f"{head}\n{link}\n{rest.lstrip()}", files={**found.files, f"{stem}.ipynb": plain})


def shown_names(folder: str) -> dict[str, str]:
    """Return what pages show instead of the paths of the machine that builds them.

    Args:
        folder: the folder in which a page was executed.
    """
    return {f"{folder}{os.sep}": "", str(cache_folder()): USUAL_CACHE, str(Path.home()): "~"}


def insert(
    text: str, outputs: Sequence[Sequence[Mapping[str, Any]]], *, stem: str, names: Mapping[str, str] | None = None
) -> Executed:
    """Insert the outputs of a page's cells below them: text as a block, pictures as files.

    Args:
        text: the page.
        outputs: for each cell with code, its outputs in the format of notebooks.
        stem: name of the page, with which the names of its pictures begin.
        names: texts that replace others in the outputs, such as paths.
    """
    files: dict[str, bytes] = {}
    waiting = iter(outputs)

    def shown(block: re.Match[str]) -> str:
        found = next(waiting)
        parts = [block[0]]
        said = ESCAPES.sub("", "".join(map(_text, found))).strip("\n")
        for path, name in (names or {}).items():
            said = said.replace(path, name)
        if said:
            parts.append(f"```{{.text .output}}\n{said}\n```")
        for data in (output["data"] for output in found if "image/png" in output.get("data", {})):
            name = f"{stem}-{len(files)}.png"
            files[name] = base64.b64decode(data["image/png"])
            parts.append(f"![Output of the code above]({name})")
        return "\n\n".join(parts)

    return Executed(text=BLOCK.sub(shown, text), files=files)


def _text(output: Mapping[str, Any]) -> str:
    """Return the text of an output without pictures; progress and warnings on stderr are left out."""
    data = output.get("data", {})
    if "image/png" in data:
        return ""
    text: str = output["text"] if output.get("name") == "stdout" else data.get("text/plain", "")
    return text
