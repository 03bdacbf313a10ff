"""The table: every operator and layer, and which of its cells a run asks for."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from benchmarks.ops import attention, elementwise, layers, products, segments
from benchmarks.ops.entry import OpBenchmark, Pass
from benchmarks.ops.workload import Workload

OPS: tuple[OpBenchmark, ...] = (
    *segments.OPS,
    *products.OPS,
    *attention.OPS,
    *elementwise.OPS,
    *layers.OPS,
)
QUICK_EDGES = 100_000


@dataclass(frozen=True)
class Cell:
    """One operator on one workload, in the passes that are measured there."""

    op: OpBenchmark
    workload: Workload
    passes: tuple[Pass, ...]


@dataclass(frozen=True)
class Selection:
    """Which cells to run; an empty choice takes all.

    Attributes:
        ops: Names or patterns, such as ``"spmm*"``.
        graphs: Kinds of graph.
        edges: Numbers of edges.
        widths: Numbers of features.
        quick: Only graphs of up to 100,000 edges, which takes less than a minute.
    """

    ops: Sequence[str] = ()
    graphs: Sequence[str] = ()
    edges: Sequence[int] = ()
    widths: Sequence[int] = ()
    quick: bool = False

    def cells(self, table: Sequence[OpBenchmark] = OPS) -> list[Cell]:
        """The cells, those of one graph together, so that it is drawn once.

        Raises:
            ValueError: If there is none.
        """
        found = list(self._matching(table))
        if not found:
            known = sorted({workload for op in table for workload in op.workloads})
            raise ValueError(
                "no cell of the table fits this choice. There are the operators "
                f"{', '.join(op.name for op in table)}; graphs {', '.join(sorted({each.graph for each in known}))}; "
                f"edges {', '.join(map(str, sorted({each.edges for each in known})))}; "
                f"widths {', '.join(map(str, sorted({each.width for each in known})))}"
            )
        place = {op.name: number for number, op in enumerate(table)}
        return sorted(found, key=lambda cell: (cell.workload.graph, cell.workload.edges, place[cell.op.name]))

    def _matching(self, table: Sequence[OpBenchmark]) -> Iterator[Cell]:
        for op in table:
            if self.ops and not any(fnmatchcase(op.name, pattern) for pattern in self.ops):
                continue
            for workload in op.workloads:
                if self._takes(workload):
                    yield Cell(op, workload, op.passes(workload))

    def _takes(self, workload: Workload) -> bool:
        return (
            (not self.graphs or workload.graph in self.graphs)
            and (not self.edges or workload.edges in self.edges)
            and (not self.widths or workload.width in self.widths)
            and (not self.quick or workload.edges <= QUICK_EDGES)
        )
