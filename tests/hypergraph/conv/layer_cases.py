"""The layers, what they are called with, and hypergraphs to call them on."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from gnnkit import hypergraph as hg
from gnnkit.hypergraph import Hypergraph

IN, OUT = 5, 4

KEYWORDS = {"weight": "hyperedge_weight", "attr": "hyperedge_attr", "x_0": "x_0"}


class Case(NamedTuple):
    make: Callable[[], torch.nn.Module]
    extra: tuple[str, ...] = ()
    """Names of the tensors it takes besides ``x``."""
    width: int = IN


CASES: dict[str, Case] = {
    "hypergraph": Case(lambda: hg.HypergraphConv(IN, OUT)),
    "hypergraph, weights": Case(lambda: hg.HypergraphConv(IN, OUT), ("weight",)),
    "attention": Case(lambda: hg.HypergraphConv(IN, OUT, use_attention=True), ("attr",)),
    "attention of nodes, weights": Case(
        lambda: hg.HypergraphConv(IN, OUT, use_attention=True, attention_mode="node", heads=3, concat=False),
        ("weight", "attr"),
    ),
    "hgnn": Case(lambda: hg.HGNNConv(IN, OUT)),
    "hgnn, weights": Case(lambda: hg.HGNNConv(IN, OUT), ("weight",)),
    "hypergcn": Case(lambda: hg.HyperGCNConv(IN, OUT)),
    "hypergcn, pairs only": Case(lambda: hg.HyperGCNConv(IN, OUT, mediators=False), ("weight",)),
    "alldeepsets": Case(lambda: hg.AllDeepSetsConv(IN, OUT)),
    "alldeepsets, mean": Case(lambda: hg.AllDeepSetsConv(IN, OUT, aggr="mean", mlp_layers=1, norm=False)),
    "allsettransformer": Case(lambda: hg.AllSetTransformerConv(IN, OUT, heads=2)),
    "unigcn": Case(lambda: hg.UniGCNConv(IN, OUT)),
    "unigin": Case(lambda: hg.UniGINConv(IN, OUT, eps=0.3)),
    "unisage": Case(lambda: hg.UniSAGEConv(IN, OUT)),
    "unisage, sum": Case(lambda: hg.UniSAGEConv(IN, OUT, aggr="sum", bias=False)),
    "unigat": Case(lambda: hg.UniGATConv(IN, OUT, heads=2)),
    "unigcnii": Case(lambda: hg.UniGCNIIConv(OUT, alpha=0.2, beta=0.4), ("x_0",), OUT),
}


def made(name: str, dtype: torch.dtype = torch.float64) -> torch.nn.Module:
    """A layer without zeros among its parameters, so that each has a part in the result."""
    layer = CASES[name].make().to(dtype)
    with torch.no_grad():
        for value in layer.parameters():
            value.add_(0.1 * torch.randn_like(value))
    return layer


def inputs_of(name: str, hypergraph: Hypergraph, dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
    case = CASES[name]
    shapes = {
        "weight": (hypergraph.num_hyperedges,),
        "attr": (hypergraph.num_hyperedges, case.width),
        "x_0": (hypergraph.num_nodes, case.width),
    }
    given = {"x": torch.randn(hypergraph.num_nodes, case.width, dtype=dtype)}
    for key in case.extra:
        given[key] = (
            torch.rand(shapes[key], dtype=dtype) + 0.5 if key == "weight" else torch.randn(shapes[key]).to(dtype)
        )
    return given


def call(layer: torch.nn.Module, hypergraph: Hypergraph, given: dict[str, Tensor]) -> Tensor:
    extra = {KEYWORDS[key]: value for key, value in given.items() if key != "x"}
    return layer(given["x"], hypergraph, **extra)


def random_hypergraph(num_nodes: int = 12, num_hyperedges: int = 7, num_incidences: int = 30) -> Hypergraph:
    """Repeated incidences, isolated nodes and empty hyperedges among them."""
    index = torch.stack([torch.randint(size, (num_incidences,)) for size in (num_nodes - 2, num_hyperedges - 1)])
    return Hypergraph.from_incidence(index, num_nodes=num_nodes, num_hyperedges=num_hyperedges)


def inverse(value: Tensor, power: float = 1.0) -> Tensor:
    """With zero for the inverse of zero."""
    return torch.where(value == 0, 0.0, value.pow(-power))
