"""Plots of a report as SVG data URIs. Everything drawn is in the report's JSON; matplotlib is imported only when something is drawn."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any

from ..core.records import DECISIONS

_OURS, _BASE, _GREY = "#1d5c8f", "#b8651b", "#8a8f98"
_STYLE = {
    "svg.hashsalt": "sekisho",
    "svg.fonttype": "path",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def reliability_diagram(bins: Mapping[str, Sequence[Mapping[str, float]]], ece: Mapping[str, float]) -> str:
    """Draw confidence against accuracy before and after calibration.

    Args:
        bins: `evaluate(...)["reliability"]`: before and after.
        ece: `evaluate(...)["sureness"]`.
    """

    def draw(axes: Any) -> None:
        for ax, when, colour in zip(axes, ("before", "after"), (_GREY, _OURS), strict=True):
            ax.plot([0, 1], [0, 1], color="#c4c8ce", lw=1, zorder=1)
            for b in bins[when]:
                ax.bar(
                    b["lo"],
                    b["accuracy"],
                    b["hi"] - b["lo"],
                    align="edge",
                    color=colour,
                    alpha=0.8,
                    ec="white",
                )
                ax.plot(b["confidence"], b["accuracy"], "o", ms=3, color="#222")
            ax.set(xlim=(0, 1), ylim=(0, 1), xlabel="confidence", aspect="equal")
            ax.set_title(f"{when} calibration: ECE {ece[f'ece_{when}']:.3f}", fontsize=9)
        axes[0].set_ylabel("accuracy")

    return _svg(draw, 2, (6.2, 3.2))


def confusion_matrices(candidate: Sequence[Sequence[int]], baseline: Sequence[Sequence[int]] | None) -> str:
    """Draw confusion matrices side by side, shaded by the share of each label; rows are labels."""
    shown = [("gate", candidate)] + ([("baseline", baseline)] if baseline is not None else [])

    def draw(axes: Any) -> None:
        for ax, (title, matrix) in zip(axes, shown, strict=True):
            shares = [[c / max(sum(row), 1) for c in row] for row in matrix]
            ax.imshow(shares, cmap="Blues", vmin=0, vmax=1)
            for i, row in enumerate(matrix):
                for j, count in enumerate(row):
                    dark = shares[i][j] > 0.55
                    ax.text(j, i, str(count), ha="center", va="center", color="white" if dark else "#222")
            ax.set_xticks(range(3), DECISIONS, fontsize=7)
            ax.set_yticks(range(3), DECISIONS, fontsize=7)
            ax.set(xlabel="released", title=title)
        axes[0].set_ylabel("label")

    return _svg(draw, len(shown), (3.1 * len(shown), 3.0))


def trade_off(candidate: Mapping[str, Any], baseline: Mapping[str, Any] | None, alpha: float) -> str:
    """Draw the escalation rate against the false-allow rate over thresholds; a dot marks the threshold in force.

    Args:
        candidate, baseline: results of `measures.evaluate`.
        alpha: the false-allow rate to keep, drawn as a line.
    """

    def draw(axes: Any) -> None:
        ax = axes[0]
        for title, m, colour, lift in (("gate", candidate, _OURS, 26), ("baseline", baseline, _BASE, 10)):
            if m is None:
                continue
            ax.plot(
                [c["escalation"] for c in m["curve"]],
                [c["false_allow"] for c in m["curve"]],
                color=colour,
                label=title,
            )
            here = m["escalation"]["rate"], m["false_allow"]["rate"] or 0.0
            ax.plot(*here, "o", color=colour, ms=6)
            ax.annotate(
                f"τ = {m['tau']:.3f}",
                here,
                xytext=(8, lift),
                color=colour,
                textcoords="offset points",
                fontsize=8,
            )
        ax.axhline(alpha, color="#a32020", lw=1, ls="--", label=f"α = {alpha:g}")
        ax.set(xlabel="escalation rate", ylabel="false-allow rate", xlim=(0, 1.02))
        ax.set_ylim(bottom=-0.005)
        ax.legend(frameon=False, fontsize=8)

    return _svg(draw, 1, (4.6, 3.2))


def course(days: Sequence[Mapping[str, Any]], steps: Sequence[Mapping[str, Any]]) -> str:
    """Draw accuracy, correction rate, Brier score and ECE of reviewed answers by day, one line an adapter; a dashed line is a step.

    Args:
        days: `day`, `adapter`, `accuracy`, `correction_rate`, `brier`, `ece`, sorted by day.
        steps: `at`, a UTC time.
    """
    names = ("accuracy", "correction_rate", "brier", "ece")
    every = sorted({d["day"] for d in days} | {s["at"][:10] for s in steps})
    adapters = sorted({d["adapter"] or "" for d in days})

    def draw(axes: Any) -> None:
        for ax, name in zip(axes, names, strict=True):
            for adapter in adapters:
                own = [d for d in days if (d["adapter"] or "") == adapter]
                label = adapter.partition(":")[2][:8] or "base"
                ax.plot([every.index(d["day"]) for d in own], [d[name] for d in own], "o-", ms=3, label=label)
            for step in steps:
                ax.axvline(every.index(step["at"][:10]), color=_GREY, lw=0.8, ls="--")
            ax.set_title(name.replace("_", " "), fontsize=9)
            ax.set_xticks(range(len(every)), every, fontsize=6, rotation=60)
            ax.set_ylim(bottom=0)
        axes[0].legend(frameon=False, fontsize=7)

    return _svg(draw, len(names), (12.0, 3.0))


def _svg(draw: Any, columns: int, size: tuple[float, float]) -> str:
    """Draw on `columns` axes and return the figure as a data URI; the same figures give the same bytes."""
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasSVG(figure)
        draw(figure.subplots(1, columns, squeeze=False)[0])
        out = io.BytesIO()
        figure.savefig(out, format="svg", metadata={"Date": None})
    return "data:image/svg+xml;base64," + base64.b64encode(out.getvalue()).decode("ascii")
