"""Layers, forward and backward to inputs and weights, against PyTorch Geometric's with the same weights."""

import importlib
import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
import torch_geometric.nn as pyg
from torch import Tensor
from torch.nn import functional
from torch_geometric import EdgeIndex
from torch_geometric import utils as pyg_utils

from benchmarks.ops import reference
from benchmarks.ops.attention import gatv2_score
from benchmarks.ops.entry import Build, Call, Leaves, OpBenchmark, Peer, forward_and_backward
from benchmarks.ops.products import csr
from benchmarks.ops.workload import Data, Workload, curve, kinds, widths
from gnnkit import nn

MakeLayer = Callable[[Any, Data], torch.nn.Module]


def seeded(make: MakeLayer, module: Any, data: Data) -> torch.nn.Module:
    """A layer with weights that depend on nothing but its shape."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return make(module, data)


def call(layer: torch.nn.Module, data: Data, topology: Any) -> Call:
    """The layer on node features alone."""
    x = data.node_rows("x")
    return Call(lambda: layer(x, topology), {"x": x, **dict(layer.named_parameters())})


def ours(make: MakeLayer) -> Build:
    """Our layer with the weights of PyTorch Geometric's."""

    def build(data: Data) -> Call:
        layer = seeded(make, nn, data)
        layer.load_state_dict(seeded(make, pyg, data).state_dict(), strict=True)
        return call(layer, data, data.topology.graph)

    return build


def theirs(make: MakeLayer, adjacency: Callable[[Data], Any]) -> Build:
    """PyTorch Geometric's layer on one of the forms of a graph that it takes."""
    return lambda data: call(seeded(make, pyg, data), data, adjacency(data))


def edge_list(data: Data) -> Tensor:
    """``edge_index``."""
    return data.topology.edge_index


def matrix(data: Data) -> Tensor:
    """A CSR matrix of torch with destinations as rows."""
    return csr(data, torch.ones(data.topology.num_edges))


def edge_index_object(data: Data) -> EdgeIndex:
    """PyTorch Geometric's sorted edge list, with both of its compressed forms cached."""
    size = (data.topology.num_nodes, data.topology.num_nodes)
    make: Any = EdgeIndex  # its constructor takes whatever a tensor's takes, and more than it declares
    edges = make(data.topology.sorted_edge_index, sparse_size=size, sort_order="col")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return edges.fill_cache_()


def sparse_tensor(data: Data) -> Any:
    """A matrix of the package torch_sparse with destinations as rows, its transpose cached."""
    topology = data.topology
    made = importlib.import_module("torch_sparse").SparseTensor(
        rowptr=topology.rowptr,
        col=topology.sorted_edge_index[0],
        sparse_sizes=(topology.num_nodes, topology.num_nodes),
        is_sorted=True,
        trust_data=True,
    )
    return made.fill_cache_()


def peers(make: MakeLayer, temporaries: float, *, sparse: bool, cached: MakeLayer | None = None) -> tuple[Peer, ...]:
    """PyTorch Geometric with edges, and with the matrices that some of its layers multiply by."""
    found = [Peer("PyG, edge_index", "torch_geometric", theirs(make, edge_list), temporaries)]
    if not sparse:
        return tuple(found)
    found += [
        Peer("PyG, CSR", "torch_geometric", theirs(make, matrix)),
        Peer("PyG, SparseTensor", "torch_sparse", theirs(make, sparse_tensor)),
    ]
    if cached is None:
        found.append(Peer("PyG, EdgeIndex", "torch_geometric", theirs(make, edge_index_object)))
    else:
        found.append(Peer("PyG, CSR, cached=True", "torch_geometric", theirs(cached, matrix)))
        found.append(Peer("PyG, SparseTensor, cached=True", "torch_sparse", theirs(cached, sparse_tensor)))
    return tuple(found)


def affine(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """A linear map in float64."""
    out = x.double() @ weight.double().t()
    return out if bias is None else out + bias.double()


def gcn_expected(data: Data, leaves: Leaves, _: Tensor | None) -> Tensor:
    src, dst = reference.with_loops(data)
    scale = torch.bincount(dst, minlength=data.topology.num_nodes).double().rsqrt()
    x = affine(leaves["x"], leaves["lin.weight"])
    return reference.multiply(src, dst, x.size(0), scale[src] * scale[dst], x) + leaves["bias"].double()


def sage_expected(data: Data, leaves: Leaves, _: Tensor | None) -> Tensor:
    mean = reference.aggregate(data, None, leaves["x"].double(), "mean")
    return affine(mean, leaves["lin_l.weight"], leaves["lin_l.bias"]) + affine(leaves["x"], leaves["lin_r.weight"])


def gin_expected(data: Data, leaves: Leaves, _: Tensor | None) -> Tensor:
    x = leaves["x"].double()
    hidden = affine(x + reference.aggregate(data, None, x), leaves["nn.0.weight"], leaves["nn.0.bias"])
    return affine(hidden * hidden.sigmoid(), leaves["nn.2.weight"], leaves["nn.2.bias"])


def gat_expected(data: Data, leaves: Leaves, _: Tensor | None) -> Tensor:
    src, dst = reference.with_loops(data)
    v = affine(leaves["x"], leaves["lin.weight"]).reshape(-1, data.heads, data.width // data.heads)
    from_src, from_dst = ((v * leaves[name].double()).sum(-1) for name in ("att_src", "att_dst"))
    out = reference.attention(src, dst, reference.leaky(from_dst[dst] + from_src[src]), v)
    return out.flatten(1) + leaves["bias"].double()


def gatv2_expected(data: Data, leaves: Leaves, _: Tensor | None) -> Tensor:
    src, dst = reference.with_loops(data)
    x_src, x_dst = (
        affine(leaves["x"], leaves[f"{name}.weight"], leaves[f"{name}.bias"]).reshape(
            -1, data.heads, data.width // data.heads
        )
        for name in ("lin_l", "lin_r")
    )
    score = gatv2_score(src, dst, x_dst, x_src, leaves["att"].squeeze(0))
    return reference.attention(src, dst, score, x_src).flatten(1) + leaves["bias"].double()


def transformer_expected(data: Data, leaves: Leaves, _: Tensor | None) -> Tensor:
    src, dst = data.topology.edge_index
    q, k, v, skip = (
        affine(leaves["x"], leaves[f"lin_{name}.weight"], leaves[f"lin_{name}.bias"])
        for name in ("query", "key", "value", "skip")
    )
    q, k, v = (part.reshape(-1, data.heads, data.width // data.heads) for part in (q, k, v))
    score = reference.edge_products(src, dst, q, k) * q.size(-1) ** -0.5
    return reference.attention(src, dst, score, v).flatten(1) + skip


class SeparateGatedGCN(torch.nn.Module):
    """The gated layer of GraphGPS, which PyTorch Geometric lacks, from gathered rows and its scatter.

    With SiLU, for the reason that ``isomorphism`` gives.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.A, self.B, self.C, self.D, self.E = (torch.nn.Linear(width, width) for _ in range(5))
        self.bn_node_x, self.bn_edge_e = torch.nn.BatchNorm1d(width), torch.nn.BatchNorm1d(width)

    def forward(self, x: Tensor, edge_index: Tensor, edge_attr: Tensor) -> tuple[Tensor, Tensor]:
        """New states of nodes and edges."""
        src, dst = edge_index
        edge = self.D(x)[dst] + self.E(x)[src] + self.C(edge_attr)
        gate = edge.sigmoid()
        gated = pyg_utils.scatter(gate * self.B(x)[src], dst, 0, x.size(0))
        out = self.A(x) + gated / (pyg_utils.scatter(gate, dst, 0, x.size(0)) + 1e-6)
        return x + functional.silu(self.bn_node_x(out)), edge_attr + functional.silu(self.bn_edge_e(edge))


def gated_call(layer: torch.nn.Module, data: Data, topology: Any) -> Call:
    """The gated layer, which takes and gives rows of edges too."""
    x, edge = data.node_rows("x"), data.edge_rows("edge")
    layer.load_state_dict(seeded(lambda _, given: SeparateGatedGCN(given.width), None, data).state_dict())
    return Call(lambda: torch.cat(layer(x, topology, edge)), {"x": x, "edge": edge, **dict(layer.named_parameters())})


def gated_expected(data: Data, leaves: Leaves, _: Tensor | None) -> Tensor:
    src, dst = data.topology.edge_index
    x, edge_in = leaves["x"].double(), leaves["edge"].double()
    a, b, c, d, e = (
        affine(edge_in if name == "C" else x, leaves[f"{name}.weight"], leaves[f"{name}.bias"]) for name in "ABCDE"
    )
    edge = d[dst] + e[src] + c
    gate = edge.sigmoid()
    rows = data.topology.order
    total = reference.reduce_rows(data, gate, rows, "sum")
    out = a + reference.reduce_rows(data, gate * b[src], rows, "sum") / (total + 1e-6)

    def finish(value: Tensor, name: str) -> Tensor:
        centred = value - value.mean(0)
        scaled = centred / (centred.square().mean(0) + 1e-5).sqrt()
        shifted = scaled * leaves[f"{name}.weight"].double() + leaves[f"{name}.bias"].double()
        return shifted * shifted.sigmoid()

    return torch.cat([x + finish(out, "bn_node_x"), edge_in + finish(edge, "bn_edge_e")])


def attention_layer(name: str) -> MakeLayer:
    """Heads joined to the width of the input."""
    return lambda module, data: getattr(module, name)(data.width, data.width // data.heads, heads=data.heads)


def convolution(name: str, **settings: Any) -> MakeLayer:
    """As wide as the input."""
    return lambda module, data: getattr(module, name)(data.width, data.width, **settings)


def isomorphism(module: Any, data: Data) -> torch.nn.Module:
    """GIN with two linear maps, and between them a function without a kink.

    Among millions of values a few lie so close to a kink that rounding decides their slope, and gradients that are
    right would not agree.
    """
    width = data.width
    inner = torch.nn.Sequential(torch.nn.Linear(width, width), torch.nn.SiLU(), torch.nn.Linear(width, width))
    return module.GINConv(inner)


SMALL = (10_000, 100_000, 1_000_000)
LARGEST = curve(64)[-1:]


def layer(
    name: str,
    make: MakeLayer,
    found: tuple[Peer, ...],
    expected: Callable[..., Tensor],
    workloads: tuple[Workload, ...],
    ours_only: tuple[Workload, ...],
    vanishing: tuple[str, ...] = (),
) -> OpBenchmark:
    """One line per layer."""
    return OpBenchmark(
        name=name,
        title=f"`{name}`",
        needs=(f"nn.{name}",),
        ours=ours(make),
        peers=found,
        reference=expected,
        main=(forward_and_backward(),),
        workloads=workloads,
        ours_only=ours_only,
        vanishing=vanishing,
    )


def attention(
    name: str, temporaries: float, expected: Callable[..., Tensor], vanishing: tuple[str, ...] = ()
) -> OpBenchmark:
    """A layer with heads; at a million edges its peer takes seconds, and is measured at 1.6 million only."""
    make = attention_layer(name)
    workloads = tuple(dict.fromkeys(curve(64, SMALL) + widths(values=(64,))))
    found = peers(make, temporaries, sparse=False)
    made = layer(name, make, found, expected, workloads, curve(64, SMALL)[-1:], vanishing)
    # The numerical slope of the reference crosses kinks of the rectifier, one for every edge and feature.
    return replace(made, gradient_tolerance=5e-4) if name == "GATv2Conv" else made


def gated() -> OpBenchmark:
    """The gated layer; its states of edges fill the memory at ten million."""
    return OpBenchmark(
        name="GatedGCNConv",
        title="`GatedGCNConv`, with edge states",
        needs=("nn.GatedGCNConv",),
        ours=lambda data: gated_call(
            nn.GatedGCNConv(data.width, data.width, activation="silu"), data, data.topology.graph
        ),
        peers=(
            Peer(
                "gather, multiply, PyG scatter",
                "torch_geometric",
                lambda data: gated_call(SeparateGatedGCN(data.width), data, data.topology.edge_index),
                temporaries=12,
            ),
        ),
        reference=gated_expected,
        main=(forward_and_backward(),),
        workloads=tuple(dict.fromkeys(curve(16, SMALL) + widths(values=(16,)))),
        # torch's batch normalisation of a million rows is off by that much in float32, in both layers.
        tolerance=5e-4,
        gradient_tolerance=1e-3,
        # Batch normalisation takes the mean away: wholly for A, and but for what goes through the gates for the others.
        vanishing=("A.bias", "C.bias", "D.bias", "E.bias"),
    )


NODES = tuple(dict.fromkeys(curve(64) + widths(values=(64,)) + kinds(64)))
_gcn, _sage = convolution("GCNConv"), convolution("SAGEConv")
OPS = (
    layer(
        "GCNConv",
        _gcn,
        peers(_gcn, 3, sparse=True, cached=convolution("GCNConv", cached=True)),
        gcn_expected,
        NODES,
        LARGEST,
    ),
    layer("SAGEConv", _sage, peers(_sage, 3, sparse=True), sage_expected, NODES, LARGEST),
    layer("GINConv", isomorphism, peers(isomorphism, 3, sparse=True), gin_expected, NODES, LARGEST),
    attention("GATConv", 7, gat_expected),
    attention("GATv2Conv", 9, gatv2_expected),
    # The softmax does not see what is added to all keys.
    attention("TransformerConv", 9, transformer_expected, vanishing=("lin_key.bias",)),
    gated(),
)
