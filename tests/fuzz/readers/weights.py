"""Files of weights: checkpoints of ours, the public code's ``.pth.tar``, encoders' weights."""

from __future__ import annotations

import io
import json
import shutil
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random
from typing import Any

import torch
import torchvision
from safetensors.torch import save as save_tensors
from torch import Tensor

from adafocus_rl import checkpoint
from adafocus_rl.models.encoders import ENCODERS
from fuzz.cases import Case, reader
from fuzz.corpus import Corpus
from fuzz.mutate_bytes import mutate_bytes, mutate_header, word
from fuzz.mutate_trees import mutate_tree, to_json
from fuzz.pickles import hostile_pickle
from fuzz.readers.calls import command

FINISHED = ("stage0", "stage1", "stage2", "stage3", "full_frame")


def mutate_safetensors(rng: Random, content: bytes) -> bytes:
    """A safetensors file with faults in its bytes, its length or its header's JSON."""
    size = int.from_bytes(content[:8], "little")
    kind = rng.random()
    if kind < 0.3:
        return mutate_bytes(rng, content)
    if kind < 0.45:
        return mutate_header(rng, content, 8 + size)
    if kind < 0.55:
        wrong = rng.choice((0, 1, size - 1, size + 1, size * 2, 2**31, 2**40, 2**63, 2**64 - 1))
        return wrong.to_bytes(8, "little") + content[8:]
    header = json.loads(content[8 : 8 + size])
    values: tuple[Any, ...] = (["F64"], "F8_E4M3", [0, 0], [0, 2**63], [-1, 4], [2**31, 2**31], "x" * 100)
    text = to_json(rng, mutate_tree(rng, header, values=values))
    if rng.random() < 0.5:
        text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + content[8 + size :]


def _filled(tensor: Tensor) -> Tensor:
    """What no feature and no label is."""
    if tensor.dtype == torch.bool:
        return ~tensor
    return torch.full_like(tensor, float("nan") if tensor.is_floating_point() else 10**9)


_CHANGES: tuple[Callable[[Tensor], Tensor], ...] = (
    Tensor.double, Tensor.half, Tensor.bool, Tensor.int, Tensor.bfloat16, Tensor.flatten, Tensor.neg, _filled,
    lambda t: t.to(torch.complex64), lambda t: t.to(torch.float8_e4m3fn), lambda t: t[None], lambda t: t[:0],
    lambda t: t.flatten()[0], lambda t: torch.cat([t, t]), lambda t: torch.full_like(t, 1e30),
)  # fmt: skip
"""Other types, shapes and numbers; whichever a tensor cannot have takes it away."""


def mutate_tensors(rng: Random, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of other shapes, types, numbers and names."""
    found = dict(tensors)
    for _ in range(rng.choice((1, 1, 2, 5))):
        if not found:
            return found
        name = rng.choice(sorted(found))
        tensor = found[name]
        try:
            found[name] = rng.choice(_CHANGES)(tensor)
        except (RuntimeError, IndexError):
            del found[name]
        if rng.random() < 0.15:
            new = rng.choice((word(rng).replace("\0", ""), f"{name}.x", "optimizer.state.99.exp_avg", "9.boxes"))
            found[new] = found.pop(name, tensor)
    return found


_MANIFEST_VALUES: tuple[Any, ...] = (
    -1,
    10**9,
    "x",
    [],
    {},
    float("nan"),
    2**63,
    ["a", "b"],
    "episodes",
    "recognizer",
    "resume",
)


def attack_checkpoint(rng: Random, path: Path) -> None:
    """Makes a checkpoint hostile: its bytes, or what a program that knows the format writes."""
    content = path.read_bytes()
    kind = rng.random()
    if kind < 0.5:
        try:
            tensors, manifest = checkpoint.load(path)
            if kind < 0.3:
                manifest = mutate_tree(rng, manifest, values=_MANIFEST_VALUES)
                manifest = manifest if isinstance(manifest, dict) else {"x": manifest}
            else:
                tensors = mutate_tensors(rng, tensors)
            path.unlink()
            checkpoint.save(path, tensors=tensors, manifest=manifest)
        except Exception:
            # The product writes no such file; bytes can say anything.
            path.write_bytes(mutate_safetensors(rng, content))
        return
    if kind < 0.53:
        path.write_bytes(hostile_pickle(rng))
    else:
        path.write_bytes(mutate_safetensors(rng, content))


@reader("checkpoints", weight=9)
def checkpoints(rng: Random, corpus: Corpus, folder: Path) -> Case:
    """A run's finished checkpoints."""
    run = corpus.copy(corpus.run, folder / "run")
    name = rng.choice(FINISHED)
    path = run / "checkpoints" / f"{name}.safetensors"
    attack_checkpoint(rng, path)
    if rng.random() < 0.5:

        def load() -> None:
            from adafocus_rl.experiments.recognition import load_trained
            from adafocus_rl.models.saving import load_recognizer

            if name == "stage3":
                load_trained(run)
            else:
                load_recognizer(path)

        return Case(call=load, names=(path.name,))
    return Case(call=command("predict", run, corpus.data / "0.mp4"), names=(path.name, "episodes.safetensors"))


@reader("resume", weight=2)
def resume(rng: Random, corpus: Corpus, folder: Path) -> Case:
    """The checkpoint of an interrupted stage."""
    run = corpus.copy(corpus.stopped, folder / "run")
    (path,) = (run / "checkpoints").glob("stage1.resume.step*.safetensors")
    attack_checkpoint(rng, path)
    call = command("train", corpus.recipe, "--out", run, "--resume", "--stage1.epochs=2", "--stages", "0", "1")
    return Case(call=call, names=(path.name, "stage1"))


def _official(rng: Random) -> dict[str, Any]:
    """The layout of the public code, every tensor a single number that is said to be as large as it has to be."""
    with torch.device("meta"):
        parts = {
            "glancer": torchvision.models.mobilenet_v2(num_classes=7),
            "focuser": torchvision.models.resnet50(num_classes=7),
        }
        gru, linear = torch.nn.GRU(1280 + 2048, 8, batch_first=True), torch.nn.Linear(8, 7)

    def flat(prefix: str, module: Any) -> dict[str, Any]:
        return {
            f"{prefix}{name}": torch.zeros((), dtype=value.dtype).expand(value.shape)
            for name, value in module.state_dict().items()
        }

    content = {name: flat("net.", module) for name, module in parts.items()}
    content["fc"] = flat("gru.", gru) | flat("fc.", linear)
    return {**content, "policy": None, "epoch": 5, "acc": torch.tensor(75.0), "best_acc": 75.0}


def _zip_with(rng: Random, content: bytes, pickle: bytes) -> bytes:
    """A file of `torch.save` with another pickle in it."""
    changed = io.BytesIO()
    kind = rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(changed, "w", kind) as new:
        for entry in old.namelist():
            new.writestr(entry, pickle if entry.endswith("data.pkl") else old.read(entry))
    return changed.getvalue()


def _torch_file(rng: Random, content: Any) -> bytes:
    """What `torch.save` writes of it, made hostile."""
    file = io.BytesIO()
    torch.save(content, file, _use_new_zipfile_serialization=rng.random() < 0.8)
    written = file.getvalue()
    kind = rng.random()
    if kind < 0.35:
        return mutate_bytes(rng, written)
    if kind < 0.45:
        return hostile_pickle(rng)
    if kind < 0.6 and zipfile.is_zipfile(io.BytesIO(written)):
        return _zip_with(rng, written, hostile_pickle(rng))
    return written


@reader("official", weight=5)
def official(rng: Random, corpus: Corpus, folder: Path) -> Case:
    """``.pth.tar`` files as they circulate: pickles by strangers."""
    content = (
        _official(rng)
        if rng.random() < 0.5
        else {
            "state_dict": {
                f"module.base_model.{name}": torch.zeros(2, 2) for name in ("4.0.conv1.net.weight", "features.0.weight")
            }
            | {"module.new_fc.weight": torch.zeros(3, 2), "module.new_fc.bias": torch.zeros(3)}
        }
    )
    for _ in range(rng.choice((0, 1, 2))):
        part = rng.choice(sorted(name for name, value in content.items() if isinstance(value, dict)) or ["x"])
        if part not in content:
            break
        if rng.random() < 0.6:
            inner = dict(content[part])
            name = rng.choice(sorted(inner)) if inner else "x"
            shape = rng.choice(((), (1,), (0,), (2, 3), (10**6, 10**6), (2**40,), (1, 1, 1, 1, 1)))
            wild: Any = torch.zeros(
                (), dtype=rng.choice((torch.float16, torch.float32, torch.int64, torch.bool))
            ).expand(shape)
            inner[name] = rng.choice((wild, wild, None, 3, "x", [1]))
            content[part] = inner
        else:
            others: tuple[Any, ...] = (None, {}, [], "x", {"a": 1}, {1: torch.zeros(1)}, {"net.": torch.zeros(2)})
            content[part] = rng.choice(others)
    path = folder / rng.choice(("x.pth.tar", "x.pth", "a b [c].pth.tar", "x"))
    path.write_bytes(_torch_file(rng, content))
    if rng.random() < 0.04:
        return Case(call=command("import-official", path, "--out", folder / "run"), names=(path.name,))

    def read() -> None:
        from adafocus_rl.models.official import read_official

        read_official([path])

    return Case(call=read, names=(path.name,))


@reader("encoder-weights", weight=4)
def encoder_weights(rng: Random, corpus: Corpus, folder: Path) -> Case:
    """A file that a recipe names as an encoder's weights."""

    tensors = ENCODERS.get("small_glance")().state_dict()
    content = {
        name: value.clone() for name, value in (mutate_tensors(rng, tensors) if rng.random() < 0.5 else tensors).items()
    }
    path = folder / rng.choice(("w.safetensors", "w.pth", "w.pt", "w.pth", "w.bin", "a b.pth"))
    if path.suffix == ".safetensors":
        written = save_tensors({name: value.contiguous() for name, value in content.items()})
        path.write_bytes(mutate_safetensors(rng, written) if rng.random() < 0.7 else written)
    else:
        wrapped: Any = rng.choice(
            (content, {"state_dict": content}, {"model": content}, list(content), {"model": 3}, {"model": {}})
        )
        path.write_bytes(_torch_file(rng, wrapped))
    if rng.random() < 0.1:
        path.unlink()
        shutil.copytree(corpus.media / "frames", path)
    name = str(path) if rng.random() < 0.9 else rng.choice((word(rng), f"~nouser/{path.name}", f"{path}\0.pth"))

    def load() -> None:
        from adafocus_rl.models.encoders import create_encoder

        create_encoder("small_glance", weights=name, option="model.glance.weights")

    return Case(call=load, names=(path.name, "model.glance.weights"))
