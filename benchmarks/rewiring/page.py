"""The sections of the page of benchmarks that are about rewiring."""

from collections.abc import Iterator
from typing import Any

Content = dict[str, Any]


def speed_section(content: Content, measured_on: str) -> Iterator[str]:
    """Times against peers and goals."""
    yield from ("## Curvature, resistance and rewiring", "", measured_on)
    yield (
        "Milliseconds per graph; graphs that are called like a data set are random ones of its size. A peer is either "
        "measured in this run or, where it says so, a figure that was measured earlier on 2 cores, on other random "
        "graphs of the same kind. Wrong results are not timed: transport is compared with a linear program on a sample "
        "of edges, augmented Forman curvature with sparse products, resistances with a dense inverse or, for the "
        "sketch, with SciPy's conjugate gradients on a sample of edges."
    )
    yield f"Memory is {content['memory']}."
    yield ""
    yield "| what | graph | nodes, edges | gnnkit, ms | added, removed | peer | peer, ms | ratio | goal | error | MB |"
    yield "|---" * 11 + "|"
    for row in content["rows"]:
        yield from _speed_rows(row)


def _speed_rows(row: Content) -> Iterator[str]:
    where = f"{row['task']} | {row['graph']} | {row['nodes']:,.0f}, {row['edges']:,.0f}"
    if "failure" in row:
        yield f"| {where} | **failed**: {cell(row['failure'])} | | | | | | | |"
        return
    times = row["times"]
    spread = f" ({digits(times['quartile_low_ms'])} to {digits(times['quartile_high_ms'])})" if row["runs"] > 1 else ""
    changed = f"{row['added']:g}, {row['removed']:g}" if "added" in row else ""
    error = f"{row['error']:.1e}" if "error" in row else ""
    memory = "" if row["extra_mb"] is None else f"{row['extra_mb']:,.1f}"
    first, *others = [_peer(peer) for peer in row["peers"]] or [" | | "]
    mine = f"{digits(times['median_ms'])}{spread}"
    yield f"| {where} | {mine} | {changed} | {first} | {_goal(row)} | {error} | {memory} |"
    for other in others:
        yield f"| {where} | | | {other} | | | |"


def _peer(peer: Content) -> str:
    name = f"{peer['name']}, {peer['origin']}"
    if "failure" in peer:
        return f"{name} | {cell(peer['failure'])} | "
    return f"{name} | {digits(peer['median_ms'])} | {digits(peer['ratio'])}"


def digits(value: float) -> str:
    """Three significant digits, all those before the point."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _goal(row: Content) -> str:
    if "goal" not in row:
        return ""
    goal = row["goal"]
    text = f"at most {goal['at_most_ms']:,.0f} ms" if "at_most_ms" in goal else f"ratio {goal['ratio']:g}"
    reached = {True: "met", False: "**missed**", None: "nothing to compare with"}
    return f"{text}: {reached[row['met']]}"


def real_section(content: Content, measured_on: str) -> Iterator[str]:
    """What each method does to real graphs."""
    yield from ("## Rewiring of real graphs", "", measured_on)
    yield (
        "Time is the median per graph, each graph rewired once; added and removed are undirected edges per graph, on "
        f"average; gap and total resistance are means over graphs, medians in brackets. Here {content['disconnected']}."
    )
    for dataset in content["datasets"]:
        yield from ("", f"### {dataset['name']}", "")
        if "failure" in dataset:
            yield f"**failed**: {cell(dataset['failure'])}"
            continue
        yield (
            f"{dataset['graphs']:,} graphs with {dataset['nodes']:g} nodes and {dataset['edges']:g} undirected edges "
            f"on average{'' if dataset['official'] else '; not the official files'}."
        )
        yield ""
        yield "| method | ms | added | removed | gap before | gap after | resistance before | resistance after |"
        yield "|---" * 8 + "|"
        for row in dataset["rows"]:
            yield _real_row(row)


def _real_row(row: Content) -> str:
    settings = ", ".join(f"{key}={value}" for key, value in row["settings"].items())
    name = f"{row['method']}({settings})"
    notes = []
    if row["tried"] and row["tried"] > row["graphs"] + row.get("failed", 0):
        notes.append(f"{row['graphs']:,} graphs")
    if "failure" in row:
        where = f" on {row['failed']:,} of {row['tried']:,} graphs" if row["failed"] else ""
        notes.append(f"**failed**{where}: {cell(row['failure'])}")
    if notes:
        name += f" ({'; '.join(notes)})"
    if "times" not in row:
        return f"| {name} | | | | | | | |"
    figures = [digits(row["times"]["median_ms"]), f"{row['added']:g}", f"{row['removed']:g}"]
    for quantity, form in (("gap", ".4f"), ("resistance", ",.0f")):
        for key in ("before", "after"):
            value = row[key][quantity]
            figures.append("none" if value is None else f"{value['mean']:{form}} ({value['median']:{form}})")
    return f"| {name} | {' | '.join(figures)} |"


def cell(text: str) -> str:
    """Text that cannot break a table."""
    return " ".join(text.split()).replace("|", "\\|")
