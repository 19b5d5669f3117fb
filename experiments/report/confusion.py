"""Confusion matrix as inline SVG, with a tooltip that describes each cell."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup


def confusion_chart(counts: Sequence[tuple[int, int, int]], names: Sequence[str], *, title: str) -> Markup:
    """Return a confusion matrix: true classes in rows, predicted classes in columns, cells darker for larger shares.

    Args:
        counts: (true class, predicted class, number of videos) of each nonempty cell.
        names: class names.
        title: title for screen readers.
    """
    count = len(names)
    totals: dict[int, int] = {}
    for true, _, videos in counts:
        totals[true] = totals.get(true, 0) + videos
    labelled = count <= 30
    cell = min(34.0, 420 / count)
    margin = 34 + 8 * max(min(16, len(name)) for name in names) if labelled else 24
    size = margin + cell * count + 8
    parts = [
        Markup('<rect x="{0}" y="{0}" width="{1:.1f}" height="{1:.1f}" class="cell-ground"/>').format(
            margin, cell * count
        )
    ]
    for true, predicted, videos in counts:
        share = videos / totals[true]
        x, y = margin + predicted * cell, margin + true * cell
        kind = "hit" if true == predicted else "miss"
        parts.append(
            Markup(
                '<rect x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}" class="{}" fill-opacity="{:.2f}">'
                "<title>{} taken for {}: {} of {}</title></rect>"
            ).format(x, y, cell, cell, kind, 0.12 + 0.88 * share, names[true], names[predicted], videos, totals[true])
        )
        if cell >= 20:
            parts.append(
                Markup('<text x="{:.1f}" y="{:.1f}" class="{}" text-anchor="middle">{}</text>').format(
                    x + cell / 2, y + cell / 2 + 4, "on-dark" if share > 0.45 else "on-light", videos
                )
            )
    if labelled:
        for number, name in enumerate(names):
            at = margin + cell * (number + 0.5)
            short = name if len(name) <= 16 else name[:15] + "…"
            parts.append(
                Markup(
                    '<text x="{:.1f}" y="{:.1f}" text-anchor="end">{}</text>'
                    '<text transform="translate({:.1f} {:.1f}) rotate(-60)">{}</text>'
                ).format(margin - 6, at + 4, short, at + 3, margin - 6, short)
            )
    words = Markup('<text x="4" y="14" class="axis">true ↓  predicted →</text>')
    body = Markup("").join([words, *parts])
    return Markup('<svg viewBox="0 0 {0:.0f} {0:.0f}" role="img" class="confusion"><title>{1}</title>{2}</svg>').format(
        size, title, body
    )
