"""Content of ``results.json``, in the current format and in version 1."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from adafocus_rl.errors import UserError
from adafocus_rl.record import VARIANT_AFTER, old_variant, title_of

RESULTS_VERSION = 2

OLD_REFERENCES = ("oracle", "best_patch")
"""Labels of the agents that see true boxes or labels, in files whose rows do not say so."""


def results(
    rows: Sequence[Mapping[str, Any]],
    seconds: Mapping[str, float],
    failed: Mapping[str, str],
    *,
    decode_ms: float | None = None,
) -> dict[str, Any]:
    """Return the content of results.json.

    Args:
        rows: rows of the table.
        seconds: seconds per stage, by name.
        failed: reasons of videos that could not be decoded, by path.
        decode_ms: median milliseconds to decode a clip, which the rows' times do not include; None if not measured.
    """
    return {
        "version": RESULTS_VERSION,
        "rows": [*map(dict, rows)],
        "seconds": {name: round(value, 1) for name, value in seconds.items()},
        "failed": [{"path": path, "reason": reason} for path, reason in failed.items()],
        "decode_ms": decode_ms,
    }


def refuse_infinite(found: Mapping[str, Any], path: object) -> None:
    """Refuse rows with a number that is not finite, since their table would hide that training diverged.

    Raises:
        UserError: if there is such a row.
    """
    for row in found["rows"]:
        for name, value in row.items():
            if isinstance(value, float) and not math.isfinite(value):
                title = title_of(row["agent"], row["variant"], row["knob"])
                raise UserError(
                    f"{title} has {name} {value}, so its training has diverged; no table was written to {path}: train "
                    "with a lower rate"
                )


def read(found: Any) -> dict[str, Any]:
    """Check the content of a file of any version, and return it in the current format.

    Raises:
        ValueError: if it is not a results file; the message names the fault.
    """
    if not isinstance(found, dict):
        raise ValueError(f"a JSON {type(found).__name__}, expected an object")
    version = found.get("version", 1)
    if type(version) is not int or not 1 <= version <= RESULTS_VERSION:
        raise ValueError(f"version {version!r}; this adafocus_rl reads up to {RESULTS_VERSION}")
    for name, kind in (("rows", list), ("seconds", dict), ("failed", list)):
        if not isinstance(found.get(name), kind):
            raise ValueError(f"no usable {name!r}")
    if not all(map(_is_number, found["seconds"].values())):
        raise ValueError("seconds that are no numbers")
    decode_ms = found.get("decode_ms")  # the first files of this version have none
    if not (decode_ms is None or _is_number(decode_ms)):
        raise ValueError("decode_ms is no number")
    rows = [_second_version(row) if version == 1 else row for row in found["rows"]]
    if not all(isinstance(row, dict) and _is_row(row) for row in rows):
        raise ValueError("a row that is none")
    for entry in found["failed"]:
        if not (isinstance(entry, dict) and {*map(type, entry.values())} <= {str} and {*entry} == {"path", "reason"}):
            raise ValueError("a failed video without path and reason")
    rows = [{**_derived(row), **row} for row in rows]
    return {**found, "version": RESULTS_VERSION, "rows": rows, "decode_ms": decode_ms}


def _second_version(row: Any) -> Any:
    """Convert a row of version 1, which had the last stage instead of a variant and λ instead of a knob."""
    stage = row.get("after_stage") if isinstance(row, dict) else None
    if type(stage) is not int or stage not in VARIANT_AFTER or "lambda" not in row or "agent" not in row:
        return None
    rest = {name: value for name, value in row.items() if name not in ("agent", "after_stage", "kept", "lambda")}
    return {
        "agent": row["agent"], "variant": old_variant(row["agent"], stage), "knob": row["lambda"],
        "kept": row.get("kept"), **rest,
    }  # fmt: skip


def _derived(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entries that files did not have at first, as far as the others tell them."""
    top1 = min(max(row["top1"], 0.0), 1.0)
    return {
        "top1_standard_error": math.sqrt(top1 * (1 - top1) / row["videos"]),
        "reference": row["agent"] in OLD_REFERENCES,
        "ms_q1": None,
        "ms_q3": None,
    }


def _is_row(row: Mapping[str, Any]) -> bool:
    measured, missing = ("top1", "map", "gmacs_per_video", "local_gmacs_per_video"), ("kept", "knob", "ms_per_video")
    return (
        isinstance(row.get("agent"), str)
        and isinstance(row.get("variant", 0), (str, type(None)))
        and type(row.get("videos")) is int
        and 0 < row["videos"] < 1 << 40
        and all(_is_number(row.get(name)) for name in measured)
        and _is_number(row.get("top1_standard_error", 0))
        and isinstance(row.get("reference", False), bool)
        and all(name in row and (row[name] is None or _is_number(row[name])) for name in missing)
        and all(row.get(name) is None or _is_number(row[name]) for name in ("ms_q1", "ms_q3"))
    )


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < 1e300
