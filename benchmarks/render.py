"""Renders ``benchmarks/README.md`` from the committed results: ``python -m benchmarks.render``."""

import json
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from benchmarks.accuracy_page import (
    edge_learning_section,
    hypergraph_nodes_section,
    nodes_section,
    reconstruction_section,
    state_tracking_section,
)
from benchmarks.expressivity.page import brec_section, untrained_section
from benchmarks.long_range_page import long_range_results, long_range_section
from benchmarks.measure import RESULTS, write_text
from benchmarks.ops.entry import OURS
from benchmarks.ops.record import SIZES
from benchmarks.rewiring.page import real_section, speed_section

FOLDER = Path(__file__).parent
MARK = "<!-- results -->"
Content = dict[str, Any]


def render(template: str, results: dict[str, Content]) -> str:
    """The page.

    Args:
        template: What is written by hand; the results take the place of its mark.
        results: Contents of the result files by name.
    """
    sections = []
    for name, content in results.items():
        sections.append("\n".join(lines_of(name, content)))
    return template.replace(MARK, "\n\n".join(sections))


def lines_of(name: str, content: Content) -> Iterator[str]:
    """The section of one result file."""
    kind = content.get("kind")
    if kind == "ops":
        return ops_section(name, content)
    if kind == "rewiring":
        return speed_section(content, measured_on(content["environment"]))
    if kind == "rewiring-real":
        return real_section(content, measured_on(content["environment"]))
    if kind == "expressivity-untrained":
        return untrained_section(content, measured_on(content["environment"]))
    if kind == "expressivity-brec":
        return brec_section(content, measured_on(content["environment"]))
    if kind == "state-tracking":
        return state_tracking_section(content, measured_on(content["environment"]))
    if kind == "long-range":
        return long_range_section(content)
    if kind == "hypergraph-nodes":
        return hypergraph_nodes_section(content, measured_on(content["environment"]))
    if kind == "nodes":
        return nodes_section(content["records"])
    if kind == "edge-learning":
        classes, edges = content["classification"], content["reconstruction"]
        return chain(
            edge_learning_section(classes, measured_on(classes["environment"])),
            [""],
            reconstruction_section(edges, measured_on(edges["environment"])),
        )
    return section(content)


def committed_results() -> dict[str, Content]:
    """All result files that the page shows, by name: speeds, then what models learn."""
    found = read_results(RESULTS / "speed") | read_results(RESULTS) | long_range_results(RESULTS)
    found |= read_results(RESULTS / "hypergraph")
    records = list(read_results(RESULTS / "nodes").values())
    return found | ({"nodes": {"kind": "nodes", "records": records}} if records else {})


def read_results(folder: Path) -> dict[str, Content]:
    """All result files of a folder, by name; that of the table of operators comes first."""
    found = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))}
    return dict(sorted(found.items(), key=lambda item: (item[1].get("kind") != "ops", item[0])))


def measured_on(environment: Content) -> str:
    """One sentence about the machine."""
    parts = [
        f"{environment['processor']}, {environment['threads']} thread{'s' if environment['threads'] > 1 else ''} "
        f"of {environment['cores']} cores",
        f"torch {environment['torch']}",
        *(f"{name} {version}" for name, version in environment.get("packages", {}).items() if version),
    ]
    if environment.get("commit"):
        parts.append(f"commit {environment['commit']}")
    if environment.get("load_average"):
        parts.append(f"load average {environment['load_average'][0]} when the figures were written")
    return f"{environment['date']}: {', '.join(parts)}."


def section(content: Content) -> Iterator[str]:
    """A benchmark with times and ratios."""
    yield from (f"## {content['title'][:1].upper()}{content['title'][1:]}", "", measured_on(content["environment"]), "")
    yield from ("| candidate | median, ms | quartiles |", "|---|---|---|")
    for name, times in content["times"].items():
        yield f"| {name} | {times['median_ms']:,.2f} | {spread(times)} |"
    yield from ("", "| ratio | |", "|---|---|")
    for name, value in content["ratios"].items():
        yield f"| {name} | {value:.2f} |"


def ops_section(name: str, content: Content) -> Iterator[str]:
    """The table of operators."""
    absent = [f"{peer} ({found})" for peer, found in content["peers"].items() if found.startswith("absent")]
    yield from ("## Operators and layers", "", measured_on(content["environment"]))
    yield f"Peers that were not there: {', '.join(absent) or 'none'}. {content['settings']}."
    yield f"Memory is {content['memory']}."
    for op, environment in content.get("measured_later", {}).items():
        yield f"`{op}` was measured again on {measured_on(environment)}"
    yield ""
    if (RESULTS / "speed" / f"{name}.png").exists():
        yield from (f"![time against edges](results/speed/{name}.png)", "")
    yield from ("| what | graph | edges | width | gnnkit, ms | peer | peer, ms | ratio | memory, MB: gnnkit / peer |",)
    yield "|---|---|---|---|---|---|---|---|---|"
    for cell in content["cells"]:
        yield from cell_rows(cell, content["titles"][cell["op"]])
    if content["linearity"]:
        yield from ("", "Time per edge of gnnkit on power-law graphs, in nanoseconds:", "")
        yield from (
            "| what | width | 10^5 edges | 10^6 | 4 10^6 | 10^7 | the last against the one before |",
            "|---" * 7 + "|",
        )
        for line in content["linearity"]:
            steps = [f"{line['ns_per_edge'].get(str(edges), '')}" for edges in SIZES]
            growth = "" if line["growth"] is None else f"{line['growth']:.2f}"
            yield f"| {line['op']}, {line['pass']} | {line['width']} | {' | '.join(steps)} | {growth} |"


def cell_rows(cell: Content, title: str) -> Iterator[str]:
    """One row per peer; one with gnnkit alone where there is none."""
    where = f"{title}, {cell['pass']} | {cell['graph']} | {cell['edges']:,} | {cell['width']}"
    if "failure" in cell:
        yield f"| {where} | **failed**: {cell['failure']} | | | | |"
        return
    ours = cell["times"][OURS]
    mine = f"{ours['median_ms']:,.2f} ({spread(ours)})"
    peers = {name: times for name, times in cell["times"].items() if name != OURS}
    if not peers:
        yield f"| {where} | {mine} | | | | {megabytes(ours)} / |"
    for name, times in peers.items():
        ratio = times["median_ms"] / ours["median_ms"]
        theirs = f"{times['median_ms']:,.2f} ({spread(times)})"
        yield f"| {where} | {mine} | {name} | {theirs} | {ratio:.2f} | {megabytes(ours)} / {megabytes(times)} |"


def spread(times: Content) -> str:
    """The quartiles."""
    return f"{times['quartile_low_ms']:,.2f} to {times['quartile_high_ms']:,.2f}"


def megabytes(times: Content) -> str:
    """Extra memory, where it could be measured."""
    return "?" if times.get("extra_mb") is None else f"{times['extra_mb']:,.1f}"


def main() -> None:
    template = (FOLDER / "README.template.md").read_text(encoding="utf-8")
    write_text(FOLDER / "README.md", render(template, committed_results()))


if __name__ == "__main__":
    main()
