"""``try.html``: a page that runs an exported recogniser in the browser, on a video or the webcam."""

from __future__ import annotations

import base64
import gzip
import hashlib
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from adafocus_rl.experiments.export.web_runtime import WebRuntime
from adafocus_rl.experiments.report.page import TEMPLATES as REPORT
from adafocus_rl.files import write_text
from adafocus_rl.printable import printable

TEMPLATES = files("adafocus_rl.experiments.export") / "templates"

EMBEDDED = 64 << 20
"""Largest size of all models together, in bytes, that are written into the page; larger ones are read beside it."""


def write_page(folder: Path, name: str, facts: Mapping[str, Any], runtime: WebRuntime) -> None:
    """Write the page beside the models.

    The page holds the runtime and, up to ``EMBEDDED`` bytes, the models, because browsers refuse to read other files
    for a page with a ``file:`` address. Larger models are read from their files, for which the page needs a server.

    Args:
        folder: the folder with the ONNX files.
        name: name of the page.
        facts: content of ``export.json``.
        runtime: ONNX Runtime Web.
    """
    models = {key: folder / model["file"] for key, model in facts["models"].items()}
    embedded = sum(path.stat().st_size for path in models.values()) <= EMBEDDED
    script = (TEMPLATES / "try.js").read_text(encoding="utf-8")
    jinja = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    template = jinja.from_string((TEMPLATES / "try.html").read_text(encoding="utf-8"))
    page = template.render(
        title=printable(str(facts["name"])),
        facts=facts,
        embedded=embedded,
        # Safe as markup: all of it comes with this package.
        style=Markup(
            "".join((part).read_text(encoding="utf-8") for part in (REPORT / "report.css", TEMPLATES / "try.css"))
        ),
        script=Markup(script),
        script_hash="sha256-" + _base64(hashlib.sha256(script.encode()).digest()),
        version=runtime.version,
        parts={
            "ort": _packed(runtime.script),
            "ort-loader": _packed(runtime.loader),
            "ort-binary": _packed(runtime.binary),
            **({f"model-{key}": _packed(path.read_bytes()) for key, path in models.items()} if embedded else {}),
        },
    )
    write_text(folder / name, page)


def _packed(content: bytes) -> str:
    """Return bytes as base64 of their gzip file, the same for the same bytes."""
    return _base64(gzip.compress(content, mtime=0))


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()
