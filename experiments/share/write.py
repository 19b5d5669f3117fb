"""A model folder: all of a run that recognises videos, and nothing that leads back to the machine it was made on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from adafocus_rl import checkpoint
from adafocus_rl.errors import UserError
from adafocus_rl.experiments.config.experiment import ExperimentConfig
from adafocus_rl.experiments.config.parser import load_settings
from adafocus_rl.experiments.predict import Predictor
from adafocus_rl.experiments.report.rows import Row, is_last, rows_of
from adafocus_rl.experiments.run.folder import RunFolder, existing_folder
from adafocus_rl.experiments.run.results import results
from adafocus_rl.experiments.run.steps import ENCODERS
from adafocus_rl.experiments.share.card import CardFacts, card_text
from adafocus_rl.files import new_folder, write_bytes, write_text
from adafocus_rl.folders import replacing_folder
from adafocus_rl.models.config import FILE_SUFFIXES
from adafocus_rl.yaml_text import dump_yaml

CARD = "README.md"

OWN_PATHS = ("root", "train_list", "val_list", "stills_list", "classes")
"""Keys of ``data`` that hold paths of the machine that trained the run."""


def write_model_folder(
    run: str | Path, out: str | Path, *, license: str = "unknown", dataset: str | None = None, page: bool = True
) -> Path:
    """Write a run as a folder that can be shared: README.md, config.yaml, checkpoints, results.json, report.html.

    The folder is a run folder without a feature bank: `adafocus predict` and ``Predictor.load`` open it. Paths of
    lists, videos and weights are left out of it.

    Args:
        run: the run folder.
        out: folder to write, new or empty; it gets its name when it is complete.
        license: identifier of the model's licence.
        dataset: name of the data; None uses the embedded dataset's, or "own videos".
        page: whether to copy the run's report.html, which shows frames of validation videos.

    Returns:
        The folder.

    Raises:
        UserError: if ``out`` holds something, or the run is not finished or has no results.
    """
    target = new_folder(out, "model folder")
    source = existing_folder(run)
    found = source.read_results()
    rows = rows_of(found["rows"])
    if not rows:
        raise UserError(f"{source.path} has no results to write on a card; `adafocus evaluate {source.path}` measures")
    predictor = Predictor.load(run, device="cpu")  # also checks that the folder suffices for predictions
    config = predictor.run.config
    page = page and source.report.is_file()
    facts = CardFacts(
        name=config.name,
        license=license,
        dataset=dataset or config.data.embedded or "own videos",
        classes=predictor.names,
        encoders=(config.model.glance.name, config.model.focus.name),
        frames=config.data.num_frames,
        frame_size=config.model.frame_size,
        patch_size=config.model.patch_size,
        own=_own_rows(rows, predictor),
        rows=rows,
        page=source.report.name if page else None,
    )
    with replacing_folder(target) as part:
        folder = RunFolder(part)
        write_text(part / CARD, card_text(facts))
        for path in sorted(source.checkpoints.glob("*.safetensors")):
            # Stage 0 is where training began, and the others are states to resume from.
            if path.stem != ENCODERS.name and ".resume." not in path.name:
                tensors, manifest = checkpoint.load(path)
                checkpoint.save(folder.checkpoint(path.stem), tensors=tensors, manifest=_without_paths(manifest))
        folder.write_results(results(found["rows"], found["seconds"], {}))
        if page:
            write_bytes(folder.report, source.report.read_bytes())
        write_text(folder.config, dump_yaml(_shared_values(source, config)))
    return target


def _own_rows(rows: list[Row], predictor: Predictor) -> list[Row]:
    """Return the last rows of the run's agent, alone and with each π′; the one that predictions use comes first.

    Raises:
        UserError: if the results have no row of the agent.
    """
    label = predictor.method.label
    own = [row for row in rows if row.agent in (label, f"{label}+skip") and is_last(row, rows)]
    if not own:
        run = predictor.run.folder.path
        raise UserError(f"the results of {run} have no row of its agent {label}; `adafocus evaluate {run}` makes it")
    return sorted(own, key=lambda row: row.agent != label)


def _shared_values(source: RunFolder, config: ExperimentConfig) -> dict[str, Any]:
    """Return the values of config.yaml without paths, and with the number of classes, which was in the lists."""
    values = load_settings(source.config).values
    values["data"].update(dict.fromkeys(OWN_PATHS))
    values["model"]["num_classes"] = config.model.num_classes
    shared: dict[str, Any] = _without_paths(values)
    return shared


def _without_paths(values: Any) -> Any:
    """Return plain values without the folders of other runs and the files of encoders' weights."""
    if isinstance(values, dict):
        return {key: [] if key == "runs" else _without_paths(value) for key, value in values.items()}
    if isinstance(values, list):
        return [*map(_without_paths, values)]
    return "none" if isinstance(values, str) and values.endswith(FILE_SUFFIXES) else values
