"""The whole examination of an installation: what works, what is broken, and what is missing."""

from __future__ import annotations

import platform
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import adafocus_rl
from adafocus_rl.errors import first_line
from adafocus_rl.experiments.doctor.packages import EXTRAS, Requirement, read_requirements

SMALL_SHARED = 256 << 20
"""Bytes of shared memory below which decoding processes may fail; containers have 64 MB unless told otherwise."""


def examine() -> dict[str, Any]:
    """Return all findings as plain values: ``ok``, ``faults``, ``notes``, ``missing``, and the facts by topic."""
    requirements = read_requirements()
    found: dict[str, Any] = {
        "adafocus_rl": {"version": adafocus_rl.__version__, "folder": str(Path(adafocus_rl.__file__).parent)},
        "python": {"version": platform.python_version(), "platform": platform.platform()},
        "packages": {one.name: one.found for one in requirements if not one.extra},
    }
    faults = [*_package_faults(requirements)]
    broken = _torch_fault()
    if broken is None:
        found |= _facts()
        faults += _faults(found)
    else:
        faults.append(broken)
    notes = [*_notes(found)] if broken is None else []
    missing = [
        {"name": one.name, "purpose": EXTRAS.get(one.extra, f"the extra {one.extra}"), "command": one.command}
        for one in requirements
        if one.extra and (one.found is None or one.too_old)
    ]
    return {"ok": not faults, "faults": faults, "notes": notes, "missing": [*missing, *_programs()], **found}


def _facts() -> dict[str, Any]:
    from adafocus_rl.experiments.doctor.decoding import codecs, decoding
    from adafocus_rl.experiments.doctor.machine import allocator, devices, folders, threads

    media = decoding()
    return {
        "devices": devices(),
        "threads": threads(),
        "allocator": allocator(),
        "decoding": media,
        "codecs": codecs() if media["video"]["works"] else [],
        "folders": folders(),
    }


def _package_faults(requirements: Sequence[Requirement]) -> Iterator[dict[str, str]]:
    """Yield required packages that are not installed, or too old."""
    for one in requirements:
        if not one.extra and one.found is None:
            yield {"what": f"{one.name} is not installed", "command": one.command}
        elif not one.extra and one.too_old:
            yield {"what": f"{one.name} {one.found} is older than {one.least}", "command": one.command}


def _torch_fault() -> dict[str, str] | None:
    """Return what is wrong with torch or torchvision: they must be of one release."""
    try:
        import torch
        from torchvision.ops import nms

        nms(torch.tensor([[0.0, 0.0, 1.0, 1.0]]), torch.tensor([1.0]), 0.5)
    except (ImportError, RuntimeError, OSError, AttributeError) as error:
        return {
            "what": f"torch and torchvision do not work together: {first_line(error)}",
            "command": "pip install --force-reinstall torch torchvision",
        }
    return None


def _faults(found: Mapping[str, Any]) -> Iterator[dict[str, str]]:
    """Yield what does not work in the facts."""
    for name, state in found["decoding"].items():
        if not state["works"]:
            yield {"what": f"{WAYS[name]} does not work: {state['reason']}", "command": state["command"]}
    temporary = found["folders"]["temporary"]
    if not temporary["writable"]:
        yield {
            "what": f"the folder of temporary files, {temporary['path']}, cannot be written: {temporary['reason']}",
            "command": "export TMPDIR=FOLDER",
        }


WAYS = {"video": "decoding H.264", "film": "writing films", "images": "reading frame images"}
"""What each way of decoding is called."""


def _notes(found: Mapping[str, Any]) -> Iterator[dict[str, str]]:
    """Yield what works, but not as well as it could."""
    machine, folders = found["devices"], found["folders"]
    if machine["nvidia_driver"] and not machine["cuda"]:
        why = "torch was built without CUDA" if machine["cuda_build"] is None else "torch finds no GPU that it can use"
        yield {
            "what": f"there is an NVIDIA driver, but {why}",
            "command": "pip install --force-reinstall torch torchvision",
        }
    if found["threads"]["torch"] > machine["cores"]:
        yield {
            "what": f"torch uses {found['threads']['torch']} threads on {machine['cores']} core(s)",
            "command": f"export OMP_NUM_THREADS={machine['cores']}",
        }
    if not folders["cache"]["writable"]:
        yield {"what": f"demo: needs a folder: {folders['cache']['reason']}", "command": "export ADAFOCUS_CACHE=FOLDER"}
    shared = folders.get("shared")
    if shared is not None and (not shared["writable"] or shared["free"] < SMALL_SHARED):
        yield {
            "what": "decoding processes may lack shared memory; start the container with more, or decode without them",
            "command": "docker run --shm-size=2g …, or --data.workers=0",
        }


def _programs() -> Iterator[dict[str, str]]:
    """Yield programs that some options call."""
    if shutil.which("npm") is None:
        yield {"name": "npm", "purpose": "adafocus export --web npm", "command": "install Node.js, https://nodejs.org"}
    if not any(map(shutil.which, ("c++", "g++", "clang++", "cl"))):
        yield {
            "name": "C++ compiler",
            "purpose": "--compile",
            "command": "apt-get install g++, or what your system has",
        }
