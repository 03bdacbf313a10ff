"""Jacobians against closed forms and dense ones, the Dirichlet energy against its matrix, the bound against both."""

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch_geometric.data import Batch, Data

from gnnkit import Graph, nn
from gnnkit.errors import BackendError, ConfigError, DataError, IndexRangeError, ShapeError
from gnnkit.geometry import commute_time_bound, dirichlet_energy, jacobian_sensitivity
from gnnkit.ops import spmm


def both(pairs: list[tuple[int, int]]) -> Tensor:
    ends = torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2).T
    return torch.cat([ends, ends.flip(0)], 1)


def adjacency(edge_index: Tensor, num_nodes: int, weight: Tensor | None = None) -> Tensor:
    values = torch.ones(edge_index.size(1), dtype=torch.float64) if weight is None else weight.double()
    dense = torch.zeros(num_nodes, num_nodes, dtype=torch.float64)
    return dense.index_put((edge_index[0], edge_index[1]), values, accumulate=True)


def normalized(dense: Tensor) -> Tensor:
    scale = dense.sum(1).rsqrt().nan_to_num(posinf=0)
    return scale[:, None] * dense * scale


def random_graph(seed: int, num_nodes: int, p: float) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    upper = torch.rand(num_nodes, num_nodes, generator=generator).triu(1)
    ends = ((upper > 0) & (upper < p)).nonzero().T
    return torch.cat([ends, ends.flip(0)], 1)


class Stack(torch.nn.Module):
    def __init__(self, widths: list[int], activation=None, dropout: float = 0.0, conv=nn.GCNConv, **settings) -> None:
        super().__init__()
        pairs = pairwise(widths)
        self.convs = torch.nn.ModuleList([conv(a, b, bias=False, **settings).double() for a, b in pairs])
        self.activation = activation or torch.nn.Identity()
        self.dropout = dropout

    def forward(self, x: Tensor, graph) -> Tensor:
        for conv in self.convs:
            x = torch.nn.functional.dropout(self.activation(conv(x, graph)), self.dropout, self.training)
        return x


@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_a_linear_network_has_powers_of_the_matrix_times_the_norm_of_its_weights(batch_size: int) -> None:
    edge_index, num_nodes = random_graph(3, 9, 0.3), 9
    model = Stack([3, 4, 5, 2])
    data = Data(x=torch.randn(num_nodes, 3, dtype=torch.float64), edge_index=edge_index)
    found = jacobian_sensitivity(model, data, batch_size=batch_size)
    hat = normalized(adjacency(edge_index, num_nodes) + torch.eye(num_nodes))
    weights = torch.eye(3, dtype=torch.float64)
    for conv in model.convs:
        weights = conv.lin.weight.detach() @ weights
    torch.testing.assert_close(found, hat.matrix_power(3) * weights.abs().sum())


def test_root_and_leaf_of_a_tree_are_joined_by_the_product_along_the_one_way() -> None:
    depth = 4
    num_nodes = 2 ** (depth + 1) - 1
    edge_index = both([(child, (child - 1) // 2) for child in range(1, num_nodes)])
    hat = normalized(adjacency(edge_index, num_nodes) + torch.eye(num_nodes))
    graph = Graph.from_edge_index(edge_index, num_nodes)
    weight = hat[edge_index[1], edge_index[0]]
    diagonal = hat.diagonal()[:, None]

    def model(x: Tensor, _: Graph) -> Tensor:
        for _layer in range(depth):
            x = spmm(graph, x, weight) + diagonal * x
        return x

    data = Data(x=torch.zeros(num_nodes, 1, dtype=torch.float64), edge_index=edge_index)
    leaves = torch.arange(2**depth - 1, num_nodes)
    found = jacobian_sensitivity(model, data, targets=torch.tensor([0]), sources=leaves)
    # Degrees with self-loops on the way: 3 at the root, 4 within, 2 at the leaf.
    expected = 1 / math.sqrt(3 * 4) / 4 ** (depth - 2) / math.sqrt(4 * 2)
    torch.testing.assert_close(found, torch.full((1, 2**depth), expected, dtype=torch.float64))


@settings(derandomize=True, max_examples=15, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 8), st.integers(1, 3))
def test_a_network_has_the_norms_of_its_dense_jacobian(seed: int, num_nodes: int, layers: int) -> None:
    torch.manual_seed(seed)
    edge_index = random_graph(seed, num_nodes, 0.4)
    hat = normalized(adjacency(edge_index, num_nodes) + torch.eye(num_nodes))
    model = Stack([2, *[3] * layers], torch.nn.Tanh())
    x = torch.randn(num_nodes, 2, dtype=torch.float64)
    weights = [conv.lin.weight.detach() for conv in model.convs]

    def dense(h: Tensor) -> Tensor:
        for weight in weights:
            h = torch.tanh(hat @ h @ weight.T)
        return h

    jacobian = torch.func.jacrev(dense)(x)
    found = jacobian_sensitivity(model, Data(x=x, edge_index=edge_index), batch_size=5)
    torch.testing.assert_close(found, jacobian.abs().sum((1, 3)))
    chosen, heard = torch.randperm(num_nodes)[:3], torch.randperm(num_nodes)[:2]
    part = jacobian_sensitivity(model, Data(x=x, edge_index=edge_index), targets=chosen, sources=heard)
    torch.testing.assert_close(part, found[chosen][:, heard])


def test_nothing_is_heard_from_beyond_as_many_hops_as_layers() -> None:
    edge_index = both([(i, i + 1) for i in range(9)])
    data = Data(x=torch.randn(10, 2, dtype=torch.float64), edge_index=edge_index)
    found = jacobian_sensitivity(Stack([2, 4, 4, 2]), data)
    distance = (torch.arange(10)[:, None] - torch.arange(10)).abs()
    assert torch.equal(found > 0, distance <= 3)


def test_a_batch_is_the_block_diagonal_of_its_graphs() -> None:
    model = Stack([2, 3, 3], torch.nn.ELU())
    graphs = [Data(x=torch.randn(n, 2, dtype=torch.float64), edge_index=random_graph(n, n, 0.5)) for n in (4, 1, 6)]
    expected = torch.block_diag(*(jacobian_sensitivity(model, graph) for graph in graphs))
    torch.testing.assert_close(jacobian_sensitivity(model, Batch.from_data_list(graphs)), expected)


def test_layers_of_pyg_are_called_as_they_want_to_be() -> None:
    from torch_geometric.nn import GCNConv

    edge_index = random_graph(5, 8, 0.4)
    theirs = GCNConv(3, 2, bias=False).double()
    data = Data(x=torch.randn(8, 3, dtype=torch.float64), edge_index=edge_index)
    found = jacobian_sensitivity(theirs, data, call=lambda model, x, data: model(x, data.edge_index))
    hat = normalized(adjacency(edge_index, 8) + torch.eye(8))
    torch.testing.assert_close(found, hat * theirs.lin.weight.detach().abs().sum())


def test_the_model_is_left_as_it_was_and_dropout_is_off() -> None:
    model = Stack([2, 3, 3], dropout=0.5)
    model.convs[1].eval()
    data = Data(x=torch.randn(5, 2, dtype=torch.float64), edge_index=random_graph(1, 5, 0.6))
    first = jacobian_sensitivity(model, data)
    assert torch.equal(first, jacobian_sensitivity(model, data))
    assert [module.training for module in (model, *model.convs)] == [True, True, False]
    assert all(parameter.grad is None for parameter in model.parameters())
    assert data.x.grad is None
    assert not first.requires_grad
    with torch.no_grad():
        assert torch.equal(first, jacobian_sensitivity(model, data))


def test_outputs_and_inputs_may_be_vectors_or_not_depend_on_each_other() -> None:
    data = Data(x=torch.tensor([1.0, 2.0, 3.0]), edge_index=both([(0, 1)]))
    square = jacobian_sensitivity(lambda x, _: x**2, data)
    assert torch.equal(square, torch.tensor([2.0, 4.0, 6.0]).diag())
    assert torch.equal(jacobian_sensitivity(lambda x, _: torch.ones(3, 2), data), torch.zeros(3, 3))
    parameter = torch.ones(3, requires_grad=True)
    for size in (1, 4):
        assert torch.equal(jacobian_sensitivity(lambda x, _: parameter * 2, data, batch_size=size), torch.zeros(3, 3))
    none = torch.empty(0, dtype=torch.int64)
    assert jacobian_sensitivity(lambda x, _: x, data, targets=none).shape == (0, 3)
    empty = Data(x=torch.zeros(0, 2), edge_index=torch.zeros(2, 0, dtype=torch.int64))
    assert jacobian_sensitivity(lambda x, _: x, empty).shape == (0, 0)


class Unvectorised(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        return 2 * x

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tensor:
        return grad * float(grad.sum().item() != 7) * 2


def test_what_torch_cannot_vectorise_is_told_and_can_be_done_one_by_one() -> None:
    data = Data(x=torch.ones(3, 1), edge_index=both([(0, 1)]))
    with pytest.raises(BackendError, match="give batch_size=1"):
        jacobian_sensitivity(lambda x, _: Unvectorised.apply(x), data)
    assert torch.equal(jacobian_sensitivity(lambda x, _: Unvectorised.apply(x), data, batch_size=1), 2 * torch.eye(3))


def test_bad_input_of_the_jacobian_is_refused() -> None:
    good = Data(x=torch.ones(3, 1), edge_index=both([(0, 1)]))

    def identity(x: Tensor, _) -> Tensor:
        return x

    for data in (
        Data(edge_index=good.edge_index),
        Data(x=torch.ones(3, 1, dtype=torch.int64), edge_index=good.edge_index),
    ):
        with pytest.raises(DataError, match="needs floating node features"):
            jacobian_sensitivity(identity, data)
    with pytest.raises(DataError, match=r"needs data\.edge_index"):
        jacobian_sensitivity(identity, Data(x=torch.ones(3, 1)))
    with pytest.raises(ShapeError, match="one row for each of the 3 nodes, got shape"):
        jacobian_sensitivity(lambda x, _: x.sum(0), good)
    with pytest.raises(ShapeError, match="one row for each of the 3 nodes, got tuple"):
        jacobian_sensitivity(lambda x, _: (x, x), good)
    with pytest.raises(IndexRangeError, match="sources"):
        jacobian_sensitivity(identity, good, sources=torch.tensor([3]))
    with pytest.raises(ShapeError, match="targets must be a vector of node numbers"):
        jacobian_sensitivity(identity, good, targets=torch.tensor([0.5]))
    with pytest.raises(ConfigError, match="batch_size must be at least 1"):
        jacobian_sensitivity(identity, good, batch_size=0)


@settings(derandomize=True, max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 9), st.booleans(), st.booleans())
def test_the_energy_is_that_of_the_matrix(seed: int, num_nodes: int, weighted: bool, self_loops: bool) -> None:
    generator = torch.Generator().manual_seed(seed)
    edge_index = random_graph(seed, num_nodes, 0.4)
    half = edge_index.size(1) // 2
    # Some edges stand twice, and one column is a self-loop, which must change nothing.
    twice = torch.cat([edge_index, edge_index[:, : half // 2], edge_index[:, half : half + half // 2]], 1)
    weight = None
    if weighted:
        value = torch.rand(half, generator=generator, dtype=torch.float64) + 0.1
        weight = torch.cat([value, value, value[: half // 2], value[: half // 2]])
    dense = adjacency(twice, num_nodes, weight)
    if self_loops:
        dense += torch.eye(num_nodes)
    laplacian = torch.diag((dense.sum(1) > 0).double()) - normalized(dense)
    x = torch.randn(num_nodes, 3, generator=generator, dtype=torch.float64)
    looped = torch.cat([twice, torch.zeros(2, 1, dtype=torch.int64)], 1)
    looped_weight = None if weight is None else torch.cat([weight, torch.ones(1)])
    found = dirichlet_energy(x, looped, num_nodes, weight=looped_weight, self_loops=self_loops)
    expected = (x.T @ laplacian @ x).trace()
    torch.testing.assert_close(found, expected)
    quotient = dirichlet_energy(x, looped, num_nodes, weight=looped_weight, self_loops=self_loops, normalized=True)
    torch.testing.assert_close(quotient, expected / x.square().sum())
    assert 0 <= float(quotient) <= 2 + 1e-12
    order = torch.randperm(num_nodes, generator=generator)
    moved = dirichlet_energy(x[order], order.argsort()[twice], num_nodes, weight=weight, self_loops=self_loops)
    torch.testing.assert_close(moved, found)


def test_the_energy_is_zero_only_where_features_follow_the_roots_of_the_degrees() -> None:
    edge_index = both([(0, 1), (1, 2), (0, 2), (2, 3), (4, 5)])
    degree = adjacency(edge_index, 7).sum(1)
    smooth = degree.sqrt()[:, None] * torch.tensor([[2.0, -3.0]], dtype=torch.float64)
    smooth[4:] *= 5  # another component
    smooth[6] = 9  # an isolated node
    assert float(dirichlet_energy(smooth, edge_index, 7)) < 1e-28
    assert float(dirichlet_energy(smooth + 0.1, edge_index, 7)) > 1e-3
    alternating = both([(0, 1), (1, 2), (2, 3), (3, 0)]), torch.tensor([1.0, -1, 1, -1])
    assert float(dirichlet_energy(alternating[1], alternating[0], 4, normalized=True)) == pytest.approx(2)


def test_a_small_energy_is_not_lost_in_rounding() -> None:
    edge_index = both([(i, (i + 1) % 6) for i in range(6)])
    x = torch.full((6,), 1000.0)
    x[0] += 1e-2
    # Two edges of a ring, degrees 2: 2 * (1e-2)^2 / 2.
    assert float(dirichlet_energy(x, edge_index, 6)) == pytest.approx(float(x[0] - 1000) ** 2, rel=1e-2)


def test_linear_layers_smooth_at_least_as_fast_as_their_second_eigenvalue() -> None:
    edge_index = random_graph(2, 12, 0.4)
    hat = normalized(adjacency(edge_index, 12) + torch.eye(12))
    mu = float(torch.linalg.eigvalsh(hat)[:-1].abs().max())
    assert mu < 1
    x = torch.randn(12, 2, dtype=torch.float64)
    energies = []
    for _ in range(8):
        energies.append(float(dirichlet_energy(x, edge_index, 12, self_loops=True)))
        x = hat @ x
    assert all(later <= mu**2 * earlier * (1 + 1e-9) for earlier, later in pairwise(energies))


def test_the_energy_has_first_and_second_derivatives() -> None:
    edge_index = random_graph(7, 5, 0.7)
    x = torch.randn(5, 2, dtype=torch.float64, requires_grad=True)
    for relative in (False, True):

        def energy(x: Tensor, relative: bool = relative) -> Tensor:
            return dirichlet_energy(x, edge_index, 5, normalized=relative)

        assert torch.autograd.gradcheck(energy, (x,))
        assert torch.autograd.gradgradcheck(energy, (x,))
    zero = torch.zeros(5, 2, requires_grad=True)
    value = dirichlet_energy(zero, edge_index, 5, normalized=True)
    value.backward()
    assert float(value.detach()) == 0
    assert bool(zero.grad.isfinite().all())


def test_graphs_without_edges_or_nodes_have_no_energy() -> None:
    none = torch.zeros(2, 0, dtype=torch.int64)
    assert float(dirichlet_energy(torch.ones(3, 2), none, 3)) == 0
    assert float(dirichlet_energy(torch.ones(0, 2), none, 0, normalized=True)) == 0
    assert dirichlet_energy(torch.ones(3), none, 3, self_loops=True).dtype == torch.float32


def test_bad_input_of_the_energy_is_refused() -> None:
    x, edge_index = torch.ones(3, 1), both([(0, 1)])
    with pytest.raises(DataError, match="both directions"):
        dirichlet_energy(x, edge_index[:, :1], 3)
    with pytest.raises(ShapeError, match="one floating row for each of the 4 nodes"):
        dirichlet_energy(x, edge_index, 4)
    with pytest.raises(ShapeError, match="one floating row"):
        dirichlet_energy(x.long(), edge_index, 3)
    for bad in (-1.0, 0.0, float("nan"), float("inf")):
        with pytest.raises(DataError, match="finite and positive"):
            dirichlet_energy(x, edge_index, 3, weight=torch.tensor([bad, bad]))
    with pytest.raises(IndexRangeError):
        dirichlet_energy(x, edge_index + 3, 3)


def resistance(dense: Tensor) -> Tensor:
    inverse = torch.linalg.pinv(dense.sum(1).diag() - dense, hermitian=True)
    return inverse.diagonal()[:, None] + inverse.diagonal() - 2 * inverse


LOLLIPOP = [(0, 1), (1, 2), (0, 2), (2, 3), (3, 4), (4, 5)]


@pytest.mark.parametrize("num_layers", [0, 1, 2, 5])
@pytest.mark.parametrize(("alpha", "beta"), [(1.0, 1.0), (0.5, 1.5)])
def test_the_bound_is_its_formula_and_above_the_jacobian(num_layers: int, alpha: float, beta: float) -> None:
    edge_index = both(LOLLIPOP)
    dense = adjacency(edge_index, 6)
    hat = normalized(dense)
    mu = float(torch.linalg.eigvalsh(hat)[:-1].abs().max())
    reach = num_layers + 1 + mu ** (num_layers + 1) / (1 - mu)
    expected = (2 * alpha * beta) ** num_layers * 3 / 2 * (2 / 1 * reach - resistance(dense))
    constants = {"num_layers": num_layers, "update_lipschitz": alpha, "message_lipschitz": beta}
    found = commute_time_bound(edge_index, 6, **constants)
    torch.testing.assert_close(found, expected)
    # The network that takes the constants to their limits: alpha h + alpha beta A h in each layer.
    layer = alpha * torch.eye(6, dtype=torch.float64) + alpha * beta * hat
    assert bool((layer.matrix_power(num_layers) <= found * (1 + 1e-12)).all())


def test_the_bound_of_several_components_is_that_of_each() -> None:
    parts = [both(LOLLIPOP), both([(0, 1), (1, 2), (2, 0)])]
    edge_index = torch.cat([parts[0], parts[1] + 6, both([(10, 11)])], 1)  # and node 9 alone
    found = commute_time_bound(edge_index, 12, num_layers=3)
    torch.testing.assert_close(found[:6, :6], commute_time_bound(parts[0], 6, num_layers=3))
    torch.testing.assert_close(found[6:9, 6:9], commute_time_bound(parts[1], 3, num_layers=3))
    assert float(found[9, 9]) == 8
    assert bool(found[10:, 10:].isinf().all()), "a bipartite component"
    component = torch.tensor([0] * 6 + [1] * 3 + [2] + [3] * 2)
    assert bool((found[component[:, None] != component] == 0).all())


def test_bad_input_of_the_bound_is_refused() -> None:
    edge_index = both(LOLLIPOP)
    for wrong, message in (
        ({"num_layers": -1}, "num_layers"),
        ({"num_layers": 1, "update_lipschitz": -1.0}, "update_lipschitz"),
        ({"num_layers": 1, "message_lipschitz": 0.5}, "message_lipschitz must be at least 1"),
        ({"num_layers": 1, "message_lipschitz": float("nan")}, "message_lipschitz"),
    ):
        with pytest.raises(ConfigError, match=message):
            commute_time_bound(edge_index, 6, **wrong)
    with pytest.raises(DataError, match="both directions"):
        commute_time_bound(edge_index[:, :6], 6, num_layers=1)
    with pytest.raises(DataError, match="self-loop"):
        commute_time_bound(torch.cat([edge_index, torch.zeros(2, 1, dtype=torch.int64)], 1), 6, num_layers=1)
