"""How to call every public operator rightly: one entry each, from which the fuzz tests make wrong calls too.

An entry draws the arguments of a valid call, by name. ``test_fuzz`` demands one for each name in ``ops.__all__``.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st
from torch import Tensor

from gnnkit import Graph, ops

Draw = Callable[[st.SearchStrategy], Any]
Arguments = dict[str, Any]
ENTRIES: dict[str, tuple[Callable[..., Any], Callable[[Draw], Arguments]]] = {}

small = st.integers(0, 5)
reductions = st.sampled_from(["sum", "mean", "min", "max"])
float_dtypes = st.sampled_from([torch.float32, torch.float64, torch.bfloat16])
index_dtypes = st.sampled_from([torch.int64, torch.int32])
# Around the widths at which kernels change from one tiling to another, and few of them.
widths = st.sampled_from([0, 1, 1, 2, 3, 4, 5, 8, 9, 17, 33])


def entry(name: str, call: Callable[..., Any] | None = None):
    """Puts a drawing function into the table, by the operator's name in ``gnnkit.ops``."""

    def register(arguments: Callable[[Draw], Arguments]) -> Callable[[Draw], Arguments]:
        ENTRIES[name] = (call or getattr(ops, name), arguments)
        return arguments

    return register


def rows(draw: Draw, *shape: int, dtype: torch.dtype) -> Tensor:
    """Multiples of a quarter: sums of them are exact in every dtype, in any order."""
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    return torch.from_numpy(rng.integers(-6, 7, shape) / 4).to(dtype).requires_grad_(draw(st.booleans()))


def optional(draw: Draw, make: Callable[[], Any]) -> Any:
    return make() if draw(st.booleans()) else None


def index(draw: Draw, count: int, size: int, dtype: torch.dtype) -> Tensor:
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    return torch.from_numpy(rng.integers(0, max(size, 1), count if size else 0)).to(dtype)


def boundaries(draw: Draw, num_rows: int) -> Tensor:
    inner = sorted(draw(st.lists(st.integers(0, num_rows), max_size=5)))
    return torch.tensor([0, *inner, num_rows], dtype=draw(index_dtypes))


def edges(draw: Draw, num_src: int, num_dst: int, dtype: torch.dtype) -> Tensor:
    """Sometimes sorted, sometimes more than one block of edges."""
    count = draw(st.sampled_from([0, 1, 3, 8, 40])) if num_src and num_dst else 0
    made = torch.stack([index(draw, count, num_src, dtype), index(draw, count, num_dst, dtype)])
    return made[:, made[1].argsort()] if draw(st.booleans()) else made


def graph(
    draw: Draw, num_src: int | None = None, num_dst: int | None = None, dtype: torch.dtype | None = None
) -> Graph:
    num_src = draw(small) if num_src is None else num_src
    num_dst = draw(small) if num_dst is None else num_dst
    made = edges(draw, num_src, num_dst, draw(index_dtypes) if dtype is None else dtype)
    return Graph.from_edge_index(made, num_src=num_src, num_dst=num_dst)


@entry("segment_reduce")
def _segment_reduce(draw: Draw) -> Arguments:
    count = draw(small)
    src = rows(draw, count, draw(widths), dtype=draw(float_dtypes))
    return {"src": src, "ptr": boundaries(draw, count), "reduce": draw(reductions)}


@entry("segment_softmax")
def _segment_softmax(draw: Draw) -> Arguments:
    count = draw(small)
    return {"src": rows(draw, count, draw(widths), dtype=draw(float_dtypes)), "ptr": boundaries(draw, count)}


@entry("scatter")
def _scatter(draw: Draw) -> Arguments:
    size, dtype = draw(small), draw(index_dtypes)
    where = index(draw, draw(small), size, dtype)
    src = rows(draw, len(where), draw(widths), dtype=draw(float_dtypes))
    return {"src": src, "index": where, "dim_size": size, "reduce": draw(reductions)}


@entry("sort_index")
def _sort_index(draw: Draw) -> Arguments:
    size = draw(small)
    return {"index": index(draw, draw(small), size, draw(index_dtypes)), "dim_size": size}


@entry("gather")
def _gather(draw: Draw) -> Arguments:
    chosen, end = graph(draw), draw(st.sampled_from(["src", "dst"]))
    count = chosen.num_src if end == "src" else chosen.num_dst
    return {"graph": chosen, "x": rows(draw, count, draw(widths), dtype=draw(float_dtypes)), "end": end}


@entry("aggregate")
def _aggregate(draw: Draw) -> Arguments:
    chosen = graph(draw)
    messages = rows(draw, chosen.num_edges, draw(widths), dtype=draw(float_dtypes))
    return {"graph": chosen, "messages": messages, "reduce": draw(reductions)}


@entry("spmm")
def _spmm(draw: Draw) -> Arguments:
    chosen, dtype, width = graph(draw), draw(float_dtypes), draw(widths)
    heads = draw(st.sampled_from([None, 1, 2, 5]))
    x = rows(draw, chosen.num_src, *([] if heads is None else [heads]), width, dtype=dtype)
    per_head = [] if heads is None or draw(st.booleans()) else [heads]
    weight = optional(draw, lambda: rows(draw, chosen.num_edges, *per_head, dtype=dtype))
    return {"graph": chosen, "x": x, "weight": weight, "reduce": draw(reductions)}


@entry("sddmm")
def _sddmm(draw: Draw) -> Arguments:
    chosen, dtype = graph(draw), draw(float_dtypes)
    shape = (*draw(st.sampled_from([(), (1,), (3,)])), draw(widths))
    a_dst, b_src = (rows(draw, count, *shape, dtype=dtype) for count in (chosen.num_dst, chosen.num_src))
    return {"graph": chosen, "a_dst": a_dst, "b_src": b_src}


@entry("edge_softmax")
def _edge_softmax(draw: Draw) -> Arguments:
    chosen, heads = graph(draw), draw(st.sampled_from([(), (1,), (3,), (70,)]))
    return {"graph": chosen, "score": rows(draw, chosen.num_edges, *heads, dtype=draw(float_dtypes))}


def _edge_bias(draw: Draw, chosen: Graph, heads: int, dtype: torch.dtype) -> Tensor | None:
    per_head = draw(st.sampled_from([(), (heads,)]))
    return optional(draw, lambda: rows(draw, chosen.num_edges, *per_head, dtype=dtype))


head_counts = st.sampled_from([0, 1, 2, 3, 8, 9])


@entry("attend")
def _attend(draw: Draw) -> Arguments:
    chosen, dtype, heads, width = graph(draw), draw(float_dtypes), draw(head_counts), draw(widths)
    return {
        "graph": chosen,
        "q": rows(draw, chosen.num_dst, heads, width, dtype=dtype),
        "k": rows(draw, chosen.num_src, heads, width, dtype=dtype),
        "v": rows(draw, chosen.num_src, heads, draw(widths), dtype=dtype),
        "bias": _edge_bias(draw, chosen, heads, dtype),
        "scale": draw(st.sampled_from([None, 0.5, 0.0, -1.0])),
    }


@entry("gat")
def _gat(draw: Draw) -> Arguments:
    chosen, dtype, heads = graph(draw), draw(float_dtypes), draw(head_counts)
    return {
        "graph": chosen,
        "a_dst": rows(draw, chosen.num_dst, heads, dtype=dtype),
        "a_src": rows(draw, chosen.num_src, heads, dtype=dtype),
        "v": rows(draw, chosen.num_src, heads, draw(widths), dtype=dtype),
        "negative_slope": draw(st.sampled_from([0.2, 0.0, 1.0])),
        "bias": _edge_bias(draw, chosen, heads, dtype),
    }


@entry("gatv2")
def _gatv2(draw: Draw) -> Arguments:
    chosen, dtype, row = graph(draw), draw(float_dtypes), (draw(head_counts), draw(widths))
    return {
        "graph": chosen,
        "x_dst": rows(draw, chosen.num_dst, *row, dtype=dtype),
        "x_src": rows(draw, chosen.num_src, *row, dtype=dtype),
        "att": rows(draw, *row, dtype=dtype),
        "negative_slope": draw(st.sampled_from([0.2, 0.0, 1.0])),
        "bias": _edge_bias(draw, chosen, row[0], dtype),
    }


@entry("gated_aggregate")
def _gated_aggregate(draw: Draw) -> Arguments:
    chosen, dtype, width = graph(draw), draw(float_dtypes), draw(widths)
    return {
        "graph": chosen,
        "a_dst": rows(draw, chosen.num_dst, width, dtype=dtype),
        "b_src": rows(draw, chosen.num_src, width, dtype=dtype),
        "v_src": rows(draw, chosen.num_src, width, dtype=dtype),
        "edge": optional(draw, lambda: rows(draw, chosen.num_edges, width, dtype=dtype)),
        "normalize": draw(st.booleans()),
        "eps": draw(st.sampled_from([1e-6, 0.5])),
    }


@entry("dropout_epilogue")
def _dropout_epilogue(draw: Draw) -> Arguments:
    dtype, shape = draw(float_dtypes), (*draw(st.lists(small, max_size=2)), draw(widths))
    return {
        "x": rows(draw, *shape, dtype=dtype),
        "bias": optional(draw, lambda: rows(draw, shape[-1], dtype=dtype)),
        "residual": optional(draw, lambda: rows(draw, *shape, dtype=dtype)),
        "p": draw(st.sampled_from([0.0, 0.3, 1.0, 1e-12, 1.0 - 1e-12])),
        "seed": draw(st.sampled_from([0, -1, 2**70, torch.tensor([5])])),
        "act": draw(st.sampled_from(["none", "relu", "gelu", "silu"])),
    }


@entry("segment_matmul")
def _segment_matmul(draw: Draw) -> Arguments:
    count, dtype, inner = draw(small), draw(float_dtypes), draw(widths)
    ptr = boundaries(draw, count)
    weight = rows(draw, len(ptr) - 1, inner, draw(widths), dtype=dtype)
    return {"x": rows(draw, count, inner, dtype=dtype), "ptr": ptr, "weight": weight}


@entry("selective_scan")
def _selective_scan(draw: Draw) -> Arguments:
    count, dtype, channels, states = draw(small), draw(float_dtypes), draw(widths), draw(st.sampled_from([1, 3, 16]))
    offsets = boundaries(draw, count)
    sequences = len(offsets) - 1
    return {
        "u": rows(draw, count, channels, dtype=dtype),
        "delta": rows(draw, count, channels, dtype=dtype),
        "A": -rows(draw, channels, states, dtype=dtype).abs(),
        "B": rows(draw, count, states, dtype=dtype),
        "C": rows(draw, count, states, dtype=dtype),
        "D": optional(draw, lambda: rows(draw, channels, dtype=dtype)),
        "z": optional(draw, lambda: rows(draw, count, channels, dtype=dtype)),
        "offsets": offsets,
        "delta_bias": optional(draw, lambda: rows(draw, channels, dtype=dtype)),
        "delta_softplus": draw(st.booleans()),
        "reverse": draw(st.booleans()),
        "initial_state": optional(draw, lambda: rows(draw, sequences, channels, states, dtype=dtype)),
        "return_final_state": draw(st.booleans()),
    }


@entry("causal_conv1d")
def _causal_conv1d(draw: Draw) -> Arguments:
    count, dtype, channels = draw(small), draw(float_dtypes), draw(widths)
    return {
        "x": rows(draw, count, channels, dtype=dtype),
        "weight": rows(draw, channels, draw(st.sampled_from([1, 2, 4, 9])), dtype=dtype),
        "bias": optional(draw, lambda: rows(draw, channels, dtype=dtype)),
        "offsets": boundaries(draw, count),
        "activation": draw(st.sampled_from(["none", "silu"])),
        "reverse": draw(st.booleans()),
    }


def _factors(draw: Draw) -> Arguments:
    """Two graphs with a product, and weights for one, both or none of them."""
    num_dst, inner, num_src = draw(small), draw(small), draw(small)
    dtype, index_dtype = draw(float_dtypes), draw(index_dtypes)
    a, b = graph(draw, inner, num_dst, index_dtype), graph(draw, num_src, inner, index_dtype)
    weights = {
        "a_weight": optional(draw, lambda: rows(draw, a.num_edges, dtype=dtype)),
        "b_weight": optional(draw, lambda: rows(draw, b.num_edges, dtype=dtype)),
    }
    return {"a": a, "b": b, **weights}


@entry("spgemm")
def _spgemm(draw: Draw) -> Arguments:
    return _factors(draw) | {"sort": draw(st.booleans())}


@entry("masked_spgemm")
def _masked_spgemm(draw: Draw) -> Arguments:
    factors = _factors(draw)
    a, b = factors["a"], factors["b"]
    return {"mask": graph(draw, b.num_src, a.num_dst, a.col.dtype), **factors}


@entry("k_hop")
def _k_hop(draw: Draw) -> Arguments:
    size = draw(small)
    return {"graph": graph(draw, size, size, draw(index_dtypes)), "k": draw(st.integers(1, 4))}


@entry("induced_subgraphs")
def _induced_subgraphs(draw: Draw) -> Arguments:
    size = draw(small)
    sets = draw(st.lists(st.lists(st.integers(0, size - 1), unique=True), max_size=4)) if size else [[]]
    members = torch.tensor([node for nodes in sets for node in nodes], dtype=draw(index_dtypes))
    ptr = np.cumsum([0, *(len(nodes) for nodes in sets)])
    return {
        "graph": graph(draw, size, size, draw(index_dtypes)),
        "members": members,
        "token_ptr": torch.from_numpy(ptr).to(draw(index_dtypes)),
    }


@entry("Graph", Graph)
def _graph(draw: Draw) -> Arguments:
    chosen = graph(draw)
    return {"rowptr": chosen.rowptr, "col": chosen.col, "edge_id": chosen.edge_id, "num_src": chosen.num_src}


@entry("Graph.from_edge_index", Graph.from_edge_index)
def _from_edge_index(draw: Draw) -> Arguments:
    num_src, num_dst = draw(small), draw(small)
    made = edges(draw, num_src, num_dst, draw(index_dtypes))
    if draw(st.booleans()):
        return {"edge_index": made, "num_nodes": max(num_src, num_dst)}
    return {"edge_index": made, "num_src": num_src, "num_dst": num_dst}
