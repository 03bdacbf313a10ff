"""How often subgraphs have each node and each edge, and what losses and messages are weighted with because of it."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gnnkit import ops
from gnnkit._files import bytes_of, hash_of, write_atomic
from gnnkit.errors import DataError
from gnnkit.graph import Graph

_FORMAT = 1
# Members of the subgraphs that are held at a time; an edge list is some ten times as large.
_AT_ONCE = 2**16

Draw = Callable[[int, int], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Counts:
    """In how many of the subgraphs of pre-sampling nodes and edges were.

    Attributes:
        num_subgraphs: How many subgraphs there were, :math:`S`.
        node: :math:`C_v`, int64 ``[N]``.
        edge: :math:`C_e`, int64 ``[E]``.
    """

    num_subgraphs: int
    node: Tensor
    edge: Tensor

    def node_norm(self, wanted: Tensor) -> Tensor:
        r"""Weights of losses, :math:`S / (C_v |T|)` for the nodes :math:`T` that are wanted, 0 for others, float32."""
        weight = self.num_subgraphs / (self.node.clamp(min=1).double() * int(wanted.sum()))
        return torch.where(wanted, weight, 0.0).float()

    def edge_norm(self, target: Tensor) -> Tensor:
        r"""Weights of messages, :math:`\alpha = C_v / C_e` for the target :math:`v` of each edge, float32."""
        return (self.node.clamp(min=1)[target].double() / self.edge.clamp(min=1)).float()


def counted(graph: Graph, draw: Draw, coverage: float, most_members: int) -> Counts:
    """Counts over the first subgraphs that have more than ``coverage`` nodes for each node of the graph.

    Args:
        graph: What subgraphs are drawn from.
        draw: Members of ``count`` subgraphs from number ``first`` on, and where those of each begin.
        coverage: When it is enough; positive.
        most_members: No subgraph has more. So few are drawn at a time that memory does not grow with coverage, and so
            few that none is drawn in vain.
    """
    node = torch.zeros(graph.num_nodes, dtype=torch.int64)
    # By position: edges that one node takes in lie side by side there, wherever the caller has them.
    by_position = Graph(graph.rowptr, graph.col, None, graph.num_src)
    edge = torch.zeros(graph.num_edges, dtype=torch.int64)
    at_once = max(_AT_ONCE // most_members, 1)
    drawn, left = 0, coverage * graph.num_nodes
    while left >= 0:
        # All but the last of them cannot be enough, whatever their sizes.
        count = min(int(left // most_members) + 1, at_once)
        members, ptr = draw(drawn, count)
        _, found = ops.induced_subgraphs(by_position, members, ptr)
        node.scatter_add_(0, members, torch.ones_like(members))
        edge.scatter_add_(0, found, torch.ones_like(found))
        drawn += count
        left -= members.numel()
    if graph.edge_id is not None:
        edge = torch.empty_like(edge).index_copy_(0, graph.edge_id.long(), edge)
    return Counts(drawn, node, edge)


def fingerprint(graph: Graph, parts: tuple[Tensor | None, ...]) -> str:
    """SHA-256 of a graph and of the nodes and edges of the given data that it consists of."""
    digest = hashlib.sha256()
    for tensor in (graph.rowptr, graph.col, graph.edge_id, *parts):
        digest.update(b"none" if tensor is None else f"{tuple(tensor.shape)}".encode())
        if tensor is not None:
            # Part by part: the tensors of a mapped graph need not fit in memory.
            for part in tensor.split(_AT_ONCE):
                digest.update(bytes_of(part.long()))
    return digest.hexdigest()


def write(path: Path, counts: Counts, graph: str, settings: Mapping[str, Any]) -> None:
    """Writes counts as safetensors, with JSON in the header that says what they are of; whole or not at all."""
    from safetensors.torch import save

    tensors = {"node": counts.node, "edge": counts.edge}
    about = {
        "format": _FORMAT,
        "graph": graph,
        "sampler": dict(settings),
        "num_subgraphs": counts.num_subgraphs,
        "content": hash_of(tensors),
    }
    write_atomic(path, save(tensors, metadata={"gnnkit": json.dumps(about, sort_keys=True)}))


def read(path: Path, graph: str, settings: Mapping[str, Any], shapes: tuple[int, int]) -> Counts:
    """Reads what :func:`write` wrote.

    Raises:
        DataError: If the file is missing, damaged, or of another graph or sampler.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            about = json.loads((file.metadata() or {})["gnnkit"])
            tensors = {key: file.get_tensor(key) for key in ("node", "edge")}
        intact = about["format"] == _FORMAT and about["content"] == hash_of(tensors)
    except FileNotFoundError:
        raise DataError(f"there is no file {path}; write it with save(), or leave load() out to draw anew") from None
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path} holds no norms of a sampler, or is damaged ({error}); write it anew") from error
    if not intact:
        raise DataError(f"{path} is damaged, or of another version of gnnkit; write it anew with save()")
    if about["sampler"] != dict(settings):
        names = sorted(key for key in {*about["sampler"], *settings} if about["sampler"].get(key) != settings.get(key))
        differing = ", ".join(f"{key}: {about['sampler'].get(key)!r}, not {settings.get(key)!r}" for key in names)
        raise DataError(f"{path} holds the norms of another sampler ({differing}); write it anew with save()")
    if about["graph"] != graph or (tensors["node"].numel(), tensors["edge"].numel()) != shapes:
        raise DataError(f"{path} holds the norms of a sampler of another graph; write it anew with save()")
    return Counts(about["num_subgraphs"], tensors["node"], tensors["edge"])
