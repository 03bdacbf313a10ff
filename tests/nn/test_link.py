"""Models of links against dense maths."""

from typing import Any

import pytest
import torch
from torch_geometric.data import Data

from gnnkit import Graph
from gnnkit.errors import ConfigError, DataError, IndexRangeError, ShapeError
from gnnkit.nn import (
    NCN,
    NCNC,
    GraphModel,
    InnerProductDecoder,
    LinkModel,
    ModelConfig,
    ProductDecoder,
    common_neighbors,
    link,
    make_link_decoder,
)
from gnnkit.nn.link import DECODERS


def random_graph(num_nodes: int = 14, seed: int = 0, density: float = 0.35) -> tuple[Graph, torch.Tensor]:
    """An undirected graph with an isolated last node, and its matrix."""
    upper = torch.rand(num_nodes, num_nodes, generator=torch.Generator().manual_seed(seed)).triu(1) > 1 - density
    dense = (upper | upper.t()).double()
    dense[-1], dense[:, -1] = 0, 0
    return Graph.from_edge_index(dense.nonzero().t().contiguous(), num_nodes=num_nodes), dense


def random_pairs(num_nodes: int = 14, count: int = 40) -> torch.Tensor:
    pairs = torch.randint(0, num_nodes, (2, count), generator=torch.Generator().manual_seed(1))
    # A pair of a node with itself, the isolated node, and one pair twice.
    pairs[:, 0], pairs[:, 1], pairs[:, 2] = 3, torch.tensor([num_nodes - 1, 2]), pairs[:, 3]
    return pairs


def double(module: torch.nn.Module) -> Any:
    torch.manual_seed(4)
    for parameter in module.double().parameters():
        torch.nn.init.normal_(parameter)
    return module.eval()


def states(num_nodes: int = 14, width: int = 6) -> torch.Tensor:
    generator = torch.Generator().manual_seed(2)
    return torch.randn(num_nodes, width, dtype=torch.float64, generator=generator).requires_grad_()


def mlp(module: Any, x: torch.Tensor) -> torch.Tensor:
    *hidden, last = module.mlp.linears
    for linear in hidden:
        x = (x @ linear.weight.t() + linear.bias).clamp(min=0)
    return x @ last.weight.t() + last.bias


def ncn(module: Any, h: torch.Tensor, dense: torch.Tensor, pairs: torch.Tensor) -> torch.Tensor:
    i, j = pairs
    return mlp(module, torch.cat([h[i] * h[j], (dense[i] * dense[j]) @ h], dim=1))


def ncnc(module: Any, h: torch.Tensor, dense: torch.Tensor, pairs: torch.Tensor) -> torch.Tensor:
    n = len(dense)
    every = torch.stack([torch.arange(n).repeat_interleave(n), torch.arange(n).repeat(n)])
    with torch.no_grad():
        chance = ncn(module, h, dense, every).sigmoid().reshape(n, n)
    i, j = pairs
    first, second = dense[i], dense[j]
    weight = first * second + first * (1 - second) * chance[:, j].t() + second * (1 - first) * chance[:, i].t()
    return mlp(module, torch.cat([h[i] * h[j], weight @ h], dim=1))


def test_common_neighbours_are_those_of_sets():
    graph, dense = random_graph()
    pairs = random_pairs()
    found = common_neighbors(graph, pairs)
    assert (found.num_dst, found.num_src) == (40, 14)
    assert found.edge_id is None
    sets = [set(row.nonzero().flatten().tolist()) for row in dense]
    for number, (i, j) in enumerate(pairs.t().tolist()):
        own = found.col[found.rowptr[number] : found.rowptr[number + 1]].tolist()
        assert own == sorted(own)
        assert set(own) == sets[i] & sets[j]
    assert common_neighbors(graph, pairs[:, :0]).num_edges == 0
    empty = Graph.from_edge_index(torch.zeros(2, 0, dtype=torch.long), num_nodes=14)
    assert common_neighbors(empty, pairs).num_edges == 0


def test_common_neighbours_are_the_same_in_pieces(monkeypatch):
    graph, _ = random_graph()
    pairs = random_pairs()
    whole = common_neighbors(graph, pairs)
    for listed in (1, 7):
        monkeypatch.setattr(link, "_LISTED_AT_A_TIME", listed)
        pieces = common_neighbors(graph, pairs)
        assert torch.equal(pieces.rowptr, whole.rowptr)
        assert torch.equal(pieces.col, whole.col)


@pytest.mark.parametrize(
    ("kind", "oracle"),
    [
        ("inner_product", lambda module, h, dense, pairs: (h[pairs[0]] * h[pairs[1]]).sum(1, keepdim=True)),
        ("mlp", lambda module, h, dense, pairs: mlp(module, h[pairs[0]] * h[pairs[1]])),
        ("ncn", ncn),
        ("ncnc", ncnc),
    ],
)
def test_scores_and_gradients_equal_dense_maths(kind, oracle):
    graph, dense = random_graph()
    pairs = random_pairs()
    module = double(make_link_decoder(kind, 6, num_layers=3))
    h = states()
    scores, expected = module(h, graph, pairs), oracle(module, h, dense, pairs)
    assert scores.shape == (40, 1)
    torch.testing.assert_close(scores, expected)
    weight = torch.randn(scores.shape, dtype=torch.float64)
    inputs = [h, *module.parameters()]
    for mine, theirs in zip(
        torch.autograd.grad((scores * weight).sum(), inputs),
        torch.autograd.grad((expected * weight).sum(), inputs),
        strict=True,
    ):
        torch.testing.assert_close(mine, theirs)
    # Undirected, so the order of a pair does not matter.
    torch.testing.assert_close(module(h, graph, pairs.flip(0)), scores)
    assert module(h, graph, pairs[:, :0]).shape == (0, 1)
    assert torch.equal(module(h, graph, pairs), scores)


def test_the_link_of_a_pair_itself_has_no_say():
    graph, dense = random_graph()
    i, j = dense.nonzero()[5].tolist()
    without = dense.clone()
    without[i, j] = without[j, i] = 0
    other = Graph.from_edge_index(without.nonzero().t().contiguous(), num_nodes=14)
    pair = torch.tensor([[i], [j]])
    module = double(NCN(6))
    torch.testing.assert_close(module(states(), other, pair), module(states(), graph, pair))


def test_pieces_do_not_change_completion():
    graph, _ = random_graph(density=0.6)
    pairs, h = random_pairs(), states()
    whole, pieces = double(NCNC(6)), double(NCNC(6, max_pairs=3))
    torch.testing.assert_close(pieces(h, graph, pairs), whole(h, graph, pairs))
    assert (whole(h, graph, pairs) - double(NCN(6))(h, graph, pairs)).abs().max() > 1e-3


def test_completion_is_without_dropout_and_leaves_the_mode_as_it_is():
    graph, _ = random_graph()
    module, h = double(NCNC(6, dropout=0.5)), states()
    chances = module._probabilities(h, graph, random_pairs())
    module.train()
    assert torch.equal(module._probabilities(h, graph, random_pairs()), chances)
    assert module.training
    assert module.mlp.training
    assert not chances.requires_grad


def test_permuted_nodes_have_the_same_scores():
    graph, dense = random_graph()
    order = torch.randperm(14)
    place = order.argsort()
    moved = Graph.from_edge_index(dense[order][:, order].nonzero().t().contiguous(), num_nodes=14)
    h, pairs = states(), random_pairs()
    for kind in DECODERS:
        module = double(make_link_decoder(kind, 6))
        torch.testing.assert_close(module(h[order], moved, place[pairs]), module(h, graph, pairs))


def model_and_data(kind: str, **options: Any) -> tuple[LinkModel, Data]:
    graph, _ = random_graph()
    config = ModelConfig(conv="gcn", num_layers=2, hidden_dim=8, pool="none")
    torch.manual_seed(1)
    model = LinkModel(GraphModel(config, node_dims=3, num_outputs=8), make_link_decoder(kind, 8), **options)
    data = Data(x=torch.randn(14, 3), edge_index=graph.edge_index, num_nodes=14, pairs=random_pairs())
    return model, data


@pytest.mark.parametrize("kind", DECODERS)
def test_a_model_decodes_in_pieces_and_learns(kind):
    model, data = model_and_data(kind)
    scores = model(data)
    assert scores.shape == (40, 1)
    scores.square().sum().backward()
    assert all(parameter.grad is not None for parameter in model.encoder.parameters())
    first = {name: parameter.grad.clone() for name, parameter in model.named_parameters() if parameter.grad is not None}
    model.zero_grad()
    model(data).square().sum().backward()
    assert all(torch.equal(dict(model.named_parameters())[name].grad, grad) for name, grad in first.items())
    pieces = model_and_data(kind, max_pairs=7)[0].eval()
    pieces.load_state_dict(model.state_dict())
    torch.testing.assert_close(pieces(data), model.eval()(data))


def test_bad_input():
    graph, _ = random_graph()
    h = states()
    for kind in DECODERS:
        module = double(make_link_decoder(kind, 6))
        with pytest.raises(ShapeError, match=r"pairs must have shape \[2, P\], got \(3, 2\)"):
            module(h, graph, torch.zeros(3, 2, dtype=torch.long))
        with pytest.raises(ShapeError, match="pairs must be int32 or int64"):
            module(h, graph, torch.zeros(2, 3))
        with pytest.raises(IndexRangeError, match="14"):
            module(h, graph, torch.tensor([[0], [14]]))
        with pytest.raises(IndexRangeError, match="-1"):
            module(h, graph, torch.tensor([[-1], [3]]))
    with pytest.raises(ConfigError, match="did you mean 'ncn'"):
        make_link_decoder("nccn", 6)
    for make in (ProductDecoder, NCN, NCNC):
        with pytest.raises(ConfigError, match="num_layers must be at least 1"):
            make(6, num_layers=0)
        with pytest.raises(ConfigError, match="dropout must lie in"):
            make(6, dropout=1.0)
    with pytest.raises(ConfigError, match="max_pairs must be at least 1"):
        LinkModel(torch.nn.Identity(), InnerProductDecoder(), max_pairs=0)
    model, data = model_and_data("ncn")
    del data.pairs
    with pytest.raises(DataError, match=r"reads data\.pairs, which is missing"):
        model(data)
