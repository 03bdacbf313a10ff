"""SPE and SignNet against their definitions graph by graph, and what they are robust to."""

import copy
from collections.abc import Callable
from typing import Any

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
from tests.nn.spectral_cases import (
    ENCODERS,
    SIGN_NETS,
    SIZES,
    SPES,
    Inputs,
    dense_sign_net,
    dense_spe,
    trained,
)


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
