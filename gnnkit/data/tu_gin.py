"""Graph classification sets in the text format of GIN.

Xu et al., "How Powerful are Graph Neural Networks?", ICLR 2019, https://arxiv.org/abs/1810.00826.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gnnkit.data.archives import Archive, words
from gnnkit.data.columns import DatasetInfo
from gnnkit.data.folds import fold_split
from gnnkit.data.packed import GraphDataset
from gnnkit.data.tu import Integers, coalesced, one_hot
from gnnkit.errors import DataError


@dataclass(frozen=True)
class Lines:
    """A text of integers.

    Attributes:
        where: How messages call the file.
        words: All integers.
        start: At which of them each line begins, and their number, ``[lines + 1]``.
    """

    where: str
    words: Integers
    start: Integers

    def fail(self, line: int, problem: str) -> DataError:
        """The error that names a line (from 0)."""
        return DataError(f"{self.where}, line {line + 1}: {problem}")


def read_tu_gin(files: Mapping[str, Path], info: DatasetInfo, options: Mapping[str, Any]) -> GraphDataset:
    """Reads a set in GIN's text format.

    The first line has the number of graphs. Each graph begins with a line ``nodes label``, and has one line for each
    node: ``tag degree neighbour neighbour ...``, with node numbers from 0 in each graph. ``x`` is one-hot over the
    range of the tags, float32; a set in which all tags are the same has no ``x``. A line gives the edges from its
    node; what stands there twice is kept once, and self-loops are left out. Classes are numbered from 0 in ascending
    order of their labels.

    Args:
        files: ``archive`` (zip), and ``folds`` where the option ``splits`` is ``"listed"``.
        info: What the card says.
        options: ``fold``, ``splits`` and ``seed`` as in :func:`gnnkit.data.folds.fold_split`.

    Raises:
        DataError: If the archive is damaged, a line has another length than it states, a neighbour is not of the same
            graph, or there are lines too few or too many. The message names file and line.

    Determinism: a function of the files and options.
    Complexity: ``O(L log L + E)`` for ``L`` lines and neighbours in ascending order.
    """
    with Archive(files["archive"]) as archive:
        end = f"{files['archive'].stem}.txt"
        lines = Lines(archive.name(end), *words(archive.read(end), archive.name(end)))
    header = _headers(lines)
    sizes, labels = lines.words[lines.start[header]], lines.words[lines.start[header] + 1]
    node_ptr = np.concatenate([[0], np.cumsum(sizes)])
    is_node = np.ones(lines.start.size - 1, dtype=bool)
    is_node[0] = False
    is_node[header] = False
    line_of = np.flatnonzero(is_node)
    tags, source, target = _nodes(lines, line_of)
    graph_of = np.repeat(np.arange(sizes.size), sizes)
    outside = (target < 0) | (target >= sizes[graph_of][source])
    if outside.any():
        edge = int(np.argmax(outside))
        graph = int(graph_of[source[edge]])
        problem = f"neighbour {target[edge]}, but graph {graph} has {sizes[graph]} nodes"
        raise lines.fail(int(line_of[source[edge]]), problem)
    pairs = np.stack([source, target + node_ptr[graph_of][source]], axis=1)
    del source, target
    pairs = coalesced(pairs, tags.size).pairs
    graph_of_edge = graph_of[pairs[:, 0]]
    told_apart = tags.size > 0 and bool((tags != tags[0]).any())
    return GraphDataset(
        info,
        node_ptr=torch.from_numpy(node_ptr),
        edge_ptr=torch.from_numpy(np.searchsorted(graph_of_edge, np.arange(sizes.size + 1))),
        edge_index=torch.from_numpy(np.ascontiguousarray((pairs - node_ptr[graph_of_edge][:, None]).T)),
        node={"x": torch.from_numpy(one_hot(tags, lines.where))} if told_apart else {},
        edge={},
        graph={"y": (y := torch.from_numpy(np.unique(labels, return_inverse=True)[1].astype(np.int64)))},
        split=fold_split(y, files.get("folds"), options),
    )


def _headers(lines: Lines) -> Integers:
    """The lines that begin a graph: line 1, and from there as many further as each says."""
    count = lines.start.size - 1
    if lines.start[1] != 1:
        raise lines.fail(0, f"expected the number of graphs, got {int(lines.start[1])} numbers")
    # Where the graph would end if this line began one; a jump out of the text, or one that stands still, ends there.
    jump = np.arange(count) + 1 + lines.words[lines.start[:-1]]
    jump = np.append(np.where((jump > np.arange(count)) & (jump <= count), jump, count), count)
    reached = np.zeros(count + 1, dtype=bool)
    reached[1] = True
    # Pointer doubling: after k rounds all headers within 2^k graphs of the first are known.
    known, step = 1, jump.copy()
    while True:
        reached[step[reached]] = True
        found = int(np.count_nonzero(reached))
        if found == known:
            break
        known, step = found, step[step]
    header = np.flatnonzero(reached[:count])
    stated = int(lines.words[0])
    if header.size != stated or stated < 1:
        raise lines.fail(0, f"{stated} graphs are stated, but {header.size} follow; the text is truncated or damaged")
    width = np.diff(lines.start)[header]
    sizes = lines.words[lines.start[header]]
    if (width != 2).any():
        bad = int(header[np.argmax(width != 2)])
        raise lines.fail(bad, "expected the number of nodes and the label of a graph")
    if (sizes < 1).any():
        raise lines.fail(int(header[np.argmax(sizes < 1)]), "a graph must have nodes")
    if int(header[-1]) + 1 + int(sizes[-1]) != count:
        raise lines.fail(int(header[-1]), f"the last graph has {sizes[-1]} nodes, but {count - 1 - header[-1]} follow")
    return header


def _nodes(lines: Lines, line_of: Integers) -> tuple[Integers, Integers, Integers]:
    """Tag of each node, and the two ends of each edge: number of the node over all graphs, number in its graph."""
    first, width = lines.start[line_of], np.diff(lines.start)[line_of]
    if (width < 2).any():
        raise lines.fail(int(line_of[np.argmax(width < 2)]), "expected the tag and the degree of a node")
    degree = lines.words[first + 1]
    if (degree != width - 2).any():
        node = int(np.argmax(degree != width - 2))
        raise lines.fail(int(line_of[node]), f"degree {degree[node]}, but {int(width[node]) - 2} neighbours")
    # What is left of the text without its first line, headers, tags and degrees are the neighbours, in order.
    is_neighbour = np.ones(lines.words.size, dtype=bool)
    is_neighbour[0] = False
    others = np.setdiff1d(np.arange(1, lines.start.size - 1), line_of, assume_unique=True)
    for begin in (first, lines.start[others]):
        is_neighbour[begin] = False
        is_neighbour[begin + 1] = False
    return lines.words[first], np.repeat(np.arange(line_of.size), degree), lines.words[is_neighbour]
