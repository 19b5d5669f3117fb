"""ONNX Runtime Web, from its npm package: too large for this package, so it comes from where the user says."""

from __future__ import annotations

import io
import shutil
import subprocess
import tarfile
import tempfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from adafocus_rl.errors import UserError
from adafocus_rl.files import parse_json, read_bytes, user_path

PACKAGE = "onnxruntime-web"
TESTED = "1.30.0"
"""Version of the npm package that is fetched, and that the tests run."""

LIMIT = 128 << 20
"""Largest file that is read from the package, in bytes."""


@dataclass(frozen=True, kw_only=True)
class WebRuntime:
    """The files of ONNX Runtime Web that run models on the CPU by WebAssembly."""

    version: str
    """Version of the npm package."""
    script: bytes
    """The library, an ES module."""
    loader: bytes
    """The ES module that loads the binary."""
    binary: bytes
    """The WebAssembly binary, of 14 MB."""


def find_runtime(source: str) -> WebRuntime:
    """Return ONNX Runtime Web from where the user says.

    Args:
        source: the unpacked npm package (such as ``node_modules/onnxruntime-web``), the ``.tgz`` that
            ``npm pack onnxruntime-web`` writes, or ``npm`` to fetch it with the program of this name.

    Raises:
        UserError: if it is not there, not this package, or cannot be fetched.
    """
    if source == "npm":
        with tempfile.TemporaryDirectory() as folder:
            return read_runtime(fetch_package(Path(folder)))
    return read_runtime(user_path(source))


def fetch_package(folder: Path) -> Path:
    """Fetch the npm package, 33 MB, with the program ``npm``, which checks what it receives; return the ``.tgz``.

    Raises:
        UserError: if there is no such program, or it fails.
    """
    npm = shutil.which("npm")
    if npm is None:
        raise UserError(
            f"there is no program npm here to fetch {PACKAGE}; get version {TESTED} of this npm package elsewhere, and "
            "give its .tgz or its folder with --web"
        )
    command = [npm, "pack", "--silent", f"{PACKAGE}@{TESTED}"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace", check=False)
    found = [*folder.glob(f"{PACKAGE}-*.tgz")]
    if done.returncode or not found:
        reason = next(iter(done.stderr.strip().splitlines()), f"exit code {done.returncode}")
        raise UserError(
            f"`npm pack {PACKAGE}@{TESTED}` failed ({reason}); try again, or give the package's .tgz or "
            "folder with --web"
        )
    return found[0]


def read_runtime(path: Path) -> WebRuntime:
    """Read ONNX Runtime Web from its npm package, a folder or a ``.tgz``.

    Raises:
        UserError: if the package cannot be read, or is another one.
    """
    if path.is_dir():
        return _runtime(lambda name: read_bytes(path / name, f"file of {PACKAGE}", limit=LIMIT), path)
    content = read_bytes(path, f"npm package {PACKAGE}", limit=LIMIT)
    try:
        with tarfile.open(fileobj=io.BytesIO(content)) as packed:

            def member(name: str) -> bytes:
                entry = packed.getmember(f"package/{name}")
                file = packed.extractfile(entry) if entry.size <= LIMIT else None
                if file is None:
                    raise KeyError(f"no file {name}")
                return file.read()

            return _runtime(member, path)
    except (OSError, EOFError, KeyError, ValueError, tarfile.TarError, zlib.error) as error:
        raise UserError(
            f"{path} is not the npm package {PACKAGE} ({error}); give its folder, or the .tgz that "
            f"`npm pack {PACKAGE}@{TESTED}` writes"
        ) from None


def _runtime(read: Callable[[str], bytes], path: Path) -> WebRuntime:
    facts = parse_json(read("package.json").decode("utf-8", "replace"), f"the package.json of {path}")
    name = facts.get("name") if isinstance(facts, dict) else None
    if name != PACKAGE:
        raise UserError(f"{path} is the npm package {name!r}; give {PACKAGE}, best in version {TESTED}")
    return WebRuntime(
        version=str(facts.get("version")),
        script=read("dist/ort.wasm.min.mjs"),
        loader=read("dist/ort-wasm-simd-threaded.mjs"),
        binary=read("dist/ort-wasm-simd-threaded.wasm"),
    )
