"""One cell of the table: check all candidates, then measure them in turns."""

import gc
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from benchmarks.measure import extra_memory, milliseconds, summary, within_budget
from benchmarks.ops.check import Checker, MismatchError, answer, describe, upstream
from benchmarks.ops.entry import OURS, Call, OpBenchmark, Pass, Peer
from benchmarks.ops.peers import FoundPeer
from benchmarks.ops.table import Cell
from benchmarks.ops.workload import Data, Topology, Workload

# What a candidate's temporaries may take, so that the whole stays below 8 GB.
LARGEST_TEMPORARIES = 4.5e9
FLOAT_BYTES = 4


@dataclass(frozen=True)
class Settings:
    """How long to measure.

    Attributes:
        seconds: Time per candidate and pass.
        at_least: Repeats that every candidate gets, however long they take.
    """

    seconds: float = 0.2
    at_least: int = 5


@dataclass
class Candidate:
    """A call that has passed the check."""

    name: str
    call: Call
    run: Callable[[], Any]


class Topologies:
    """The graph that is being measured on; the last one is let go before the next is drawn."""

    def __init__(self) -> None:
        self._kept: Topology | None = None

    def get(self, workload: Workload) -> Topology:
        """The graph of a workload."""
        kept = self._kept
        if kept is None or (kept.kind, kept.num_edges) != (workload.graph, workload.edges):
            del kept
            self._kept = None
            gc.collect()
            self._kept = Topology(workload.graph, workload.edges)
            return self._kept
        return kept


class Bench:
    """One operator on one workload, whose inputs and float64 reference all passes share."""

    def __init__(self, op: OpBenchmark, workload: Workload, topology: Topology) -> None:
        """Makes the inputs and gnnkit's call."""
        self.op, self.workload = op, workload
        self.data = Data(topology, workload.width)
        self._calls: dict[str, Call] = {OURS: op.ours(self.data)}
        call = self._calls[OURS]
        leaves = {name: call.restore.get(name, lambda leaf: leaf)(leaf) for name, leaf in call.leaves.items()}
        self.checker = Checker(op, self.data, leaves)

    def ours(self, chosen: Pass) -> Candidate:
        """Our call, checked.

        Raises:
            MismatchError: If its result or a gradient is wrong.
        """
        return self._checked(OURS, chosen)

    def peer(self, peer: Peer, chosen: Pass) -> Candidate:
        """A peer's call, checked."""
        if peer.name not in self._calls:
            self._calls[peer.name] = peer.build(self.data)
        return self._checked(peer.name, chosen)

    def reason_to_leave_out(self, peer: Peer, chosen: Pass, found: Mapping[str, FoundPeer]) -> str | None:
        """Why a peer is not run here; None: it is."""
        if found[peer.package].version is None:
            return f"{peer.package} is absent"
        if peer.passes is not None and chosen.name not in peer.passes:
            return "it has no such pass"
        if self.workload in self.op.ours_only:
            return "only gnnkit is measured here"
        needed = peer.temporaries * self.workload.edges * self.workload.width * FLOAT_BYTES
        if needed > LARGEST_TEMPORARIES:
            return f"it would need about {needed / 1e9:.0f} GB"
        return None

    def _checked(self, name: str, chosen: Pass) -> Candidate:
        call = self._calls[name]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            given = answer(call, chosen)
            self.checker.check(name, given)
            up = upstream(given.out) if given.gradients else None
            del given
            return Candidate(name, call, call.prepare(chosen, up))


def measure_cell(
    cell: Cell, topology: Topology, found: Mapping[str, FoundPeer], settings: Settings
) -> Iterator[dict[str, Any]]:
    """One record per pass of a cell."""
    missing = cell.op.missing()
    if missing is not None:
        for chosen in cell.passes:
            yield {**heading(cell, chosen, topology), "failure": f"this gnnkit has no {missing}"}
        return
    bench = Bench(cell.op, cell.workload, topology)
    for chosen in cell.passes:
        record = heading(cell, chosen, topology)
        try:
            candidates, left_out = _candidates(bench, chosen, found)
        except MismatchError as error:
            yield {**record, "failure": str(error)}
            continue
        except Exception as error:  # a cell that cannot run must not end the run of all others
            yield {**record, "failure": f"gnnkit raised {describe(error)}"}
            continue
        record["times"] = _measure(candidates, settings)
        if left_out:
            record["left_out"] = left_out
        yield record


def heading(cell: Cell, chosen: Pass, topology: Topology) -> dict[str, Any]:
    """What a record is about."""
    return {
        "op": cell.op.name,
        "pass": chosen.name,
        "graph": cell.workload.graph,
        "nodes": topology.num_nodes,
        "edges": cell.workload.edges,
        "width": cell.workload.width,
    }


def _candidates(
    bench: Bench, chosen: Pass, found: Mapping[str, FoundPeer]
) -> tuple[Sequence[Candidate], dict[str, str]]:
    candidates, left_out = [bench.ours(chosen)], {}
    for peer in bench.op.peers:
        reason = bench.reason_to_leave_out(peer, chosen, found)
        if reason is not None:
            left_out[peer.name] = reason
            continue
        try:
            candidates.append(bench.peer(peer, chosen))
        except MismatchError:
            raise
        except Exception as error:  # a peer that cannot do it is no failure of ours; the record says what it said
            left_out[peer.name] = f"it raised {describe(error)}"
    return candidates, left_out


def _measure(candidates: Sequence[Candidate], settings: Settings) -> dict[str, Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        gc.collect()
        memory = {each.name: extra_memory(each.run) for each in candidates}
        runs = {each.name: lambda run=each.run: milliseconds(run) for each in candidates}
        times = within_budget(runs, seconds=settings.seconds, at_least=settings.at_least)
    return {
        name: {**summary(values), "repeats": len(values), "extra_mb": memory[name]} for name, values in times.items()
    }


def set_threads(number: int | None) -> None:
    """Sets torch's threads, where a number is given."""
    if number is not None:
        torch.set_num_threads(number)
