"""SPE and SignNet against dense computations graph by graph, and the properties that they are made for."""

import copy
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import networkx as nx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch_geometric.data import Batch, Data

from gnnkit import Graph, nn
from gnnkit.encodings import LaplacianEigenvectors
from gnnkit.errors import ConfigError, DataError, DtypeError, IndexRangeError, ShapeError

SMALL: dict[str, Any] = {"channels": 3, "phi_channels": 4, "hidden_channels": 8, "num_layers": 2}
SPES: dict[str, Callable[..., nn.SPE]] = {
    "mlp": lambda **more: nn.SPE(5, **SMALL, **more).double(),
    "deep_sets": lambda **more: nn.SPE(5, phi="deep_sets", mlp_layers=2, **SMALL, **more).double(),
    "no_norm": lambda **more: nn.SPE(5, norm="none", **SMALL, **more).double(),
    "one_layer": lambda **more: nn.SPE(5, channels=2, phi_layers=1, num_layers=1, mlp_layers=1, **more).double(),
    "blocks": lambda **more: nn.SPE(5, column_block=2, **SMALL, **more).double(),
}
WIDTHS: dict[str, Any] = {"hidden_channels": 8, "num_layers": 2, "rho_layers": 2}
SIGN_NETS: dict[str, Callable[[], nn.SignNet]] = {
    "gin": lambda: nn.SignNet(5, **WIDTHS).double(),
    "mlp": lambda: nn.SignNet(5, phi="mlp", norm="layer", **WIDTHS).double(),
    "concat": lambda: nn.SignNet(5, combine="concat", k=6, norm="none", **WIDTHS).double(),
    "eigenvalues": lambda: nn.SignNet(5, use_eigenvalues=True, **WIDTHS).double(),
}
ENCODERS: dict[str, Callable[[], torch.nn.Module]] = {**SPES, **{f"sign_{k}": v for k, v in SIGN_NETS.items()}}
SYMMETRIC = {
    "C_7": nx.cycle_graph(7),
    "C_8": nx.cycle_graph(8),
    "K_6": nx.complete_graph(6),
    "Q_3": nx.convert_node_labels_to_integers(nx.hypercube_graph(3)),
}


def topology(graph: nx.Graph) -> Graph:
    edges = torch.tensor(list(graph.to_directed().edges), dtype=torch.int64).reshape(-1, 2).t().contiguous()
    return Graph.from_edge_index(edges, graph.number_of_nodes())


def eigenpairs(adjacency: Tensor, k: int | None = None) -> tuple[Tensor, Tensor]:
    """Non-trivial eigenpairs of the normalised Laplacian of a connected graph, float64."""
    root = adjacency.sum(1).rsqrt()
    values, vectors = torch.linalg.eigh(torch.eye(len(root)).double() - root[:, None] * adjacency * root)
    return vectors[:, 1:][:, :k], values[1:][:k].unsqueeze(0)


def adjacency_of(graph: nx.Graph) -> Tensor:
    return torch.from_numpy(nx.to_numpy_array(graph))


def rotated(vectors: Tensor, values: Tensor, seed: int = 0) -> Tensor:
    """Another basis of each eigenspace."""
    generator = torch.Generator().manual_seed(seed)
    out, value = vectors.clone(), values.flatten()
    begins = [0, *((value.diff() > 1e-6).nonzero().flatten() + 1).tolist(), len(value)]
    for begin, end in pairwise(begins):
        square = torch.randn(end - begin, end - begin, dtype=torch.float64, generator=generator)
        out[:, begin:end] = vectors[:, begin:end] @ torch.linalg.qr(square).Q
    return out


def flipped(vectors: Tensor) -> Tensor:
    signs = torch.ones(vectors.size(1), dtype=vectors.dtype)
    signs[::2] = -1
    return vectors * signs


class Inputs:
    """Random graphs side by side with their eigenpairs, of which small ones have fewer than ``k``."""

    def __init__(self, sizes: list[int], k: int = 6, seed: int = 0) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.sizes, self.k = sizes, k
        self.ptr = torch.tensor([0, *sizes]).cumsum(0)
        edges, self.vectors = [], torch.zeros(sum(sizes), k, dtype=torch.float64)
        self.values = torch.zeros(len(sizes), k, dtype=torch.float64)
        self.mask = torch.zeros(len(sizes), k, dtype=torch.bool)
        for number, (begin, end) in enumerate(pairwise(self.ptr.tolist())):
            size = end - begin
            if size < 2:
                continue
            adjacency = torch.zeros(size, size, dtype=torch.float64)
            chosen = torch.randint(size, (2, 2 * size), generator=generator)
            path = torch.stack([torch.arange(size - 1), torch.arange(1, size)])
            for source, target in torch.cat([chosen, path], dim=1).t().tolist():
                if source != target:
                    adjacency[source, target] = adjacency[target, source] = 1
            edges.append(adjacency.nonzero().t() + begin)
            vectors, values = eigenpairs(adjacency, k)
            count = vectors.size(1)
            self.vectors[begin:end, :count], self.values[number, :count] = vectors, values
            self.mask[number, :count] = True
        self.edge_index = torch.cat([torch.empty((2, 0), dtype=torch.int64), *edges], dim=1)
        self.graph = Graph.from_edge_index(self.edge_index, sum(sizes))

    def of(self, number: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Vectors, eigenvalues, mask and dense adjacency matrix of one graph."""
        begin, end = self.ptr[number : number + 2].tolist()
        source, target = self.edge_index
        inside = (source >= begin) & (source < end)
        adjacency = torch.zeros(end - begin, end - begin, dtype=torch.float64)
        adjacency[target[inside] - begin, source[inside] - begin] = 1
        return self.vectors[begin:end], self.values[number], self.mask[number], adjacency

    def encode(self, encoder: torch.nn.Module) -> Tensor:
        return encoder(self.vectors, self.values, self.graph, ptr=self.ptr, mask=self.mask)


SIZES = [5, 0, 1, 9, 2, 7, 0]


def dense_phi(networks: Any, values: Tensor) -> Tensor:
    """``[k] -> [k, m]``: each channel a loop over layers of its own."""
    out = []
    for channel in range(networks.weights[0].size(0)):
        x = values.unsqueeze(1)
        for layer, (weight, bias) in enumerate(zip(networks.weights, networks.biases, strict=True)):
            y = x @ weight[channel] + bias[channel]
            if len(networks.pooled) > 0:
                y = y + x.sum(0, keepdim=True) @ networks.pooled[layer][channel]
            x = y.relu() if layer < len(networks.weights) - 1 else y
        out.append(x)
    return torch.cat(out, dim=1)


def dense_mlp(mlp: Any, x: Tensor) -> Tensor:
    for layer, linear in enumerate(mlp.linears):
        x = linear(x)
        if layer < len(mlp.norms):
            norm = mlp.norms[layer].norm
            x = (x if norm is None else norm(x)).relu()
    return x


def dense_gin(gin: Any, x: Tensor, adjacency: Tensor) -> Tensor:
    """``x``, ``[n, F]``, on one graph."""
    for layer, mlp in enumerate(gin.mlps):
        x = dense_mlp(mlp, adjacency @ x + (1 + gin.eps[layer]) * x)
        if layer < len(gin.norms) and gin.norms[layer].norm is not None:
            x = gin.norms[layer].norm(x)
    return x


def dense_spe(spe: Any, vectors: Tensor, values: Tensor, mask: Tensor, adjacency: Tensor) -> Tensor:
    """The definition: the stacked matrices ``[n, n, m]``, the GIN on each column of them, the sum over columns."""
    vectors, weight = vectors[:, mask], dense_phi(spe.phi, values[mask])
    stacked = torch.stack([vectors @ weight[:, c].diag() @ vectors.T for c in range(weight.size(1))], dim=2)
    columns = [dense_gin(spe.rho, stacked[:, j], adjacency) for j in range(len(vectors))]
    return torch.stack([*columns, torch.zeros(len(vectors), 5).double()]).sum(0)


def dense_sign_net(net: Any, vectors: Tensor, values: Tensor, mask: Tensor, adjacency: Tensor) -> Tensor:
    def phi(column: Tensor, value: Tensor) -> Tensor:
        x = column.unsqueeze(1)
        if net.reads_eigenvalues:
            x = torch.cat([x, value.expand_as(x)], dim=1)
        return dense_gin(net.phi, x, adjacency) if hasattr(net.phi, "eps") else dense_mlp(net.phi, x)

    columns = []
    for column, value, present in zip(vectors.T, values, mask, strict=True):
        columns.append((phi(column, value) + phi(-column, value)) * present)
    joined = torch.stack(columns, dim=1)
    return dense_mlp(net.rho, joined.flatten(1) if net.combine == "concat" else joined.sum(1))


def trained(encoder: torch.nn.Module) -> torch.nn.Module:
    """In evaluation, with parameters and statistics that are nowhere 0 or 1."""
    for parameter in encoder.parameters():
        torch.nn.init.uniform_(parameter, -0.6, 0.6)
    for name, buffer in encoder.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            torch.nn.init.uniform_(buffer, 0.5, 1.5)
    return encoder.eval()


@pytest.mark.parametrize("name", ENCODERS)
def test_a_batch_gives_what_the_definition_gives_graph_by_graph(name: str):
    inputs, encoder = Inputs(SIZES), trained(ENCODERS[name]())
    dense = dense_spe if isinstance(encoder, nn.SPE) else dense_sign_net
    expected = torch.cat([dense(encoder, *inputs.of(number)) for number in range(len(SIZES))])
    out = inputs.encode(encoder)
    assert out.shape == (sum(SIZES), 5)
    torch.testing.assert_close(out, expected)
    wanted, upstream = list(encoder.parameters()), torch.randn_like(out)
    ours = torch.autograd.grad(out, wanted, upstream, allow_unused=True)
    theirs = torch.autograd.grad(expected, wanted, upstream, allow_unused=True)
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other)


@pytest.mark.parametrize("name", ENCODERS)
def test_eigenvalues_and_masks_may_have_a_row_per_node(name: str):
    inputs, encoder = Inputs(SIZES), trained(ENCODERS[name]())
    of_node = torch.repeat_interleave(inputs.ptr.diff())
    out = encoder(inputs.vectors, inputs.values[of_node], inputs.graph, ptr=inputs.ptr.int(), mask=inputs.mask[of_node])
    assert torch.equal(out, inputs.encode(encoder))


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", ENCODERS)
def test_what_stands_in_missing_columns_does_not_matter(name: str, training: bool):
    inputs = Inputs(SIZES)
    encoder = trained(ENCODERS[name]()).train(training)
    other = copy.deepcopy(encoder)
    expected = inputs.encode(encoder)
    for junk in (torch.nan, 1e3):
        again = copy.deepcopy(other)
        of_node = torch.repeat_interleave(inputs.ptr.diff())
        vectors = inputs.vectors.masked_fill(~inputs.mask[of_node], junk).requires_grad_()
        values = inputs.values.masked_fill(~inputs.mask, junk)
        out = again(vectors, values, inputs.graph, ptr=inputs.ptr, mask=inputs.mask)
        assert torch.equal(out, expected)
        assert torch.equal(again(vectors, values[of_node], inputs.graph, ptr=inputs.ptr, mask=inputs.mask), expected)
        (grad,) = torch.autograd.grad(out.square().sum(), vectors)
        assert grad.isfinite().all()
        assert not grad[~inputs.mask[of_node]].any()


@pytest.mark.parametrize("name", ["mlp", "deep_sets", "blocks", "sign_gin", "sign_mlp", "sign_eigenvalues"])
def test_more_missing_columns_do_not_matter(name: str):
    inputs, encoder = Inputs(SIZES), trained(ENCODERS[name]()).train()
    other = copy.deepcopy(encoder)
    more = torch.nn.functional.pad
    out = other(
        more(inputs.vectors, (0, 4), value=2.0),
        more(inputs.values, (0, 4), value=3.0),
        inputs.graph,
        ptr=inputs.ptr,
        mask=more(inputs.mask, (0, 4)),
    )
    torch.testing.assert_close(out, inputs.encode(encoder))


@pytest.mark.parametrize("graph", SYMMETRIC)
@pytest.mark.parametrize("name", SPES)
def test_spe_depends_on_no_basis(name: str, graph: str):
    spe = trained(SPES[name]())
    vectors, values = eigenpairs(adjacency_of(SYMMETRIC[graph]))
    edges = topology(SYMMETRIC[graph])
    expected = spe(vectors, values, edges)
    for seed in range(3):
        torch.testing.assert_close(spe(rotated(vectors, values, seed), values, edges), expected)
    torch.testing.assert_close(spe(flipped(vectors), values, edges), expected)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("graph", SYMMETRIC)
@pytest.mark.parametrize("name", SIGN_NETS)
def test_sign_net_depends_on_no_sign(name: str, graph: str, training: bool):
    net = trained(SIGN_NETS[name]()).train(training)
    other = copy.deepcopy(net)
    vectors, values = eigenpairs(adjacency_of(SYMMETRIC[graph]))
    vectors, values = vectors[:, :6], values[:, :6]
    if vectors.size(1) < 6:
        vectors, values = (torch.nn.functional.pad(value, (0, 6 - value.size(1))) for value in (vectors, values))
    edges = topology(SYMMETRIC[graph])
    torch.testing.assert_close(other(flipped(vectors), values, edges), net(vectors, values, edges))
    assert (vectors - flipped(vectors)).abs().max() > 0.1


def homogeneous_sign_net() -> torch.nn.Module:
    """Without biases, which would drown short vectors: twice the vectors, twice the result."""
    net = nn.SignNet(5, norm="none", num_layers=2, hidden_channels=32, rho_layers=2).double()
    for name, parameter in net.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.zeros_(parameter)
    return net


@pytest.mark.parametrize("graph", SYMMETRIC)
def test_sign_net_and_plain_vectors_do_depend_on_the_basis(graph: str):
    net = homogeneous_sign_net()
    vectors, values = eigenpairs(adjacency_of(SYMMETRIC[graph]))
    turned, edges = rotated(vectors, values), topology(SYMMETRIC[graph])
    torch.testing.assert_close(net(flipped(vectors), values, edges), net(vectors, values, edges))
    for one, other in ((vectors, turned), (net(vectors, values, edges), net(turned, values, edges))):
        assert (one - other).norm() > 1e-3 * one.norm()
        # Not even as a set of rows, which another order of the nodes would explain.
        assert (one.sort(0).values - other.sort(0).values).norm() > 1e-3 * one.norm()


def test_a_cut_eigenspace_is_invariant_with_a_soft_cut_only():
    edges = topology(SYMMETRIC["C_8"])
    every, values = eigenpairs(adjacency_of(SYMMETRIC["C_8"]))
    turned = rotated(every, values)
    # Eigenvalues in pairs: three columns cut the second pair.
    hard, soft = trained(SPES["mlp"]()), trained(SPES["mlp"](soft_cut=0.3))
    for spe, holds in ((hard, False), (soft, True)):
        out, other = (spe(vectors[:, :3], values[:, :3], edges) for vectors in (every, turned))
        assert ((out - other).abs().max() < 1e-9) == holds
    whole, other = (hard(vectors[:, :4], values[:, :4], edges) for vectors in (every, turned))
    torch.testing.assert_close(whole, other)


def test_a_soft_cut_leaves_complete_graphs_and_low_eigenvalues_alone():
    inputs = Inputs([5, 12], k=6)
    plain, soft = trained(SPES["mlp"]()), trained(SPES["mlp"](soft_cut=0.05))
    soft.load_state_dict(plain.state_dict())
    out, faded = inputs.encode(plain), inputs.encode(soft)
    torch.testing.assert_close(out[:5], faded[:5])
    assert (out[5:] - faded[5:]).abs().max() > 1e-3
    fade = ((inputs.values[1, -1] - inputs.values[1]) / 0.05).clamp(0, 1)
    assert 1 < int((fade == 1).sum()) < 6, "the example must have both"
    vectors, values, mask, adjacency = inputs.of(1)
    weight = dense_phi(plain.phi, values) * fade.unsqueeze(1)
    stacked = torch.einsum("ik,kc,jk->ijc", vectors, weight, vectors)
    expected = torch.stack([dense_gin(plain.rho, stacked[:, j], adjacency) for j in range(12)]).sum(0)
    assert mask.all()
    torch.testing.assert_close(faded[5:], expected)


def perturbed(graph: nx.Graph, size: float) -> Tensor:
    """The adjacency matrix with weights ``1 + size * u`` for fixed ``u``."""
    noise = torch.randn(len(graph), len(graph), dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    adjacency = adjacency_of(graph)
    return adjacency * (1 + size * (noise + noise.T).clamp(-1, 1))


@pytest.mark.parametrize(
    ("name", "graph"),
    # With a soft cut K_6, of one eigenvalue, has nothing left that could change.
    [
        (name, graph)
        for name in ("mlp", "deep_sets", "soft_cut")
        for graph in SYMMETRIC
        if name + graph != "soft_cutK_6"
    ],
)
@torch.no_grad()
def test_spe_changes_as_little_as_the_graph(name: str, graph: str):
    spe = trained(SPES["mlp"](soft_cut=0.2) if name == "soft_cut" else SPES[name]())
    k = 5 if name == "soft_cut" else None  # cuts an eigenspace of each
    edges = topology(SYMMETRIC[graph])

    def encode(size: float) -> Tensor:
        return spe(*eigenpairs(perturbed(SYMMETRIC[graph], size), k), edges)

    still = encode(0.0)
    change = {size: float((encode(size) - still).norm() / still.norm()) for size in (1e-3, 1e-6, 1e-7)}
    assert 0 < change[1e-6] < 50 * 1e-6
    assert change[1e-3] < 50 * 1e-3
    assert 0.1 < change[1e-6] / (10 * change[1e-7]) < 10
    assert 0.03 < change[1e-3] / (1e3 * change[1e-6]) < 30


@pytest.mark.parametrize("graph", SYMMETRIC)
def test_sign_net_changes_much_however_small_the_change_of_the_graph(graph: str):
    net, edges = homogeneous_sign_net(), topology(SYMMETRIC[graph])
    basis = rotated(*eigenpairs(adjacency_of(SYMMETRIC[graph])))
    values = eigenpairs(adjacency_of(SYMMETRIC[graph]))[1]
    still = net(basis, values, edges)
    for size in (1e-3, 1e-6):
        moved = net(*eigenpairs(perturbed(SYMMETRIC[graph], size)), edges)
        assert (moved - still).norm() > 0.01 * still.norm()


@pytest.mark.parametrize("name", ENCODERS)
@given(seed=st.integers(0, 10**6), sizes=st.lists(st.integers(0, 9), min_size=1, max_size=4))
@settings(max_examples=8, deadline=None, derandomize=True)
def test_another_order_of_the_nodes_reorders_the_result(name: str, seed: int, sizes: list[int]):
    torch.manual_seed(seed)
    inputs, encoder = Inputs(sizes, seed=seed), trained(ENCODERS[name]())
    order = torch.cat(
        [begin + torch.randperm(end - begin) for begin, end in pairwise(inputs.ptr.tolist())] or [torch.empty(0)]
    ).long()
    place = torch.empty_like(order)
    place[order] = torch.arange(len(order))
    relabelled = Graph.from_edge_index(place[inputs.edge_index], len(order))
    out = encoder(inputs.vectors[order], inputs.values, relabelled, ptr=inputs.ptr, mask=inputs.mask)
    torch.testing.assert_close(out, inputs.encode(encoder)[order])


@pytest.mark.parametrize("name", ["mlp", "deep_sets", "no_norm"])
@given(sizes=st.lists(st.integers(0, 7), max_size=6), block=st.integers(1, 9), seed=st.integers(0, 100))
@settings(max_examples=8, deadline=None, derandomize=True)
def test_blocks_of_columns_change_nothing(name: str, sizes: list[int], block: int, seed: int):
    inputs, whole = Inputs(sizes, seed=seed), trained(SPES[name]())
    blocked = SPES[name](column_block=block)
    blocked.load_state_dict(whole.state_dict())
    results = []
    for spe in (whole, blocked):
        vectors = inputs.vectors.clone().requires_grad_()
        out = spe(vectors, inputs.values, inputs.graph, ptr=inputs.ptr, mask=inputs.mask)
        grads = torch.autograd.grad(out.square().sum(), [vectors, *spe.parameters()])
        results.append((out, *grads))
        with torch.no_grad():
            again = spe(vectors, inputs.values, inputs.graph, ptr=inputs.ptr, mask=inputs.mask)
        assert torch.equal(again, out)
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other)


class LargestTensor(TorchDispatchMode):
    """The most elements that any tensor made meanwhile has had."""

    def __init__(self) -> None:
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for value in out if isinstance(out, tuple | list) else [out]:
            if isinstance(value, Tensor):
                self.elements = max(self.elements, value.untyped_storage().nbytes() // value.element_size())
        return out


def test_memory_is_linear_in_the_pairs_within_graphs():
    sizes = [60] + [3] * 200
    inputs, pairs, width = Inputs(sizes, k=8), sum(size * size for size in sizes), 32
    largest = {}
    for block in (None, 4):
        spe = nn.SPE(5, channels=4, phi_channels=2, hidden_channels=width, num_layers=2, column_block=block).double()
        with LargestTensor() as seen:
            inputs.encode(spe).sum().backward()
        largest[block] = seen.elements
    # Padded to the largest graph it would be 660 * 60 * 32, seven times as much.
    assert pairs * width <= largest[None] < 1.2 * pairs * width
    assert largest[4] <= max(1.2 * 4 * 60 * width, 660 * 32)


def test_memory_does_not_grow_with_pairs_times_eigenvectors():
    inputs = Inputs([64], k=63)
    spe = nn.SPE(5, channels=4, hidden_channels=16, num_layers=1).double()
    with LargestTensor() as seen:
        inputs.encode(spe).sum().backward()
    assert seen.elements <= 64 * 64 * 16


def test_gradients_are_those_of_finite_differences():
    inputs = Inputs([4, 0, 1, 3], k=3)
    for name, encoder in ENCODERS.items():
        if name == "sign_concat":
            continue
        module = trained(encoder())
        parameters = {key: value.detach().requires_grad_() for key, value in module.named_parameters()}

        def encode(vectors: Tensor, values: Tensor, *given: Tensor, module=module, names=tuple(parameters)) -> Tensor:
            arguments = (vectors, values, inputs.graph)
            keywords = {"ptr": inputs.ptr, "mask": inputs.mask}
            return torch.func.functional_call(module, dict(zip(names, given, strict=True)), arguments, keywords)

        vectors, values = inputs.vectors.clone().requires_grad_(), inputs.values.clone().requires_grad_()
        assert torch.autograd.gradcheck(encode, (vectors, values, *parameters.values()), fast_mode=True), name


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize("name", ["mlp", "deep_sets", "sign_gin", "sign_mlp"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_results_and_gradients_repeat_bitwise(name: str, dtype: torch.dtype):
    assert_repeats(Inputs([9, 0, 3, 14]), trained(ENCODERS[name]()).to(dtype).train())


def test_results_and_gradients_of_blocks_repeat_bitwise():
    assert_repeats(Inputs([5, 0, 3, 7]), trained(SPES["blocks"]()))


def assert_repeats(inputs: Inputs, encoder: torch.nn.Module) -> None:
    first: list[Tensor] | None = None
    for _ in range(3):
        out = inputs.encode(encoder)
        assert out.dtype == next(encoder.parameters()).dtype
        grads = torch.autograd.grad(out.square().sum(), list(encoder.parameters()), allow_unused=True)
        results = [out, *(grad for grad in grads if grad is not None)]
        first = first or results
        assert all(torch.equal(one, other) for one, other in zip(first, results, strict=True))


@pytest.mark.usefixtures("nan_filled_memory")
@pytest.mark.parametrize("name", ["mlp", "deep_sets", "blocks", "sign_gin"])
def test_nothing_is_read_that_was_not_written(name: str):
    assert Inputs(SIZES).encode(trained(ENCODERS[name]())).isfinite().all()


@pytest.mark.parametrize("name", ENCODERS)
def test_graphs_without_nodes_or_edges_and_without_eigenvectors(name: str):
    encoder = trained(ENCODERS[name]())
    for sizes in ([], [0], [0, 0], [1], [1, 1, 1]):
        out = Inputs(sizes).encode(encoder)
        assert out.shape == (sum(sizes), 5)
        assert out.isfinite().all()
    if name != "sign_concat":
        inputs = Inputs([3, 4], k=0)
        assert inputs.encode(encoder).shape == (7, 5)


def test_one_row_of_statistics_is_refused_with_the_way_out():
    net = SIGN_NETS["gin"]().train()
    with pytest.raises(ShapeError, match="norm='layer'"):
        Inputs([1]).encode(net)


@pytest.fixture
def graphs() -> list[Data]:
    generator = torch.Generator().manual_seed(1)
    found = []
    for size, edges in ((6, 8), (3, 0), (1, 0), (9, 14), (4, 3)):
        pairs = torch.randint(size, (2, edges), generator=generator)
        found.append(Data(edge_index=torch.cat([pairs, pairs.flip(0)], dim=1), num_nodes=size, x=torch.zeros(size, 1)))
    return [LaplacianEigenvectors(6)(data) for data in found]


@pytest.mark.parametrize("name", ENCODERS)
def test_data_and_batches_are_read_as_the_transform_writes_them(name: str, graphs: list[Data]):
    encoder: Any = trained(ENCODERS[name]())
    batch: Any = Batch.from_data_list(list[Any](graphs))
    out = encoder.encode_data(batch)
    torch.testing.assert_close(out, torch.cat([encoder.encode_data(data) for data in graphs]))
    batch.graph = Graph.from_edge_index(batch.edge_index, batch.num_nodes)
    assert torch.equal(encoder.encode_data(batch), out)
    # As many graphs as nodes, and yet rows of nodes.
    odd = Data(**{key: value for key, value in graphs[3].to_dict().items() if key != "num_nodes"})
    odd.ptr = torch.tensor([0, 9, *[9] * 8])
    torch.testing.assert_close(encoder.encode_data(odd), encoder.encode_data(graphs[3]))


def test_other_attribute_names_are_read_and_missing_ones_named(graphs: list[Data]):
    spe: Any = trained(SPES["mlp"]())
    data = LaplacianEigenvectors(6, attr_name="lap")(graphs[0].clone())
    assert torch.equal(spe.encode_data(data, attr_name="lap"), spe.encode_data(graphs[0]))
    del data.lap_mask
    with pytest.raises(DataError, match=r"data\.lap_mask"):
        spe.encode_data(data, attr_name="lap")


@pytest.mark.parametrize("name", ["deep_sets", "sign_eigenvalues"])
def test_encoders_compile_in_one_graph(name: str):
    inputs, encoder = Inputs(SIZES), trained(ENCODERS[name]())
    more = {"pairs": nn.NodePairs.of(inputs.graph, inputs.ptr)} if isinstance(encoder, nn.SPE) else {}
    compiled = torch.compile(encoder, backend="aot_eager", fullgraph=True)
    out = compiled(inputs.vectors, inputs.values, inputs.graph, ptr=inputs.ptr, mask=inputs.mask, **more)
    expected = inputs.encode(encoder)
    torch.testing.assert_close(out, expected)
    upstream = torch.randn_like(out)
    wanted = [parameter for parameter in encoder.parameters() if parameter.requires_grad]
    ours = torch.autograd.grad(out, wanted, upstream, allow_unused=True)
    theirs = torch.autograd.grad(expected, wanted, upstream, allow_unused=True)
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other)


def test_spe_compiles_in_parts_without_pairs():
    inputs, spe = Inputs(SIZES), trained(SPES["one_layer"]())
    compiled = torch.compile(spe, backend="aot_eager")
    out = compiled(inputs.vectors, inputs.values, inputs.graph, ptr=inputs.ptr, mask=inputs.mask)
    torch.testing.assert_close(out, inputs.encode(spe))


def test_pairs_are_listed_by_column():
    inputs = Inputs([2, 0, 3])
    found = nn.NodePairs.of(inputs.graph, inputs.ptr)
    column, node = found.pairs.edge_index
    assert column.tolist() == [0, 0, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4]
    assert node.tolist() == [0, 1, 0, 1, 2, 3, 4, 2, 3, 4, 2, 3, 4]
    pairs = list(zip(node.tolist(), column.tolist(), strict=True))
    edges = {(*pairs[p], *pairs[q]) for p, q in found.topology.edge_index.t().tolist()}
    expected = {(i, j, k, j) for i, k in inputs.edge_index.t().tolist() for j in range(5) if (i, j) in pairs}
    assert edges == expected
    assert found.topology.num_edges == len(expected)
    turned = found.topology.transpose()
    assert torch.equal(turned.edge_index.sort().values, found.topology.edge_index.flip(0).sort().values)


def test_what_does_not_fit_is_refused():
    inputs, spe = Inputs([3, 4]), SPES["mlp"]()
    graph, ptr = inputs.graph, inputs.ptr
    with pytest.raises(ShapeError, match=r"vectors must have shape \[7, k\]"):
        spe(inputs.vectors[:6], inputs.values, graph, ptr=ptr)
    with pytest.raises(ShapeError, match=r"eigenvalues must have shape \[2, 6\]"):
        spe(inputs.vectors, inputs.values[:, :5], graph, ptr=ptr)
    with pytest.raises(ShapeError, match="SPE needs eigenvalues"):
        spe(inputs.vectors, None, graph, ptr=ptr)
    with pytest.raises(DtypeError, match="mask must be bool"):
        spe(inputs.vectors, inputs.values, graph, ptr=ptr, mask=inputs.mask.double())
    with pytest.raises(ShapeError, match="mask must have shape"):
        spe(inputs.vectors, inputs.values, graph, ptr=ptr, mask=inputs.mask[:1])
    with pytest.raises(IndexRangeError):
        spe(inputs.vectors, inputs.values, graph, ptr=torch.tensor([0, 3, 6]))
    crossing = Graph.from_edge_index(torch.tensor([[0], [3]]), 7)
    with pytest.raises(DataError, match="from graph 0 of the batch to graph 1"):
        spe(inputs.vectors, inputs.values, crossing, ptr=ptr)
    values = inputs.values[torch.repeat_interleave(ptr.diff())]
    values[5, 0] = 0.7
    with pytest.raises(DataError, match="node 5"):
        spe(inputs.vectors, values, graph, ptr=ptr)
    pairs = nn.NodePairs.of(graph, ptr)
    with pytest.raises(ShapeError, match="pairs must be those of 1 graphs"):
        spe(inputs.vectors, inputs.values[:1], graph, pairs=pairs)
    with pytest.raises(ConfigError, match="column_block"):
        SPES["blocks"]()(inputs.vectors, inputs.values, graph, ptr=ptr, pairs=pairs)
    net = SIGN_NETS["concat"]()
    with pytest.raises(ShapeError, match=r"\[N, 6\]"):
        net(inputs.vectors[:, :5], None, graph, ptr=ptr)
    with pytest.raises(ShapeError, match="needs eigenvalues"):
        SIGN_NETS["eigenvalues"]()(inputs.vectors, None, graph, ptr=ptr)


def test_settings_out_of_range_are_refused():
    bad: list[tuple[Callable[..., object], dict[str, Any]]] = [
        (nn.SPE, {"channels": 0}),
        (nn.SPE, {"phi": "transformer"}),
        (nn.SPE, {"norm": "batch"}),
        (nn.SPE, {"soft_cut": 0.0}),
        (nn.SPE, {"column_block": 0}),
        (nn.SignNet, {"phi": "gcn"}),
        (nn.SignNet, {"combine": "concat"}),
        (nn.SignNet, {"norm": "graph"}),
        (nn.SignNet, {"rho_layers": 0}),
    ]
    for module, keywords in bad:
        with pytest.raises(ConfigError, match=next(iter(keywords))):
            module(5, **keywords)
