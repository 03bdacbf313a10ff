"""Clique, star and line expansions against dense matrices, with and without attributes."""

from itertools import product
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from torch import Tensor
from torch_geometric.data import Batch, Data

from gnnkit.errors import ConfigError, DataError, DtypeError, ShapeError
from gnnkit.hypergraph import (
    CliqueExpansion,
    Hypergraph,
    LineExpansion,
    StarExpansion,
    clique_expansion,
    line_expansion,
    star_expansion,
)
from tests.hypergraph.made_hypergraphs import SHAPES, data_of, dense, hypergraph_of, random_hypergraphs

EXPANSIONS = (CliqueExpansion(), CliqueExpansion(normalize=True), StarExpansion(), LineExpansion())


def adjacency(edge_index: Tensor, num_nodes: int, weight: Tensor | None = None) -> Tensor:
    matrix = torch.zeros(num_nodes, num_nodes, dtype=torch.float64)
    for place, (source, target) in enumerate(edge_index.t().tolist()):
        matrix[source, target] += 1 if weight is None else float(weight[place])
    return matrix


def assert_ordered(edge_index: Tensor):
    columns = edge_index.t().tolist()
    assert columns == sorted(columns)
    assert len(columns) == len({tuple(column) for column in columns})


@settings(derandomize=True, deadline=None, max_examples=25)
@given(random_hypergraphs())
def test_clique_expansion_is_the_dense_product(hypergraph: Hypergraph):
    matrix = dense(hypergraph)
    for weight in (None, torch.linspace(0.3, 2, hypergraph.num_hyperedges, dtype=torch.float64)):
        scaled = matrix if weight is None else matrix * weight
        edge_index, values = clique_expansion(hypergraph, weight)
        assert_ordered(edge_index)
        expected = scaled @ matrix.t()
        expected.fill_diagonal_(0)
        assert torch.allclose(adjacency(edge_index, hypergraph.num_nodes, values), expected, rtol=1e-6)
        assert edge_index.size(1) == int((expected != 0).sum())
        edge_index, values = clique_expansion(hypergraph, weight, normalize=True)
        assert_ordered(edge_index)
        degree = scaled.sum(1)
        root = torch.where(degree > 0, degree.clamp(min=1e-30) ** -0.5, 0)
        normalized = root[:, None] * (scaled / matrix.sum(0).clamp(min=1)) @ matrix.t() * root
        tolerance = 1e-6 if weight is None else 1e-13
        found = adjacency(edge_index, hypergraph.num_nodes, values)
        assert torch.allclose(found, normalized, rtol=tolerance, atol=tolerance)


def test_rows_of_a_clique_are_its_size_less_one():
    edge_index, weight = clique_expansion(hypergraph_of("one hyperedge of all"))
    assert adjacency(edge_index, 5, weight).sum(1).tolist() == [4] * 5
    assert weight.dtype == torch.get_default_dtype()


@pytest.mark.parametrize("normalize", [False, True])
def test_clique_expansion_is_differentiable_in_the_weight(normalize: bool):
    hypergraph = hypergraph_of("trailing ones empty")
    weight = (torch.rand(5, dtype=torch.float64) + 0.5).requires_grad_()
    assert torch.autograd.gradcheck(lambda w: clique_expansion(hypergraph, w, normalize=normalize)[1], (weight,))


def test_hyperedges_of_weight_zero_keep_their_pairs_and_stay_finite():
    hypergraph = hypergraph_of("one hyperedge of all")
    weight = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    for normalize in (False, True):
        edge_index, values = clique_expansion(hypergraph, weight, normalize=normalize)
        assert edge_index.size(1) == (25 if normalize else 20)
        assert values.abs().max() == 0
        (grad,) = torch.autograd.grad(values.sum(), weight)
        assert grad.isfinite().all()


@settings(derandomize=True, deadline=None, max_examples=25)
@given(random_hypergraphs())
def test_star_expansion_has_the_incidences_as_blocks(hypergraph: Hypergraph):
    matrix = dense(hypergraph)
    num_nodes, num_hyperedges = matrix.shape
    expected = torch.zeros(num_nodes + num_hyperedges, num_nodes + num_hyperedges, dtype=torch.float64)
    expected[:num_nodes, num_nodes:] = matrix
    expected[num_nodes:, :num_nodes] = matrix.t()
    assert torch.equal(adjacency(star_expansion(hypergraph), num_nodes + num_hyperedges), expected)


@settings(derandomize=True, deadline=None, max_examples=25)
@given(random_hypergraphs())
def test_line_expansion_joins_what_shares_a_node_or_a_hyperedge(hypergraph: Hypergraph):
    incidences = hypergraph.hyperedge_index.t().tolist()
    expected = [
        [i, j]
        for i, j in product(range(len(incidences)), repeat=2)
        if i != j and (incidences[i][0] == incidences[j][0] or incidences[i][1] == incidences[j][1])
    ]
    assert line_expansion(hypergraph).t().tolist() == expected


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
@pytest.mark.parametrize("shape", SHAPES)
def test_edge_cases_keep_their_dtype(shape: str, dtype: torch.dtype):
    hypergraph = hypergraph_of(shape, dtype)
    for edge_index in (
        clique_expansion(hypergraph)[0],
        clique_expansion(hypergraph, normalize=True)[0],
        star_expansion(hypergraph),
        line_expansion(hypergraph),
    ):
        assert edge_index.dtype == dtype
        assert edge_index.size(0) == 2
    for transform in EXPANSIONS:
        out = transform(data_of(hypergraph))
        out.validate()
        assert out.num_nodes == {
            CliqueExpansion: hypergraph.num_nodes,
            StarExpansion: hypergraph.num_nodes + hypergraph.num_hyperedges,
            LineExpansion: hypergraph.num_incidences,
        }[type(transform)]  # fmt: skip


def attributed() -> Any:
    return data_of(
        hypergraph_of("trailing ones empty"),
        x=torch.arange(12.0).reshape(6, 2),
        y=torch.arange(6),
        train_mask=torch.arange(6) < 3,
        hyperedge_attr=torch.arange(10.0).reshape(5, 2) + 100,
        hyperedge_weight=torch.tensor([2.0, 3.0, 4.0, 5.0, 6.0]),
        hyperedge_name=["a", "b", "c", "d", "e"],
        title="all of it",
    )


def test_attributes_of_a_clique_expansion():
    data = attributed()
    out = CliqueExpansion()(data)
    assert type(out) is Data
    assert out.num_nodes == 6
    assert torch.equal(out.x, data.x)
    assert out.y.tolist() == data.y.tolist()
    assert out.title == "all of it"
    assert not any("hyperedge" in key for key in out.to_dict())
    assert adjacency(out.edge_index, 6, out.edge_weight)[0].tolist() == [0, 3, 3, 3, 0, 0]
    assert "edge_index" not in data


def test_attributes_of_a_star_expansion():
    data = attributed()
    out = StarExpansion()(data)
    assert torch.equal(out.x, torch.cat([data.x, data.hyperedge_attr]))
    assert out.y.tolist() == [0, 1, 2, 3, 4, 5, 0, 0, 0, 0, 0]
    assert out.train_mask.tolist() == [True] * 3 + [False] * 8
    assert out.star_centre_mask.tolist() == [False] * 6 + [True] * 5
    assert out.edge_weight.tolist() == [3, 2, 3, 3, 3] * 2
    assert out.edge_index.tolist() == [[0, 3, 1, 2, 3, 7, 6, 7, 7, 7], [7, 6, 7, 7, 7, 0, 3, 1, 2, 3]]
    del data.hyperedge_attr
    assert StarExpansion()(data).x[6:].unique().tolist() == [0]
    data.hyperedge_attr = torch.ones(5, 3)
    with pytest.raises(DataError, match="must have the same width and dtype"):
        StarExpansion()(data)
    del data.x
    with pytest.raises(DataError, match="no x"):
        StarExpansion()(data)


def test_attributes_of_a_line_expansion():
    data = attributed()
    out = LineExpansion()(data)
    node, hyperedge = data.hyperedge_index
    assert torch.equal(out.x, data.x[node])
    assert torch.equal(out.y, data.y[node])
    assert torch.equal(out.train_mask, data.train_mask[node])
    assert torch.equal(out.incidence_attr, data.hyperedge_attr[hyperedge])
    assert out.incidence_weight.tolist() == [3, 2, 3, 3, 3]
    assert out.title == "all of it"


@pytest.mark.parametrize("transform", EXPANSIONS, ids=repr)
def test_a_batch_is_expanded_graph_by_graph(transform: Any):
    items = [data_of(hypergraph_of(shape), x=torch.randn(SHAPES[shape][0], 2)) for shape in SHAPES]
    whole = transform(Batch.from_data_list(items))
    for item, back in zip(items, whole.to_data_list(), strict=True):
        expected = transform(item)
        assert set(back.to_dict()) == set(expected.to_dict())
        for key, value in expected.to_dict().items():
            assert torch.equal(back[key], value) if isinstance(value, Tensor) else back[key] == value
    assert whole.num_nodes == sum(transform(item).num_nodes for item in items)


@settings(derandomize=True, deadline=None, max_examples=25)
@given(random_hypergraphs())
def test_clique_expansion_is_equivariant_in_nodes_and_invariant_in_hyperedges(hypergraph: Hypergraph):
    nodes, hyperedges = torch.randperm(hypergraph.num_nodes), torch.randperm(hypergraph.num_hyperedges)
    node, hyperedge = hypergraph.hyperedge_index
    moved = Hypergraph.from_incidence(
        torch.stack([nodes[node], hyperedges[hyperedge]]),
        num_nodes=hypergraph.num_nodes,
        num_hyperedges=hypergraph.num_hyperedges,
    )
    for normalize in (False, True):
        before = adjacency(*swap(clique_expansion(hypergraph, normalize=normalize), hypergraph.num_nodes))
        after = adjacency(*swap(clique_expansion(moved, normalize=normalize), hypergraph.num_nodes))
        assert torch.allclose(after[nodes][:, nodes], before, rtol=1e-5, atol=1e-6)


def swap(expansion: tuple[Tensor, Tensor], num_nodes: int) -> tuple[Tensor, int, Tensor]:
    return expansion[0], num_nodes, expansion[1]


def test_wrong_data_is_refused():
    data = attributed()
    for transform in EXPANSIONS:
        with pytest.raises(DataError, match="hyperedge_index is missing"):
            transform(Data(x=torch.ones(2, 1)))
        with pytest.raises(DataError, match="which is there already"):
            transform(data.clone().update({"edge_index": torch.tensor([[0], [1]])}))
    with pytest.raises(ConfigError, match="normalize must be True or False"):
        CliqueExpansion(normalize="hgnn")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="edge_label_index counts nodes"):
        LineExpansion()(data.clone().update({"edge_label_index": torch.tensor([[0], [1]])}))
    hypergraph = hypergraph_of("trailing ones empty")
    with pytest.raises(ShapeError, match=r"hyperedge_weight must be one number per hyperedge, \[5\]"):
        clique_expansion(hypergraph, torch.ones(4))
    with pytest.raises(DtypeError, match="hyperedge_weight must be float"):
        clique_expansion(hypergraph, torch.ones(5, dtype=torch.int64))
    for transform in (StarExpansion(), LineExpansion()):
        with pytest.raises(ShapeError, match="hyperedge_weight must have one row per hyperedge, 5"):
            transform(data.clone().update({"hyperedge_weight": torch.ones(3)}))
