"""Charts of a sweep: accuracy against compute and against time, and the published points."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from adafocus_rl.experiments.evaluation.published import METRICS, POINTS
from adafocus_rl.experiments.report.curves import Curve, Knot, needs_log
from adafocus_rl.experiments.report.plot import Plot
from adafocus_rl.experiments.sweep.summary import SystemRow

Cost = Callable[[SystemRow], float | None]


def system_plots(rows: Sequence[SystemRow]) -> list[Plot]:
    """Return top-1 against GMACs, and against milliseconds, one curve per system, its random counterpart dashed."""
    return [
        _plot("Accuracy and compute", "GMACs per video", rows, lambda row: row.gmacs_per_video),
        _plot("Accuracy and time", "milliseconds per video, measured", rows, lambda row: row.ms_per_video),
    ]


def published_plots() -> list[Plot]:
    """Return a chart of the published points for each dataset, with hollow markers."""
    order = list(dict.fromkeys(point.system for point in POINTS))
    plots = []
    for dataset, metric in METRICS.items():
        points = [point for point in POINTS if point.dataset == dataset]
        systems = {point.system: [one for one in points if one.system == point.system] for point in points}
        curves = [
            Curve(
                name=system,
                hollow=True,
                knots=[
                    Knot(x=one.gmacs, y=one.accuracy, tip=f"{system}: {one.gmacs:g} GMACs, {one.accuracy:g} %")
                    for one in some
                ],
            )
            for system, some in systems.items()
        ]
        plots.append(
            Plot(
                heading=f"Published: {dataset}",
                x_label="GMACs per video",
                y_label=f"{metric}, %",
                curves=curves,
                series=order,
                log_x=needs_log([point.gmacs for point in points]),
            )
        )
    return plots


def _plot(heading: str, label: str, rows: Sequence[SystemRow], cost: Cost) -> Plot:
    groups: dict[tuple[str, str | None], list[SystemRow]] = {}
    for row in rows:
        if cost(row) is not None:
            groups.setdefault((row.name, row.variant), []).append(row)
    # Counterparts first: the systems are drawn over them.
    ordered = sorted(groups.values(), key=lambda some: not some[0].is_counterpart)
    curves = [
        Curve(
            name=some[0].name,
            dashed=some[0].is_counterpart,
            # In order of compute in both charts: measured times of neighbours may be in any order.
            knots=_knots(sorted(some, key=lambda row: row.gmacs_per_video), cost),
        )
        for some in ordered
    ]
    return Plot(
        heading=heading,
        x_label=label,
        y_label="top-1, %",
        curves=curves,
        series=list(dict.fromkeys(row.name for row in rows)),
        log_x=needs_log([knot.x for curve in curves for knot in curve.knots]),
        large=True,
    )


def _knots(rows: Sequence[SystemRow], cost: Cost) -> list[Knot]:
    return [
        Knot(x=x, y=100 * row.top1, low=100 * row.low, high=100 * row.high, tip=f"{_title(row)}: {x:.4g}, {_top1(row)}")
        for row in rows
        if (x := cost(row)) is not None
    ]


def _title(row: SystemRow) -> str:
    knob = "" if row.knob is None else f", {row.knob_name} {row.knob:g}"
    return row.name + (f", {row.variant}" if row.variant else "") + knob


def _top1(row: SystemRow) -> str:
    return f"{100 * row.top1:.1f} % ({100 * row.low:.1f} – {100 * row.high:.1f})"
