"""The table of operators: one entry gives an operator the whole battery of ``test_battery.py``."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from gnnkit import Graph, ops
from gnnkit.ops.spmm import spmm_by_position
from tests.ops.op_case import ACTIVATIONS, Arrays, OpCase, Tensors
from tests.ops.samples import DEVICE, Sample
from tests.ops.sequence_cases import SEQUENCE_CASES


def reduce_by(groups: np.ndarray, values: np.ndarray, num_groups: int, reduce: str) -> np.ndarray:
    """Group by group with a boolean mask: slow, and nothing like a kernel."""
    out = np.zeros((num_groups, *values.shape[1:]))
    operation = {"sum": np.sum, "mean": np.mean, "min": np.min, "max": np.max}[reduce]
    for group in range(num_groups):
        chosen = values[groups == group]
        if len(chosen):
            out[group] = operation(chosen, axis=0)
    return out


def weighted_sources(sample: Sample, arrays: Arrays) -> np.ndarray:
    messages = arrays["x"][sample.src]
    if "weight" not in arrays:
        return messages
    weight = arrays["weight"]
    return messages * weight.reshape(*weight.shape, *(1,) * (messages.ndim - weight.ndim))


def softmax_by(groups: np.ndarray, values: np.ndarray, num_groups: int) -> np.ndarray:
    out = np.zeros(values.shape)
    for group in range(num_groups):
        chosen = values[groups == group]
        if len(chosen):
            power = np.exp(chosen - chosen.max(axis=0))
            out[groups == group] = power / power.sum(axis=0)
    return out


def dense_product(sample: Sample, arrays: Arrays) -> np.ndarray:
    """``A X`` with a dense adjacency matrix per head."""
    weight = arrays.get("weight", np.ones(len(sample.src)))
    heads = weight if weight.ndim == 2 else weight[:, None]
    x = arrays["x"] if weight.ndim == 2 else arrays["x"][:, None]
    out = np.zeros((sample.graph.num_dst, *x.shape[1:]))
    for head in range(heads.shape[1]):
        matrix = np.zeros((sample.graph.num_dst, sample.graph.num_src))
        np.add.at(matrix, (sample.dst, sample.src), heads[:, head])
        out[:, head] = matrix @ x[:, head]
    return out.reshape(sample.graph.num_dst, *arrays["x"].shape[1:])


def dense_matrix(rows: np.ndarray, columns: np.ndarray, values: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    matrix = np.zeros(shape)
    np.add.at(matrix, (rows, columns), values)
    return matrix


def _spmm(reduce: str, weight: str) -> OpCase:
    def shapes(sample: Sample) -> dict[str, tuple[int, ...]]:
        graph = sample.graph
        if weight == "per-head":
            return {"x": (graph.num_src, 3, sample.width), "weight": (graph.num_edges, 3)}
        if weight == "per-element":
            return {"x": (graph.num_src, sample.width, 1), "weight": (graph.num_edges, sample.width)}
        both = {"x": (graph.num_src, sample.width), "weight": (graph.num_edges,)}
        return both if weight == "per-edge" else {"x": both["x"]}

    def oracle(sample: Sample, arrays: Arrays) -> np.ndarray:
        if reduce == "sum":
            return dense_product(sample, arrays)
        return reduce_by(sample.dst, weighted_sources(sample, arrays), sample.graph.num_dst, reduce)

    return OpCase(
        f"spmm-{reduce}-{weight}",
        lambda sample, t: ops.spmm(sample.graph, t["x"], t.get("weight"), reduce),
        shapes,
        oracle,
        smooth=reduce in ("sum", "mean"),
    )


def _spmm_by_position() -> OpCase:
    """Constant weights in the order of the graph, and of its transpose."""

    def weights(sample: Sample) -> np.ndarray:
        return (1 + np.arange(sample.graph.num_edges) % 5) / 4

    def call(sample: Sample, t: Tensors) -> Tensor:
        whole = sample.graph
        weight = torch.from_numpy(weights(sample)).to(t["x"])
        if whole.edge_id is not None:
            weight = weight[whole.edge_id]
        graph = Graph(whole.rowptr, whole.col, None, whole.num_src)

        def turned() -> Tensor:
            edge_id = graph.transpose().edge_id
            return weight if edge_id is None else weight[edge_id]

        return spmm_by_position(graph, t["x"], weight, turned)

    return OpCase(
        "spmm-by-position",
        call,
        lambda sample: {"x": (sample.graph.num_src, sample.width)},
        lambda sample, a: dense_product(sample, a | {"weight": weights(sample)}),
    )


def _segment_reduce(reduce: str) -> OpCase:
    return OpCase(
        f"segment_reduce-{reduce}",
        lambda sample, t: ops.segment_reduce(t["src"], sample.ptr, reduce),
        lambda sample: {"src": (sample.graph.num_edges, sample.width)},
        lambda sample, a: reduce_by(sample.segment, a["src"], sample.graph.num_dst, reduce),
        smooth=reduce in ("sum", "mean"),
    )


def _scatter(reduce: str) -> OpCase:
    return OpCase(
        f"scatter-{reduce}",
        lambda sample, t: ops.scatter(t["src"], sample.graph.edge_index[1], sample.graph.num_dst, reduce),
        lambda sample: {"src": (sample.graph.num_edges, sample.width)},
        lambda sample, a: reduce_by(sample.dst, a["src"], sample.graph.num_dst, reduce),
        smooth=reduce in ("sum", "mean"),
    )


def _aggregate(reduce: str) -> OpCase:
    return OpCase(
        f"aggregate-{reduce}",
        lambda sample, t: ops.aggregate(sample.graph, t["messages"], reduce),
        lambda sample: {"messages": (sample.graph.num_edges, 2, sample.width)},
        lambda sample, a: reduce_by(sample.dst, a["messages"], sample.graph.num_dst, reduce),
        smooth=reduce in ("sum", "mean"),
    )


def _gather(end: str) -> OpCase:
    return OpCase(
        f"gather-{end}",
        lambda sample, t: ops.gather(sample.graph, t["x"], end),  # type: ignore[arg-type]
        lambda sample: {"x": (sample.graph.num_src if end == "src" else sample.graph.num_dst, sample.width)},
        lambda sample, a: a["x"][sample.src if end == "src" else sample.dst],
    )


def _epilogue(act: str) -> OpCase:
    def shapes(sample: Sample) -> dict[str, tuple[int, ...]]:
        rows = (sample.graph.num_src, sample.width)
        return {"x": rows, "bias": rows[1:], "residual": rows}

    return OpCase(
        f"dropout_epilogue-{act}",
        lambda sample, t: ops.dropout_epilogue(t["x"], t["bias"], t["residual"], 0.0, 7, act),  # type: ignore[arg-type]
        shapes,
        lambda sample, a: ACTIVATIONS[act](a["x"] + a["bias"]) + a["residual"],
        twice_differentiable=False,
        smooth=act != "relu",
    )


def leaky(value: np.ndarray, slope: float) -> np.ndarray:
    return np.where(value > 0, value, slope * value)


def attention_by(sample: Sample, logits: np.ndarray, values: np.ndarray) -> np.ndarray:
    """``softmax(logits) values`` with a dense matrix per destination: logits by edge and head, values by source."""
    weights = softmax_by(sample.dst, logits, sample.graph.num_dst)
    return reduce_by(sample.dst, weights[..., None] * values[sample.src], sample.graph.num_dst, "sum")


def _attend(bias: str, heads: int, head_width: int | None = None) -> OpCase:
    def shapes(sample: Sample) -> dict[str, tuple[int, ...]]:
        graph, width = sample.graph, head_width or sample.width
        found = {"q": (graph.num_dst, heads, width), "k": (graph.num_src, heads, width)}
        found["v"] = (graph.num_src, heads, 8 if head_width else sample.width + 1)
        if bias != "plain":
            found["bias"] = (graph.num_edges, heads) if bias == "per-head" else (graph.num_edges,)
        return found

    def oracle(sample: Sample, a: Arrays) -> np.ndarray:
        logits = 0.3 * np.einsum("ehd,ehd->eh", a["q"][sample.dst], a["k"][sample.src])
        if "bias" in a:
            logits += a["bias"] if a["bias"].ndim == 2 else a["bias"][:, None]
        return attention_by(sample, logits, a["v"])

    return OpCase(
        f"attend-{bias}-{heads}x{head_width or 'F'}",
        lambda sample, t: ops.attend(sample.graph, t["q"], t["k"], t["v"], bias=t.get("bias"), scale=0.3),
        shapes,
        oracle,
        twice_differentiable=False,
    )


def _gat(bias: str, heads: int) -> OpCase:
    def shapes(sample: Sample) -> dict[str, tuple[int, ...]]:
        graph = sample.graph
        found = {"a_dst": (graph.num_dst, heads), "a_src": (graph.num_src, heads)}
        found["v"] = (graph.num_src, heads, sample.width)
        return found if bias == "plain" else found | {"bias": (graph.num_edges, heads)}

    def oracle(sample: Sample, a: Arrays) -> np.ndarray:
        before = a["a_dst"][sample.dst] + a["a_src"][sample.src] + a.get("bias", 0)
        return attention_by(sample, leaky(before, 0.2), a["v"])

    return OpCase(
        f"gat-{bias}-{heads}",
        lambda sample, t: ops.gat(sample.graph, t["a_dst"], t["a_src"], t["v"], negative_slope=0.2, bias=t.get("bias")),
        shapes,
        oracle,
        twice_differentiable=False,
    )


def _gatv2(heads: int) -> OpCase:
    def shapes(sample: Sample) -> dict[str, tuple[int, ...]]:
        graph, row = sample.graph, (heads, sample.width)
        return {"x_dst": (graph.num_dst, *row), "x_src": (graph.num_src, *row), "att": row}

    def oracle(sample: Sample, a: Arrays) -> np.ndarray:
        mixed = leaky(a["x_dst"][sample.dst] + a["x_src"][sample.src], 0.3)
        return attention_by(sample, np.einsum("ehd,hd->eh", mixed, a["att"]), a["x_src"])

    return OpCase(
        f"gatv2-{heads}",
        lambda sample, t: ops.gatv2(sample.graph, t["x_dst"], t["x_src"], t["att"], negative_slope=0.3),
        shapes,
        oracle,
        twice_differentiable=False,
    )


def _gated(normalize: bool, edge: bool, result: int) -> OpCase:
    """``result`` 0: the aggregate; 1: the edge states; 2: both, side by side."""

    def shapes(sample: Sample) -> dict[str, tuple[int, ...]]:
        graph, width = sample.graph, sample.width
        found = {"a": (graph.num_dst, width), "b": (graph.num_src, width), "v": (graph.num_src, width)}
        return found | ({"edge": (graph.num_edges, width)} if edge else {})

    def call(sample: Sample, t: Tensors) -> Tensor:
        results = ops.gated_aggregate(sample.graph, t["a"], t["b"], t["v"], t.get("edge"), normalize=normalize, eps=0.1)
        return torch.cat(results) if result == 2 else results[result]

    def oracle(sample: Sample, a: Arrays) -> np.ndarray:
        state = a["a"][sample.dst] + a["b"][sample.src] + a.get("edge", 0)
        gate = 1 / (1 + np.exp(-state))
        out = reduce_by(sample.dst, gate * a["v"][sample.src], sample.graph.num_dst, "sum")
        if normalize:
            out = out / (reduce_by(sample.dst, gate, sample.graph.num_dst, "sum") + 0.1)
        return np.concatenate([out, state]) if result == 2 else (out, state)[result]

    name = ("normalized" if normalize else "plain") + ("-edge" if edge else "")
    return OpCase(f"gated_aggregate-{name}-{result}", call, shapes, oracle, twice_differentiable=False)


def _weights(weighted: str) -> Callable[[Sample], dict[str, tuple[int, ...]]]:
    return lambda sample: {f"{factor}_weight": (sample.graph.num_edges,) for factor in weighted}


def _square(sample: Sample, a: Arrays) -> np.ndarray:
    """The graph times its transpose, each with its own weights, as dense matrices."""
    ones, graph = np.ones(len(sample.src)), sample.graph
    left = dense_matrix(sample.dst, sample.src, a.get("a_weight", ones), (graph.num_dst, graph.num_src))
    right = dense_matrix(sample.src, sample.dst, a.get("b_weight", ones), (graph.num_src, graph.num_dst))
    return left @ right


def _spgemm(weighted: str, *, sort: bool = False) -> OpCase:
    def call(sample: Sample, t: Tensors) -> Tensor:
        product, values = ops.spgemm(
            sample.graph, sample.graph.transpose(), t.get("a_weight"), t.get("b_weight"), sort=sort
        )
        index = product.dst_of_position().long() * product.num_src + product.col.long()
        shape = (product.num_dst, product.num_src)
        return values.new_zeros(shape[0] * shape[1]).index_add(0, index, values).reshape(shape)

    return OpCase(f"spgemm-{weighted}{'-sorted' * sort}", call, _weights(weighted), _square)


def _masked_spgemm(weighted: str) -> OpCase:
    def call(sample: Sample, t: Tensors) -> Tensor:
        graph = sample.graph
        # Pairs of destinations, some of them twice, some without a common source.
        dst = graph.edge_index[1]
        mask = Graph.from_edge_index(torch.stack([dst.flip(0), dst]), graph.num_dst)
        return ops.masked_spgemm(mask, graph, graph.transpose(), t.get("a_weight"), t.get("b_weight"))

    return OpCase(
        f"masked_spgemm-{weighted}",
        call,
        _weights(weighted),
        lambda sample, a: _square(sample, a)[sample.dst, sample.dst[::-1]],
    )


def matmul_by(sample: Sample, a: Arrays) -> np.ndarray:
    """Row by row with the matrix of its segment."""
    out = np.zeros((len(a["x"]), a["weight"].shape[2]))
    for row, segment in enumerate(sample.segment):
        out[row] = a["x"][row] @ a["weight"][segment]
    return out


def _segment_matmul(rows: int | None, columns: int) -> OpCase:
    # Weights as a layer draws them, so that results stay near 1 and rounding within the tolerances.
    def scale(sample: Sample) -> float:
        return max(rows or sample.width, 1) ** -0.5

    def shapes(sample: Sample) -> dict[str, tuple[int, ...]]:
        width = sample.width if rows is None else rows
        return {"x": (sample.graph.num_edges, width), "weight": (sample.graph.num_dst, width, columns)}

    return OpCase(
        f"segment_matmul-{rows or 'F'}x{columns}",
        lambda sample, t: ops.segment_matmul(t["x"], sample.ptr, t["weight"] * scale(sample)),
        shapes,
        lambda sample, a: matmul_by(sample, {"x": a["x"], "weight": a["weight"] * scale(sample)}),
    )


CASES = [
    *(_segment_reduce(reduce) for reduce in ("sum", "mean", "min", "max")),
    *(_scatter(reduce) for reduce in ("sum", "mean", "min", "max")),
    *(_aggregate(reduce) for reduce in ("sum", "mean", "min", "max")),
    *(_gather(end) for end in ("src", "dst")),
    *(
        _spmm(reduce, weight)
        for reduce in ("sum", "mean", "min", "max")
        for weight in ("plain", "per-edge", "per-head", "per-element")
    ),
    _spmm_by_position(),
    OpCase(
        "segment_softmax",
        lambda sample, t: ops.segment_softmax(t["src"], sample.ptr),
        lambda sample: {"src": (sample.graph.num_edges, sample.width)},
        lambda sample, a: softmax_by(sample.segment, a["src"], sample.graph.num_dst),
    ),
    OpCase(
        "edge_softmax",
        lambda sample, t: ops.edge_softmax(sample.graph, t["score"]),
        lambda sample: {"score": (sample.graph.num_edges, 3)},
        lambda sample, a: softmax_by(sample.dst, a["score"], sample.graph.num_dst),
    ),
    _attend("plain", 2),
    _attend("per-edge", 3),
    _attend("per-head", 5, 8),
    _attend("plain", 9, 4),
    _attend("per-edge", 8, 8),
    _attend("per-head", 1),
    _gat("plain", 3),
    _gat("per-head", 8),
    _gat("plain", 1),
    _gatv2(2),
    _gatv2(8),
    _gated(True, True, 2),
    _gated(True, False, 0),
    _gated(False, True, 0),
    _gated(True, True, 1),
    OpCase(
        "sddmm",
        lambda sample, t: ops.sddmm(sample.graph, t["a"], t["b"]),
        lambda sample: {"a": (sample.graph.num_dst, sample.width), "b": (sample.graph.num_src, sample.width)},
        lambda sample, a: np.einsum("ef,ef->e", a["a"][sample.dst], a["b"][sample.src]),
    ),
    OpCase(
        "sddmm-heads",
        lambda sample, t: ops.sddmm(sample.graph, t["a"], t["b"]),
        lambda sample: {"a": (sample.graph.num_dst, 3, sample.width), "b": (sample.graph.num_src, 3, sample.width)},
        lambda sample, a: np.einsum("ehf,ehf->eh", a["a"][sample.dst], a["b"][sample.src]),
    ),
    OpCase(
        "sddmm-elements",
        lambda sample, t: ops.sddmm(sample.graph, t["a"], t["b"]),
        lambda sample: {"a": (sample.graph.num_dst, sample.width, 1), "b": (sample.graph.num_src, sample.width, 1)},
        lambda sample, a: (a["a"][sample.dst] * a["b"][sample.src])[..., 0],
    ),
    *(_spgemm(weighted, sort=sort) for weighted in ("ab", "a", "b") for sort in (False, True)),
    *(_masked_spgemm(weighted) for weighted in ("ab", "a", "b")),
    *(_epilogue(act) for act in ACTIVATIONS),
    _segment_matmul(None, 5),
    _segment_matmul(None, 67),
    _segment_matmul(3, 16),
    *SEQUENCE_CASES,
]


def tensors(case: OpCase, sample: Sample, dtype: torch.dtype, *, requires_grad: bool = False) -> Tensors:
    """Random inputs; where the operator has kinks or ties, values lie on a grid with room between them."""
    generator = torch.Generator().manual_seed(len(case.name))
    made = {}
    for name, shape in case.shapes(sample).items():
        if case.smooth:
            value = torch.randn(shape, generator=generator, dtype=torch.float64)
        else:
            count = int(np.prod(shape))
            grid = torch.randperm(count, generator=generator).to(torch.float64)
            # Off zero by half a step, so that products with weights do not tie either.
            value = ((grid + 0.5) / max(count, 1) * 4 - 1.973).reshape(shape)
        made[name] = value.to(DEVICE, dtype).requires_grad_(requires_grad)
    return made
