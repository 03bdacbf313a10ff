"""Attention along edges, in the operators; the layers are in ``layers``."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch_geometric import utils as pyg_utils

from benchmarks.ops import reference
from benchmarks.ops.entry import FORWARD, Call, Leaves, OpBenchmark, Peer, forward_and_backward
from benchmarks.ops.workload import Data, curve, kinds, widths
from gnnkit import ops

NODES = tuple(dict.fromkeys(curve(64) + widths() + kinds(64)))
BOTH = forward_and_backward()


def by_pyg(data: Data, leaves: Leaves, score: Callable[[Tensor, Tensor], Tensor], v: Tensor) -> Call:
    """Scores of all edges, PyTorch Geometric's softmax, and a sum of weighted messages."""
    src, dst = data.topology.edge_index
    size = data.topology.num_nodes

    def run() -> Tensor:
        weight = pyg_utils.softmax(score(src, dst), dst, num_nodes=size)
        return torch.zeros_like(v).index_add_(0, dst, v[src] * weight.unsqueeze(-1))

    return Call(run, leaves)


def edge_softmax() -> OpBenchmark:
    """Here the width counts the heads."""

    def ours(data: Data) -> Call:
        graph, score = data.topology.graph, data.edge_rows("score")
        return Call(lambda: ops.edge_softmax(graph, score), {"score": score})

    def pyg_softmax(data: Data) -> Call:
        index, size, score = data.topology.dst, data.topology.num_nodes, data.edge_rows("score")
        return Call(lambda: pyg_utils.softmax(score, index, num_nodes=size), {"score": score})

    def expected(data: Data, leaves: Leaves, _: Tensor | None) -> Tensor:
        return reference.softmax(data.topology.dst, data.topology.num_nodes, leaves["score"])

    return OpBenchmark(
        name="edge_softmax",
        title="`edge_softmax`, one head per feature",
        needs=("ops.edge_softmax",),
        ours=ours,
        peers=(Peer("PyG utils.softmax", "torch_geometric", pyg_softmax, temporaries=4),),
        reference=expected,
        main=(FORWARD,),
        more=(forward_and_backward("score"),),
        workloads=tuple(dict.fromkeys(curve(1) + widths(values=(1, 16)) + kinds(1))),
        detailed=widths(values=(16,)),
    )


def attend() -> OpBenchmark:
    """Scaled dot products."""

    def inputs(data: Data) -> Leaves:
        return {name: data.head_rows(name) for name in ("q", "k", "v")}

    def ours(data: Data) -> Call:
        graph, given = data.topology.graph, inputs(data)
        return Call(lambda: ops.attend(graph, given["q"], given["k"], given["v"]), given)

    def composed(data: Data) -> Call:
        given = inputs(data)
        q, k, scale = given["q"], given["k"], given["q"].size(-1) ** -0.5
        return by_pyg(data, given, lambda src, dst: (q[dst] * k[src]).sum(-1) * scale, given["v"])

    def expected(data: Data, leaves: Leaves, _: Tensor | None) -> Tensor:
        src, dst = data.topology.edge_index
        q, k, v = leaves["q"], leaves["k"], leaves["v"]
        return reference.attention(src, dst, reference.edge_products(src, dst, q, k) * q.size(-1) ** -0.5, v)

    return _attention("attend", "`attend`", ours, composed, expected)


def gat() -> OpBenchmark:
    """Sums of a number of each end."""

    def inputs(data: Data) -> Leaves:
        return {name: data.node_rows(name, data.heads) for name in ("a_dst", "a_src")} | {"v": data.head_rows("v")}

    def ours(data: Data) -> Call:
        graph, given = data.topology.graph, inputs(data)
        return Call(lambda: ops.gat(graph, given["a_dst"], given["a_src"], given["v"]), given)

    def composed(data: Data) -> Call:
        given = inputs(data)
        a_dst, a_src = given["a_dst"], given["a_src"]
        leaky = torch.nn.LeakyReLU(0.2)
        return by_pyg(data, given, lambda src, dst: leaky(a_dst[dst] + a_src[src]), given["v"])

    def expected(data: Data, leaves: Leaves, _: Tensor | None) -> Tensor:
        src, dst = data.topology.edge_index
        score = reference.leaky(leaves["a_dst"].double()[dst] + leaves["a_src"].double()[src])
        return reference.attention(src, dst, score, leaves["v"])

    return _attention("gat", "`gat`", ours, composed, expected)


def gatv2() -> OpBenchmark:
    """A small network on both ends."""

    def inputs(data: Data) -> Leaves:
        return {
            "x_dst": data.head_rows("x_dst"),
            "x_src": data.head_rows("x_src"),
            "att": data.rows("att", data.heads, data.width // data.heads),
        }

    def ours(data: Data) -> Call:
        graph, given = data.topology.graph, inputs(data)
        return Call(lambda: ops.gatv2(graph, given["x_dst"], given["x_src"], given["att"]), given)

    def composed(data: Data) -> Call:
        given = inputs(data)
        x_dst, x_src, att = given["x_dst"], given["x_src"], given["att"]
        leaky = torch.nn.LeakyReLU(0.2)
        return by_pyg(data, given, lambda src, dst: (leaky(x_dst[dst] + x_src[src]) * att).sum(-1), x_src)

    def expected(data: Data, leaves: Leaves, _: Tensor | None) -> Tensor:
        src, dst = data.topology.edge_index
        return reference.attention(src, dst, gatv2_score(src, dst, **leaves), leaves["x_src"])

    return _attention("gatv2", "`gatv2`", ours, composed, expected)


def gatv2_score(src: Tensor, dst: Tensor, x_dst: Tensor, x_src: Tensor, att: Tensor) -> Tensor:
    """Logits of all edges in float64, block by block, ``[E, H]``."""
    parts = []
    for part in reference.blocks(len(src), x_src[0].numel()):
        hidden = reference.leaky(x_dst[dst[part]].double() + x_src[src[part]].double())
        parts.append((hidden * att.double()).sum(-1))
    return torch.cat(parts)


def _attention(name: str, title: str, ours, composed, expected) -> OpBenchmark:
    return OpBenchmark(
        name=name,
        title=f"{title}, {data_heads()}",
        needs=(f"ops.{name}",),
        ours=ours,
        peers=(Peer("gather, PyG softmax, index_add_", "torch_geometric", composed, temporaries=6),),
        reference=expected,
        main=(BOTH,),
        more=(FORWARD,),
        workloads=NODES,
    )


def data_heads() -> str:
    """How the width is shared out."""
    return "8 heads (1 for width 1)"


OPS = (edge_softmax(), attend(), gat(), gatv2())
