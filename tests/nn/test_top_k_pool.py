"""Pooling of the best nodes: sorted lists, PyTorch Geometric's layer, and graphs that do not see each other."""

import math
from itertools import pairwise
from typing import Any

import pytest
import torch
import torch_geometric.nn as pyg
from torch import Tensor

from gnnkit import Graph
from gnnkit.errors import ConfigError, GnnkitError, IndexRangeError, ShapeError
from gnnkit.nn import TopKPooling
from gnnkit.nn.top_k_pool import induced_subgraph
from tests.tolerances import assert_close

SIZES = [5, 0, 1, 12, 7]


def boundaries(sizes: list[int]) -> Tensor:
    return torch.tensor([0, *sizes]).cumsum(0)


def random_batch(seed: int = 0) -> tuple[Tensor, Graph, Tensor, Tensor]:
    """Graphs side by side with self-loops and multi-edges; edges in no order."""
    generator = torch.Generator().manual_seed(seed)
    ptr = boundaries(SIZES)
    edges = [
        torch.randint(begin, end, (2, 3 * (end - begin)), generator=generator)
        for begin, end in pairwise(ptr.tolist())
        if end > begin
    ]
    edge_index = torch.cat(edges, 1)
    edge_index = edge_index[:, torch.randperm(edge_index.size(1), generator=generator)]
    x = torch.randn(sum(SIZES), 4, dtype=torch.float64, generator=generator)
    edge_attr = torch.arange(edge_index.size(1), dtype=torch.float64).unsqueeze(1)
    return x, Graph.from_edge_index(edge_index, sum(SIZES)), edge_attr, ptr


@pytest.mark.parametrize("ratio", [0.0, 0.4, 0.5, 1.0])
def test_equals_sorting_graph_by_graph(ratio: float):
    x, graph, edge_attr, ptr = random_batch()
    pooling = TopKPooling(4, ratio).double()
    found = pooling(x, graph, edge_attr, ptr)
    score = ((x @ pooling.weight[0]) / pooling.weight[0].square().sum().sqrt()).tanh().detach()
    assert_close(found.score, score)
    kept = []
    for begin, size in zip(ptr.tolist(), SIZES, strict=False):
        members = sorted(range(begin, begin + size), key=lambda node: -score[node].item())
        kept.append(sorted(members[: math.ceil(ratio * size)]))
    assert [part.tolist() for part in found.position.split(found.ptr.diff().tolist())] == kept
    assert_close(found.x, x[found.position] * score[found.position].unsqueeze(1))
    number = {node: place for place, node in enumerate(found.position.tolist())}
    expected = [
        (number[u], number[v], edge)
        for edge, (u, v) in enumerate(graph.edge_index.t().tolist())
        if u in number and v in number
    ]
    edge = found.edge_attr
    assert edge is not None
    assert [(*ends, int(e)) for ends, e in zip(found.graph.edge_index.t().tolist(), edge, strict=True)] == expected
    assert found.graph.num_nodes == len(number)


def test_keeps_what_pyg_keeps():
    x, graph, edge_attr, ptr = random_batch(1)
    batch = torch.arange(len(SIZES)).repeat_interleave(torch.tensor(SIZES))
    theirs = pyg.TopKPooling(4, ratio=0.5).double()
    ours = TopKPooling(4, ratio=0.5).double()
    ours.load_state_dict({"weight": theirs.select.weight.detach()})
    expected_x, edge_index, expected_attr, _, perm, _ = theirs(x, graph.edge_index, edge_attr, batch)
    found = ours(x, graph, edge_attr, ptr)
    order = perm.argsort()
    assert torch.equal(found.position, perm[order])
    assert_close(found.x, expected_x[order])
    place = torch.empty_like(order)
    place[order] = torch.arange(order.numel())
    assert torch.equal(found.graph.edge_index, place[edge_index])
    assert torch.equal(found.edge_attr, expected_attr)


def test_graphs_do_not_see_each_other():
    x, graph, _, ptr = random_batch(2)
    pooling = TopKPooling(4, 0.6).double()
    together = pooling(x, graph, ptr=ptr)
    for number, (begin, size) in enumerate(zip(ptr.tolist(), SIZES, strict=False)):
        inside = (graph.edge_index[0] >= begin) & (graph.edge_index[0] < begin + size)
        one = Graph.from_edge_index(graph.edge_index[:, inside] - begin, size)
        alone = pooling(x[begin : begin + size], one)
        here = slice(int(together.ptr[number]), int(together.ptr[number + 1]))
        assert torch.equal(alone.position + begin, together.position[here])
        assert_close(alone.x, together.x[here])


def test_gradients():
    x, graph, _, ptr = random_batch(3)
    pooling = TopKPooling(4, 0.5).double()

    def run(x: Tensor, weight: Tensor) -> Tensor:
        return torch.func.functional_call(pooling, {"weight": weight}, (x, graph, None, ptr)).x

    assert torch.autograd.gradcheck(run, (x.requires_grad_(), pooling.weight.detach().requires_grad_()))


def test_order_of_nodes_does_not_matter():
    x, graph, _, _ = random_batch(4)
    pooling, order = TopKPooling(4, 0.5).double(), torch.randperm(sum(SIZES))
    turned = torch.empty_like(x)
    turned[order] = x
    found = pooling(x, graph)
    other = pooling(turned, Graph.from_edge_index(order[graph.edge_index], sum(SIZES)))
    assert torch.equal(order[found.position].sort().values, other.position)
    assert found.graph.num_edges == other.graph.num_edges


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
def test_induced_subgraph_numbers_nodes_as_they_are_listed(dtype: torch.dtype):
    graph = Graph.from_edge_index(torch.tensor([[0, 1, 2, 2, 3], [1, 2, 0, 2, 0]], dtype=dtype), 4)
    subgraph, edge = induced_subgraph(graph, torch.tensor([2, 0]))
    assert subgraph.edge_index.tolist() == [[0, 0], [1, 0]]
    assert edge.tolist() == [2, 3]
    assert subgraph.col.dtype == dtype


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"x": torch.zeros(25, 3)}, ShapeError, r"\[25, 4\]"),
        ({"x": torch.zeros(24, 4)}, ShapeError, "one row per node"),
        ({"edge_attr": torch.zeros(2)}, ShapeError, "one row per edge"),
        ({"ptr": torch.tensor([0, 24])}, IndexRangeError, "end at the number of rows"),
    ],
)
def test_bad_input(arguments: dict[str, Any], error: type[GnnkitError], message: str):
    x, graph, _, _ = random_batch()
    with pytest.raises(error, match=message):
        TopKPooling(4)(**({"x": x.float(), "graph": graph} | arguments))


@pytest.mark.parametrize(("width", "ratio"), [(0, 0.5), (4, 1.5), (4, -0.5), (4, "half")])
def test_bad_settings(width: int, ratio: Any):
    with pytest.raises(ConfigError, match=r"in_channels|ratio"):
        TopKPooling(width, ratio)
