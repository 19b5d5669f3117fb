"""Packages of other registries: the npm package of ONNX Runtime Web."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from random import Random

from fuzz.cases import Case, reader
from fuzz.corpus import Corpus
from fuzz.mutate_bytes import mutate_bytes
from fuzz.mutate_trees import mutate_tree, to_json

FILES = ("dist/ort.wasm.min.mjs", "dist/ort-wasm-simd-threaded.mjs", "dist/ort-wasm-simd-threaded.wasm")


@reader("npm-package", weight=2)
def npm_package(rng: Random, corpus: Corpus, folder: Path) -> Case:
    """A `.tgz`, or the folder of an unpacked one, that a user gives to `adafocus export --web`."""
    facts = {"name": "onnxruntime-web", "version": "1.30.0"}
    described = to_json(rng, mutate_tree(rng, facts)) if rng.random() < 0.5 else json.dumps(facts).encode()
    contents = {"package.json": described, **{name: rng.randbytes(rng.choice((0, 10, 1000))) for name in FILES}}
    if rng.random() < 0.3:
        del contents[rng.choice(sorted(contents))]
    path = folder / rng.choice(("x.tgz", "x.tar.gz", "a b", "x"))
    if rng.random() < 0.3:
        for name, content in contents.items():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_bytes(content)
    else:
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode=rng.choice(("w:gz", "w"))) as archive:
            for name, content in contents.items():
                entry = tarfile.TarInfo(f"package/{name}")
                entry.size = len(content)
                if rng.random() < 0.1:
                    entry.type, entry.linkname = rng.choice((tarfile.SYMTYPE, tarfile.LNKTYPE)), "/etc/passwd"
                archive.addfile(entry, io.BytesIO(content))
        path.write_bytes(mutate_bytes(rng, packed.getvalue()) if rng.random() < 0.6 else packed.getvalue())

    def read() -> None:
        from adafocus_rl.experiments.export.web_runtime import find_runtime

        find_runtime(str(path))

    return Case(call=read, names=(path.name,))
