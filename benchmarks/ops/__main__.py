"""Command line of the table: ``python -m benchmarks.ops --help``."""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks.measure import write_text
from benchmarks.ops import base, peers, record
from benchmarks.ops.cell import Settings, Topologies, measure_cell, set_threads
from benchmarks.ops.table import OPS, Cell, Selection
from benchmarks.ops.workload import GRAPH_KINDS


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="python -m benchmarks.ops", description=__doc__)
    made.add_argument("--op", action="append", default=[], metavar="PATTERN", help='name or pattern, such as "spmm*"')
    made.add_argument("--graph", action="append", default=[], choices=GRAPH_KINDS, help="kind of graph")
    made.add_argument("--edges", action="append", default=[], type=int, help="number of edges")
    made.add_argument("--width", action="append", default=[], type=int, help="number of features")
    made.add_argument("--quick", action="store_true", help="graphs of up to 100,000 edges only: less than a minute")
    made.add_argument("--threads", type=int, help="threads of torch and gnnkit (default: as torch chooses)")
    made.add_argument("--seconds", type=float, help="time per candidate, after five repeats")
    made.add_argument("--base", metavar="GIT_REF", help="compare this gnnkit with that of a commit, without peers")
    made.add_argument("--json", type=Path, metavar="PATH", help="write the results here")
    made.add_argument("--plot", type=Path, metavar="PATH", help="draw time against edges here (PNG or SVG)")
    made.add_argument("--list", action="store_true", help="print the cells and leave")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    given = parser().parse_args(arguments)
    selection = Selection(given.op, given.graph, given.edges, given.width, given.quick)
    try:
        cells = selection.cells()
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    if given.list:
        for cell in cells:
            print(f"{cell.op.name:24s} {cell.workload}   {', '.join(each.name for each in cell.passes)}")
        return 0
    set_threads(given.threads)
    settings = Settings(seconds=given.seconds or (0.05 if given.quick else Settings.seconds))
    if given.base:
        return base.compare(given.base, cells, settings, given.json)
    return run(cells, settings, given.json, given.plot)


def run(cells: Sequence[Cell], settings: Settings, json_path: Path | None, plot_path: Path | None) -> int:
    """Measures cells against peers; 1 where one failed."""
    start = time.perf_counter()
    found = peers.find_all()
    for name, peer in found.items():
        print(f"{name:16s} {peer.version or f'absent: {peer.absent}'}")
    topologies, records = Topologies(), []
    for cell in cells:
        for each in measure_cell(cell, topologies.get(cell.workload), found, settings):
            records.append(each)
            print(record.line(each), flush=True)
    measured = f"{settings.seconds} s per candidate and pass, {settings.at_least} repeats at least"
    content = record.whole(records, found, measured, {op.name: op.title for op in OPS})
    if json_path is not None:
        write_text(json_path, record.dump(content))
    if plot_path is not None:
        from benchmarks.ops.plot import draw, lines_of

        if lines_of(content):
            draw(content, plot_path)
        else:
            print("no plot: nothing was measured at two numbers of edges or more")
    failures = [each for each in records if "failure" in each]
    for each in failures:
        print(f"FAILED {each['op']}, {each['pass']}, {each['graph']}, {each['edges']}: {each['failure']}")
    minutes = (time.perf_counter() - start) / 60
    print(f"{len(records)} cells, {len(failures)} failed, {minutes:.1f} minutes, {torch.get_num_threads()} threads")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
