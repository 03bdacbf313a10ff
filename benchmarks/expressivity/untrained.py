"""What can be told apart without training: by the features alone, and through a network with random weights.

Every graph gets a signature that does not depend on the order of its nodes as long as its features do not. How far
signatures of relabelled copies of one graph lie apart tells what a difference means: two graphs count as told apart
where their signatures differ by more than :data:`FACTOR` times that, and by more than :data:`TOLERANCE` of the largest
entry. Further copies, which had no part in this, check it: a graph that is told apart from a copy of itself is told
apart from no other.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.expressivity.copies import matrix_of, packed, relabelled
from benchmarks.expressivity.methods import Description, Method, columns_by_graph, describe
from benchmarks.expressivity.networks import Inputs, build
from gnnkit.data import GraphDataset

COPIES = 8
CHECKS = 4
FACTOR = 10.0
TOLERANCE = 1e-5
DIRECTIONS = 4
WEIGHTS = 3
_BATCH = 64
_BLOCK = 2**24


class Signatures:
    """Signatures of graphs, and how far those of their copies lie from them."""

    def __init__(self) -> None:
        self._parts: list[Tensor] = []
        self._noise: list[Tensor] = []
        self._check: list[Tensor] = []
        self._scale = 0.0

    def add(self, value: Tensor) -> None:
        """Takes further graphs, ``[G, COPIES + CHECKS, S]``; each graph itself comes first.

        Raises:
            ValueError: If something is not finite, and would compare as neither equal nor different.
        """
        if not bool(value.isfinite().all()):
            raise ValueError("a feature, or an output of a network, is not finite")
        distance = (value - value[:, :1]).abs().amax(dim=2)
        self._parts.append(value[:, 0].clone())
        self._noise.append(distance[:, :COPIES].amax(dim=1))
        self._check.append(distance[:, COPIES:].amax(dim=1))
        self._scale = max(self._scale, float(value.abs().max()))

    def excess(self) -> Tensor:
        """How far graphs lie apart, in units of what two copies of one graph may; float32 ``[G, G]``."""
        width = max(part.size(1) for part in self._parts)
        value = torch.cat([torch.nn.functional.pad(part, (0, width - part.size(1))) for part in self._parts])
        noise = torch.cat(self._noise)
        step = max(1, _BLOCK // value.numel())
        rows = [
            torch.cdist(part, value, p=float("inf")) / self._bound(torch.maximum(spread[:, None], noise))
            for part, spread in zip(value.split(step), noise.split(step), strict=True)
        ]
        return torch.cat(rows).float()

    def excess_of_copies(self) -> Tensor:
        """The same for each graph and its further copies, ``[G]``."""
        return (torch.cat(self._check) / self._bound(torch.cat(self._noise))).float()

    def _bound(self, noise: Tensor) -> Tensor:
        smallest = max(TOLERANCE * self._scale, torch.finfo(torch.float64).tiny)
        return torch.clamp(FACTOR * noise, min=smallest)


def row_signature(rows: Tensor, ptr: Tensor, seed: int) -> Tensor:
    """What tells multisets of rows apart: for some directions, the sorted products of the rows with each of them.

    Two multisets whose rows are pairwise equal up to an error have signatures that are equal up to that error, whatever
    the order; two that differ have different ones for almost all directions.

    Args:
        rows: ``[N, F]``.
        ptr: First row of each of ``G`` multisets, and ``N``, ``[G + 1]``.
        seed: Draws the directions, the same for all rows of one width.

    Returns:
        ``[G, n * DIRECTIONS]`` for at most ``n`` rows; the signatures of smaller multisets end in zeros, so that their
        sizes must be compared too.
    """
    sizes = ptr.diff()
    drawn = np.random.default_rng([seed, 2, rows.size(1)]).standard_normal((rows.size(1), DIRECTIONS))
    padded = torch.full((sizes.numel(), int(sizes.max()), DIRECTIONS), torch.inf, dtype=torch.float64)
    graph = torch.repeat_interleave(sizes)
    padded[graph, torch.arange(rows.size(0)) - ptr[graph]] = rows @ torch.from_numpy(drawn)
    ordered = padded.sort(dim=1).values
    return ordered.masked_fill(ordered.isinf(), 0.0).flatten(1)


def signatures(
    method: Method, transform: Any, dataset: GraphDataset, numbers: list[int], seed: int
) -> dict[str, Signatures]:
    """Signatures of graphs, by what they are made of.

    ``node ...`` and ``edge ...`` are single attributes, ``nodes`` and ``edges`` all in one, ``pairs`` the features of
    pairs, ``network ...`` the outputs of networks with random weights.
    """
    generator = np.random.default_rng([seed, 1])
    found: dict[str, Signatures] = {}
    each = COPIES + CHECKS
    step = max(1, _BATCH // each)
    networks: list[torch.nn.Module] = []
    for begin in range(0, len(numbers), step):
        chosen = numbers[begin : begin + step]
        copies = packed([relabelled(matrix_of(dataset, number), each, generator) for number in chosen])
        description = describe(method, transform, copies.batch(range(len(copies))))
        networks = networks or [
            build(method.network, description, seed + number, torch.float64).eval() for number in range(WEIGHTS)
        ]
        values: dict[str, Tensor] = {}
        for key, rows, ptr in _parts(description):
            values[key] = row_signature(rows, ptr, seed)
            values[f"number of {key}"] = ptr.diff().double()
        inputs = Inputs(description, torch.float64)
        for number, network in enumerate(networks):
            values[f"network {number}"] = network(inputs)
        for key, value in values.items():
            found.setdefault(key, Signatures()).add(value.reshape(len(chosen), each, -1))
    return found


def _parts(description: Description) -> list[tuple[str, Tensor, Tensor]]:
    parts = [(f"node {key}", rows, description.ptr) for key, rows in description.node.items()]
    if len(description.node) > 1:
        parts.append(("nodes", description.x, description.ptr))
    edge_ptr = columns_by_graph(description.edge_index, description.ptr)
    parts += [(f"edge {key}", rows, edge_ptr) for key, rows in description.edge.items()]
    if description.edge_attr is not None and len(description.edge) > 1:
        parts.append(("edges", description.edge_attr, edge_ptr))
    if description.pair is not None and description.pair_index is not None:
        parts.append(("pairs", description.pair, columns_by_graph(description.pair_index, description.ptr)))
    return parts


@dataclass
class Verdict:
    """How far graphs lie apart, in units of what two copies of one graph may: above 1 they are told apart.

    Attributes:
        excess: ``[G, G]``.
        copies: Of each graph from copies of itself, ``[G]``; a sound method has none above 1.
    """

    excess: Tensor
    copies: Tensor

    @property
    def apart(self) -> Tensor:
        """Which graphs are told apart, bool ``[G, G]``; those that are told apart from copies of themselves are not."""
        sound = self.copies <= 1
        return (self.excess > 1) & sound[:, None] & sound


def tell_apart(
    method: Method, transform: Any, dataset: GraphDataset, numbers: list[int], seed: int = 0
) -> dict[str, Verdict]:
    """Compares all pairs of graphs, by ``features`` and through a ``network``."""
    with torch.no_grad():
        found = signatures(method, transform, dataset, numbers, seed)
    verdicts: dict[str, Verdict] = {}
    for key, signature in found.items():
        excess, copies = signature.excess(), signature.excess_of_copies()
        part = "network" if key.startswith("network") else "features"
        if part in verdicts:
            excess = torch.maximum(excess, verdicts[part].excess)
            copies = torch.maximum(copies, verdicts[part].copies)
        verdicts[part] = Verdict(excess, copies)
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
