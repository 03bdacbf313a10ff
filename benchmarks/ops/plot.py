"""Time against edges, one panel per operator and pass."""

from collections import defaultdict
from pathlib import Path
from typing import Any

from benchmarks.ops.entry import OURS

COLUMNS = 5
Line = dict[int, float]


def lines_of(content: dict[str, Any]) -> dict[tuple[str, str, int], dict[str, Line]]:
    """Medians by edges, for every candidate of every panel: power-law graphs at the width that reaches furthest."""
    panels: dict[tuple[str, str, int], dict[str, Line]] = defaultdict(lambda: defaultdict(dict))
    for cell in content["cells"]:
        if cell["graph"] != "power-law" or "times" not in cell:
            continue
        for name, times in cell["times"].items():
            panels[cell["op"], cell["pass"], cell["width"]][name][cell["edges"]] = times["median_ms"]
    return {
        panel: {name: dict(sorted(line.items())) for name, line in lines.items()}
        for panel, lines in panels.items()
        if len(lines[OURS]) > 1
    }


def draw(content: dict[str, Any], path: Path) -> None:
    """Writes the plot as PNG or SVG."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    panels = lines_of(content)
    rows = -(-len(panels) // COLUMNS)
    figure, grid = pyplot.subplots(
        rows, COLUMNS, figsize=(3 * COLUMNS, 2.5 * rows), layout="constrained", squeeze=False, sharex=True
    )
    flat = list(grid.flat)
    for axes, ((op, chosen, width), lines) in zip(flat, panels.items(), strict=False):
        for name, line in lines.items():
            style = {"color": "black", "linewidth": 2, "zorder": 3} if name == OURS else {"linewidth": 1}
            axes.loglog(list(line), list(line.values()), marker="o", markersize=3, label=name, **style)
        axes.set_title(f"{op}\n{chosen}, width {width}", fontsize=8)
        axes.legend(fontsize=6, frameon=False)
        axes.tick_params(labelsize=7)
        axes.grid(True, lw=0.3, alpha=0.5)
    for axes in flat[len(panels) :]:
        axes.set_axis_off()
    figure.supxlabel("edges")
    figure.supylabel("median time, ms")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=80)
    pyplot.close(figure)
