"""The GRIT model: what it makes of random walks, edges, pairs and batches."""

from typing import Any

import networkx as nx
import pytest
import torch
from torch import Tensor
from torch_geometric.data import Batch, Data
from torch_geometric.utils import to_dense_adj

from gnnkit import nn
from gnnkit.errors import ConfigError, DataError, IndexRangeError, ShapeError
from gnnkit.nn import GRIT, complete_graphs

DIM, HEADS, STEPS = 6, 2, 5


def walks_of(edge_index: Tensor, num_nodes: int) -> Tensor:
    """[I, P, ..., P^(K-1)], dense, ``[n, n, K]``."""
    dense = to_dense_adj(edge_index, max_num_nodes=num_nodes)[0].double() if num_nodes else torch.zeros(0, 0).double()
    step = dense / dense.sum(1, keepdim=True).clamp(min=1)
    powers = [torch.eye(num_nodes).double()]
    for _ in range(STEPS - 1):
        powers.append(powers[-1] @ step)
    return torch.stack(powers, dim=2)


def data_of(source: nx.Graph, seed: int = 0, sparse: bool = True) -> Data:
    source = nx.convert_node_labels_to_integers(source)
    generator = torch.Generator().manual_seed(seed)
    edges = [*source.edges, *((v, u) for u, v in source.edges)]
    edge_index, n = torch.tensor(edges, dtype=torch.int64).reshape(-1, 2).T.contiguous(), len(source)
    walks = walks_of(edge_index, n)
    kept = (walks != 0).any(2) if sparse else torch.ones(n, n, dtype=torch.bool)
    destination, pair_source = kept.nonzero().T
    return Data(
        x=torch.randn(n, 3, generator=generator).double(),
        edge_index=edge_index,
        edge_attr=torch.randn(edge_index.size(1), 2, generator=generator).double(),
        rrwp=walks.diagonal(dim1=0, dim2=1).T.contiguous(),
        rrwp_index=torch.stack([pair_source, destination]),
        rrwp_value=walks[destination, pair_source],
    )


SOURCES = (
    nx.cycle_graph(6),
    nx.empty_graph(1),
    nx.disjoint_union(nx.path_graph(3), nx.complete_graph(3)),
    nx.star_graph(4),
)


def model_of(**options: Any) -> GRIT:
    defaults = {"steps": STEPS, "node_encoder": 3, "edge_encoder": 2}
    return GRIT(DIM, 2, HEADS, 2, **{**defaults, **options}).double()


@pytest.fixture
def batch() -> Any:
    return Batch.from_data_list([data_of(source, seed) for seed, source in enumerate(SOURCES)])


def test_the_model_is_its_layers_on_all_pairs_of_each_graph():
    """Features as dense matrices; a layer on the flattened ones."""
    model, data = model_of().eval(), data_of(SOURCES[2])
    n, walks = 6, walks_of(data.edge_index, 6)
    e = walks @ model.pair_walks.weight.T
    encoded = model.edge_encoder(data.edge_attr)
    for edge, (u, v) in enumerate(data.edge_index.T.tolist()):
        e[v, u] += encoded[edge]
    x = model.node_encoder(data.x) + walks.diagonal(dim1=0, dim2=1).T @ model.node_walks.weight.T
    degree = torch.tensor([1, 2, 1, 2, 2, 2])
    pairs, e = complete_graphs(torch.tensor([0, n])), e.flatten(0, 1)
    for layer in model.layers:
        x, e = layer(x, pairs, e, degree)
    torch.testing.assert_close(model(data), model.head(x.mean(0, keepdim=True)))


def test_sparse_and_listed_pairs_agree_where_all_are_listed(batch: Any):
    """A list of all pairs leaves nothing to add, in whatever order."""
    listed = Batch.from_data_list([data_of(source, seed, sparse=False) for seed, source in enumerate(SOURCES)])
    model = model_of()
    whole = model(batch)
    torch.testing.assert_close(model(listed), whole)
    order = torch.randperm(listed.rrwp_index.size(1))
    listed.rrwp_index, listed.rrwp_value = listed.rrwp_index[:, order], listed.rrwp_value[order]
    torch.testing.assert_close(model(listed), whole)
    model.complete = False
    torch.testing.assert_close(model(listed), whole)
    # The two components of the third graph no longer see each other.
    assert not torch.allclose(model(batch), whole)


@pytest.mark.parametrize("complete", [True, False])
def test_a_model_sees_graphs_of_a_batch_one_by_one(batch: Any, complete: bool):
    model = model_of(complete=complete).eval()
    alone = torch.cat([model(data_of(source, seed)) for seed, source in enumerate(SOURCES)])
    torch.testing.assert_close(model(batch), alone)
    with_empty = Batch.from_data_list([data_of(nx.empty_graph(0)), data_of(SOURCES[0])])
    out = model(with_empty)
    torch.testing.assert_close(out[0], model.head.bias)
    torch.testing.assert_close(out[1], alone[0])


@pytest.mark.parametrize("pool", ["mean", "sum", "max", "min", "none"])
def test_every_parameter_of_a_model_learns(batch: Any, pool: str):
    model = model_of(pool=pool, dropout=0.1, attention_dropout=0.1)
    out = model(batch)
    assert out.shape == (batch.num_nodes if pool == "none" else len(SOURCES), 2)
    out.square().mean().backward()
    # The last pair features lead nowhere.
    unused = {f"layers.1.{part}_pair.{name}" for part in ("out", "norm") for name in ("weight", "bias")}
    assert {name for name, parameter in model.named_parameters() if parameter.grad is None} == unused


def test_relabelled_graphs_give_the_same(batch: Any):
    model = model_of().eval()
    for data in batch.to_data_list():
        place = torch.randperm(data.num_nodes)
        back = torch.argsort(place)
        moved = data.clone()
        moved.x, moved.rrwp = data.x[back], data.rrwp[back]
        moved.edge_index, moved.rrwp_index = place[data.edge_index], place[data.rrwp_index]
        torch.testing.assert_close(model(moved), model(data))


def test_pairs_tell_apart_what_message_passing_cannot():
    """Two triangles and a hexagon, without node features: a convolution sees nodes of degree 2 everywhere."""
    graphs = [data_of(nx.disjoint_union(nx.cycle_graph(3), nx.cycle_graph(3))), data_of(nx.cycle_graph(6))]
    for data in graphs:
        data.x, data.edge_attr = torch.ones_like(data.x), torch.ones_like(data.edge_attr)
    model = model_of().eval()
    first, second = (model(data) for data in graphs)
    assert not torch.allclose(first, second, rtol=0.0, atol=1e-6)


def test_a_model_of_the_published_size():
    """Peptides-func: 443,338 parameters, with one category of chirality fewer than OGB's atoms have by now."""
    model = GRIT(96, 4, 4, 10, steps=17, node_encoder=nn.AtomEncoder(96), edge_encoder=nn.BondEncoder(96))
    assert sum(parameter.numel() for parameter in model.parameters()) == 443_338 + 96


def test_names_of_attributes_are_arguments(batch: Any):
    model = model_of(node_attr="a", index_attr="b_index", pair_attr="c").eval()
    torch.manual_seed(1)
    plain = model_of().eval()
    plain.load_state_dict(model.state_dict())
    expected = plain(batch)
    batch.a, batch.b_index, batch.c = batch.rrwp, batch.rrwp_index, batch.rrwp_value
    del batch.rrwp, batch.rrwp_index, batch.rrwp_value
    assert torch.equal(model(batch), expected)
    with pytest.raises(DataError, match=r"GRIT reads data\.rrwp, which is missing"):
        plain(batch)


def test_bad_input_of_a_model_is_named(batch: Any):
    for options in ({"steps": 0}, {"pool": "median"}, {"clamp": 0.0}):
        with pytest.raises(ConfigError):
            model_of(**options)
    with pytest.raises(ShapeError, match=r"data\.rrwp must have 4 columns"):
        model_of(steps=4)(batch)
    batch.rrwp_value = batch.rrwp_value[:-1]
    with pytest.raises(ShapeError, match=r"data\.rrwp_value must have one row per pair"):
        model_of()(batch)
    data = data_of(SOURCES[0])
    data.edge_index = data.edge_index + 3
    with pytest.raises(IndexRangeError):
        model_of()(data)


def test_training_learns_distances():
    """Whether two marked nodes of a cycle are neighbours: pair features say so directly."""
    generator = torch.Generator().manual_seed(0)
    graphs = []
    for index in range(48):
        data = data_of(nx.cycle_graph(8))
        gap = 1 if index % 2 else int(torch.randint(2, 5, (1,), generator=generator))
        data.x = torch.zeros(8, 3).double()
        data.x[0, 0] = data.x[gap, 0] = 1.0
        data.edge_attr, data.y = torch.zeros_like(data.edge_attr), torch.tensor([index % 2])
        graphs.append(data)
    joined: Any = Batch.from_data_list(graphs)
    model = model_of()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    losses = []
    for _ in range(80):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(joined), joined.y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.1 * losses[0]
