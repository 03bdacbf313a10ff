"""What can be told apart without training: by the features alone, and through a network with random weights.

Every graph gets a signature that does not depend on the order of its nodes as long as its features do not. How far
signatures of relabelled copies of one graph lie apart tells what a difference means: two graphs count as told apart
where their signatures differ by more than :data:`FACTOR` times that, and by more than :data:`TOLERANCE` of the largest
entry. Further copies, which had no part in this, check it: none of them may be told apart from its own graph.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.expressivity.copies import matrix_of, packed, relabelled
from benchmarks.expressivity.methods import Blocks, Method, describe
from benchmarks.expressivity.networks import Inputs, build
from gnnkit.data import GraphDataset

COPIES = 4
CHECKS = 2
FACTOR = 10.0
TOLERANCE = 1e-5
DIRECTIONS = 4
WEIGHTS = 3
_BATCH = 64
_BLOCK = 2**24


@dataclass
class Signatures:
    """Signatures of the copies of some graphs of one size.

    Attributes:
        value: ``[G, COPIES + CHECKS, S]``; each graph itself comes first.
        noise: How far a copy among the first ``COPIES`` lies from its graph at most, ``[G]``.
        scale: Largest entry in magnitude of all.
    """

    value: Tensor
    noise: Tensor = field(init=False)
    scale: float = field(init=False)

    def __post_init__(self) -> None:
        """Measures noise and scale."""
        self.noise = (self.value[:, 1:COPIES] - self.value[:, :1]).abs().amax(dim=(1, 2))
        self.scale = float(self.value.abs().max())

    def excess(self, first: slice, second: slice) -> Tensor:
        """How far graphs lie apart, in units of what two copies of one graph may; ``[first, second]``."""
        distance = torch.cdist(self.value[first, 0], self.value[second, 0], p=float("inf"))
        return distance / self._bound(torch.maximum(self.noise[first, None], self.noise[None, second]))

    def excess_of_copies(self) -> Tensor:
        """The same for each graph and its further copies, ``[G]``."""
        distance = (self.value[:, COPIES:] - self.value[:, :1]).abs().amax(dim=(1, 2))
        return distance / self._bound(self.noise)

    def _bound(self, noise: Tensor) -> Tensor:
        smallest = max(TOLERANCE * self.scale, torch.finfo(torch.float64).tiny)
        return torch.clamp(FACTOR * noise, min=smallest)


def row_signature(rows: Tensor, ptr: Tensor, directions: Tensor) -> Tensor:
    """What tells multisets of rows apart: for some directions, the sorted products of the rows with each of them.

    Two multisets whose rows are pairwise equal up to an error have signatures that are equal up to that error, whatever
    the order; two that differ have different ones for almost all directions.

    Args:
        rows: ``[N, F]``.
        ptr: First row of each of ``G`` multisets of one size ``n``, and ``N``.
        directions: ``[F, D]``.

    Returns:
        ``[G, n * D]``.
    """
    sizes = ptr.diff()
    if not bool((sizes == sizes[0]).all()):
        raise ValueError("multisets of different sizes need no signature to be told apart")
    products = (rows @ directions).reshape(sizes.numel(), -1, directions.size(1))
    return products.sort(dim=1).values.flatten(1)


def signatures(
    method: Method, transform: Any, dataset: GraphDataset, numbers: list[int], seed: int
) -> dict[str, Signatures]:
    """Signatures of graphs of one size and one number of edges, by what they are made of.

    ``node ...`` and ``edge ...`` are single attributes, ``nodes`` and ``edges`` all in one, ``network`` the outputs of
    networks with random weights, each in units of its own largest output.
    """
    generator = np.random.default_rng([seed, 1])
    found: dict[str, list[Tensor]] = {}
    each = COPIES + CHECKS
    step = max(1, _BATCH // each)
    networks: list[torch.nn.Module] = []
    directions: dict[str, Tensor] = {}
    for begin in range(0, len(numbers), step):
        stacks = [relabelled(matrix_of(dataset, number), each, generator) for number in numbers[begin : begin + step]]
        copies = packed(stacks)
        blocks = describe(method, transform, copies.batch(range(len(copies))))
        if not networks:
            networks = [build(method.network, blocks, seed + number, torch.float64) for number in range(WEIGHTS)]
        for key, rows, ptr in _parts(blocks):
            if key not in directions:
                drawn = np.random.default_rng([seed, 2, rows.size(1)]).standard_normal((rows.size(1), DIRECTIONS))
                directions[key] = torch.from_numpy(drawn)
            found.setdefault(key, []).append(row_signature(rows, ptr, directions[key]))
        with torch.no_grad():
            outputs = [network(Inputs(blocks, torch.float64)) for network in networks]
        found.setdefault("network", []).append(torch.stack(outputs, dim=1))
    stacked = {key: torch.cat(values) for key, values in found.items()}
    outputs = stacked["network"]
    largest = outputs.abs().amax(dim=(0, 2), keepdim=True)
    stacked["network"] = (outputs / torch.where(largest > 0, largest, 1.0)).flatten(1)
    return {key: Signatures(value.reshape(len(numbers), each, -1)) for key, value in stacked.items()}


def _parts(blocks: Blocks) -> list[tuple[str, Tensor, Tensor]]:
    parts = [(f"node {key}", rows, blocks.ptr) for key, rows in blocks.node.items()]
    parts += [(f"edge {key}", rows, blocks.edge_ptr) for key, rows in blocks.edge.items()]
    if len(blocks.node) > 1:
        parts.append(("nodes", blocks.x, blocks.ptr))
    if len(blocks.edge) > 1:
        parts.append(("edges", torch.cat(list(blocks.edge.values()), dim=1), blocks.edge_ptr))
    return parts


@dataclass
class Verdict:
    """How far graphs of one size lie apart, in units of what two copies of one graph may: above 1 they are told apart.

    Attributes:
        excess: ``[G, G]``.
        copies: Of each graph from copies of itself, ``[G]``; a sound method has none above 1.
    """

    excess: Tensor
    copies: Tensor

    @property
    def apart(self) -> Tensor:
        """Which graphs are told apart, bool ``[G, G]``."""
        return self.excess > 1


def tell_apart(
    method: Method, transform: Any, dataset: GraphDataset, numbers: list[int], seed: int = 0
) -> dict[str, Verdict]:
    """Compares all pairs of graphs of one size and one number of edges, by ``features`` and through a ``network``."""
    with torch.no_grad():
        found = signatures(method, transform, dataset, numbers, seed)
    count = len(numbers)
    verdicts = {key: Verdict(torch.zeros(count, count), torch.zeros(count)) for key in ("features", "network")}
    for key, signature in found.items():
        verdict = verdicts["network" if key == "network" else "features"]
        verdict.copies = torch.maximum(verdict.copies, signature.excess_of_copies().float())
        step = max(1, _BLOCK // (count * signature.value.size(2)))
        for begin in range(0, count, step):
            rows = slice(begin, begin + step)
            verdict.excess[rows] = torch.maximum(verdict.excess[rows], signature.excess(rows, slice(None)).float())
    return verdicts


def summary(verdict: Verdict, classes: Tensor) -> dict[str, Any]:
    """Counts of pairs of graphs, and how clear they are.

    Args:
        verdict: The comparison.
        classes: Class of each graph, int64 ``[G]``; only graphs of different classes should be told apart.
    """
    differs = torch.triu(classes[:, None] != classes[None, :], 1)
    same = torch.triu(classes[:, None] == classes[None, :], 1)
    apart, alike = verdict.excess[differs & verdict.apart], verdict.excess[differs & ~verdict.apart]
    kinds = int(classes.max()) + 1
    result: dict[str, Any] = {
        "pairs": int(differs.sum()),
        "apart": apart.numel(),
        "mistaken_copies": int((verdict.copies > 1).sum()),
        "largest_alike": float(f"{float(alike.max()):.3g}") if alike.numel() else None,
        "smallest_apart": float(f"{float(apart.min()):.3g}") if apart.numel() else None,
    }
    if kinds < classes.numel():
        # Two classes are told apart if all of their graphs are.
        missed = torch.zeros(kinds, kinds, dtype=torch.bool)
        first, second = (differs & ~verdict.apart).nonzero().unbind(1)
        missed[classes[first], classes[second]] = True
        missed |= missed.mT.clone()
        result["classes"] = {
            "pairs": kinds * (kinds - 1) // 2,
            "apart": int(torch.triu(~missed, 1).sum()),
            "mistaken": int((same & verdict.apart).sum()),
            "same": int(same.sum()),
        }
    return result
