"""Awkward structures that every operator must take: empty, isolated, doubled, hub, bipartite, odd sizes."""

import os
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from gnnkit import Graph

# Where the battery runs; test_device.py runs it on a GPU.
DEVICE = torch.device(os.environ.get("GNNKIT_TEST_DEVICE", "cpu"))


@dataclass(frozen=True)
class Sample:
    """A graph, and the same structure read as segments (of its edges by destination)."""

    name: str
    graph: Graph
    width: int

    @property
    def ptr(self) -> Tensor:
        return self.graph.rowptr

    @property
    def src(self) -> np.ndarray:
        return self.graph.edge_index[0].cpu().numpy()

    @property
    def dst(self) -> np.ndarray:
        return self.graph.edge_index[1].cpu().numpy()

    @property
    def segment(self) -> np.ndarray:
        return np.repeat(np.arange(self.graph.num_dst), np.diff(self.ptr.cpu().numpy()))


def _random(num_src: int, num_dst: int, num_edges: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.stack([rng.integers(0, num_src, num_edges), rng.integers(0, num_dst, num_edges)])


# name: (edges, number of sources, number of destinations, feature width)
STRUCTURES: dict[str, tuple[Callable[[], np.ndarray], int, int, int]] = {
    "nothing": (lambda: np.zeros((2, 0)), 0, 0, 3),
    "no-destinations": (lambda: np.zeros((2, 0)), 3, 0, 2),
    "no-edges": (lambda: np.zeros((2, 0)), 4, 4, 5),
    "no-width": (lambda: _random(4, 4, 6, 1), 4, 4, 0),
    "one-loop": (lambda: np.zeros((2, 1)), 1, 1, 1),
    "doubled-edges": (lambda: np.array([[0, 0, 1, 2, 2, 2], [1, 1, 1, 0, 0, 0]]), 3, 3, 2),
    "isolated-tail": (lambda: _random(3, 3, 9, 2), 9, 9, 7),
    "bipartite": (lambda: _random(5, 11, 40, 3), 5, 11, 16),
    "hub": (lambda: np.stack([np.arange(257) % 33, np.zeros(257)]), 33, 33, 33),
    "sorted": (lambda: np.stack([np.arange(31), np.sort(np.arange(31) % 8)]), 31, 8, 31),
    "odd": (lambda: _random(33, 31, 257, 4), 33, 31, 65),
    "wide": (lambda: _random(20, 20, 63, 5), 20, 20, 257),
    "many": (lambda: _random(500, 500, 4000, 6), 500, 500, 32),
}


def sample(name: str, index_dtype: torch.dtype = torch.int64) -> Sample:
    edges, num_src, num_dst, width = STRUCTURES[name]
    edge_index = torch.from_numpy(edges().astype(np.int64)).to(DEVICE, index_dtype)
    return Sample(name, Graph.from_edge_index(edge_index, num_src=num_src, num_dst=num_dst), width)
