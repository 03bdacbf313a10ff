"""Random numbers of the encodings: by counter, under a key for every graph.

The key of a graph depends on the seed and on the graph itself: on its number of nodes and on which of them are joined.
A graph therefore has the same numbers alone and in any ``Batch``, and different graphs have independent ones.
"""

from typing import NamedTuple

import numpy as np
import scipy.sparse
import torch
from torch import Tensor

from gnnkit.encodings._adjacency import num_nodes
from gnnkit.ops._checks import check_seed
from gnnkit.ops._philox import mixed, philox_words, unit_interval

# The last word of the counters, by use: no two draw the same numbers.
NORMAL = 0
FIRST_WALKS = 1
SECOND_WALKS = 2
SIGNS = 3

_AT_ONCE = 2**16
_SIGNS_PER_BLOCK = 128


class NodeKeys(NamedTuple):
    """What the random numbers of each node depend on."""

    ptr: np.ndarray
    """Boundaries of the graphs, int64 ``[G + 1]``."""
    key: np.ndarray
    """Key of the node's graph, uint64 ``[N]``."""
    node: np.ndarray
    """Number of the node in its graph, int64 ``[N]``."""


def drawn_seed(seed: int | None) -> int:
    """``seed``, or one from torch's global generator where it is None."""
    return int(torch.randint(2**63 - 1, ())) if seed is None else seed


def check_optional_seed(seed: object) -> int | None:
    """``seed`` itself; raises ConfigError where it is neither an integer nor None."""
    return None if seed is None else check_seed(seed)


def node_keys(matrix: scipy.sparse.csr_array, graph_of_node: Tensor, seed: int) -> NodeKeys:
    """Keys for a matrix ``[N, N]`` whose entries join nodes of one graph."""
    graph = graph_of_node.numpy()
    size = np.bincount(graph)
    ptr = np.concatenate([[0], np.cumsum(size)]).astype(np.int64)
    node = np.arange(num_nodes(matrix)) - ptr[graph]
    row = np.repeat(np.arange(num_nodes(matrix)), np.diff(matrix.indptr))
    ends = node[row].astype(np.uint64) << np.uint64(32) | node[matrix.indices].astype(np.uint64)
    # A sum, so that it is no matter in which order the edges come.
    before = np.concatenate([np.zeros(1, np.uint64), np.cumsum(mixed(ends), dtype=np.uint64)])
    bounds = matrix.indptr[ptr]
    content = before[bounds[1:]] - before[bounds[:-1]]
    key = mixed(mixed(content + mixed(size.astype(np.uint64))) + np.uint64(seed % 2**64))
    return NodeKeys(ptr, key[graph], node)


def standard_normal(keys: NodeKeys, width: int) -> np.ndarray:
    """Independent standard normal numbers, float64 ``[N, width]``, rounded to float32.

    By the method of Box and Muller. Rounded, they do not depend on how far a vectorised logarithm is off.
    """
    pairs = (width + 1) // 2
    out = np.empty((len(keys.node), 2 * pairs))
    column = np.arange(pairs)
    rows = max(1, _AT_ONCE // max(pairs, 1))
    for begin in range(0, len(out), rows):
        part = slice(begin, begin + rows)
        words = philox_words(keys.key[part, None], column, 0, keys.node[part, None], NORMAL)
        radius = np.sqrt(-2 * np.log1p(-unit_interval(words[0], words[1])))
        angle = 2 * np.pi * unit_interval(words[2], words[3])
        out[part, 0::2] = (radius * np.cos(angle)).astype(np.float32)
        out[part, 1::2] = (radius * np.sin(angle)).astype(np.float32)
    return out[:, :width]


def random_signs(keys: NodeKeys, width: int) -> np.ndarray:
    """Independent signs, int8 ``[N, width]``."""
    blocks = -(-width // _SIGNS_PER_BLOCK)
    words = philox_words(keys.key[:, None], np.arange(blocks), 0, keys.node[:, None], SIGNS)
    flat = np.stack(words, axis=2).astype("<u4").reshape(len(keys.node), 4 * blocks)
    bits = np.unpackbits(flat.view(np.uint8), axis=1, count=width, bitorder="little")
    return bits.astype(np.int8) * 2 - 1
