"""Encoders of encodings: sets in any order, entries that are missing, gradients."""

from typing import Any

import networkx as nx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch_geometric.data import Batch

from gnnkit.encodings import LaplacianEigenvectors, RandomFeaturePropagation
from gnnkit.errors import ConfigError, ShapeError
from gnnkit.nn import BatchNorm, DeepSetsEncoder, EncodingConfig, EncodingEncoder
from tests.encodings.random_data import data_of

few = settings(max_examples=25, deadline=None, derandomize=True, database=None)


def sets(nodes: int = 6, entries: int = 5, in_dim: int = 2, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Values and a mask with full, partial and empty rows."""
    generator = torch.Generator().manual_seed(seed)
    value = torch.randn(nodes, entries, in_dim, dtype=torch.float64, generator=generator)
    mask = torch.rand(nodes, entries, generator=generator) < 0.6
    mask[0], mask[-1] = True, False
    return value, mask


def encoder(in_dim: int = 2, **arguments: Any) -> DeepSetsEncoder:
    torch.manual_seed(1)
    return DeepSetsEncoder(in_dim, 4, **({"hidden_dim": 7} | arguments)).double()


@pytest.mark.parametrize("num_layers", [1, 2, 3])
@pytest.mark.parametrize("num_post_layers", [0, 1, 2])
def test_a_set_is_encoded_entry_by_entry(num_layers: int, num_post_layers: int):
    module = encoder(num_layers=num_layers, num_post_layers=num_post_layers)
    value, mask = sets()
    out = module(value, mask=mask)
    assert out.shape == (6, 4)
    for node in range(6):
        total = torch.zeros(7 if num_post_layers else 4, dtype=torch.float64)
        for entry in range(5):
            if mask[node, entry]:
                total = total + module.entry_network(value[node, entry])
        torch.testing.assert_close(out[node], module.set_network(total))


@few
@given(seed=st.integers(0, 1000), nodes=st.integers(0, 7), entries=st.integers(0, 6))
def test_the_order_of_entries_does_not_matter_and_that_of_nodes_is_kept(seed: int, nodes: int, entries: int):
    generator = torch.Generator().manual_seed(seed)
    value = torch.randn(nodes, entries, 2, dtype=torch.float64, generator=generator)
    mask = torch.rand(nodes, entries, generator=generator) < 0.7
    module = encoder()
    out = module(value, mask=mask)
    columns, rows = torch.randperm(entries, generator=generator), torch.randperm(nodes, generator=generator)
    torch.testing.assert_close(module(value[:, columns], mask=mask[:, columns]), out)
    torch.testing.assert_close(module(value[rows], mask=mask[rows]), out[rows])
    torch.testing.assert_close(
        module(torch.cat([value, value.new_full((nodes, 2, 2), torch.nan)], 1), mask=_longer(mask, 2)), out
    )


def _longer(mask: Tensor, count: int) -> Tensor:
    return torch.cat([mask, mask.new_zeros(mask.size(0), count)], 1)


def test_a_sum_tells_multisets_apart():
    module = encoder(1)
    once, twice = torch.tensor([[1.0, 0.0]]).double(), torch.tensor([[1.0, 1.0]]).double()
    mask = torch.tensor([[True, False]])
    assert not torch.allclose(module(once, mask=mask), module(twice))


def test_nothing_missing_is_the_same_as_no_mask():
    value, mask = sets()
    torch.testing.assert_close(encoder()(value, mask=torch.ones_like(mask)), encoder()(value))


@pytest.mark.parametrize("missing", [torch.nan, torch.inf, 1e300])
def test_what_missing_entries_hold_reaches_neither_results_nor_gradients(missing: float):
    value, mask = sets()
    results = []
    for filling in (0.0, missing):
        module = encoder()
        given = value.masked_fill(~mask.unsqueeze(2), filling).requires_grad_()
        out = module(given, mask=mask)
        out.square().sum().backward()
        results.append([out, given.grad, *(parameter.grad for parameter in module.parameters())])
    for one, two in zip(*results, strict=True):
        assert torch.equal(one, two)
        assert one.isfinite().all()


def test_gradients_of_sets():
    value, mask = sets(4, 3)
    module = encoder()
    assert torch.autograd.gradcheck(lambda given: module(given, mask=mask), value.requires_grad_())
    parameters = tuple(module.parameters())
    names = [name for name, _ in module.named_parameters()]

    def call(*given: Tensor) -> Any:
        return torch.func.functional_call(
            module, dict(zip(names, given, strict=True)), (value.detach(),), {"mask": mask}
        )

    assert torch.autograd.gradcheck(call, parameters)


def test_eigenvectors_with_eigenvalues_and_draws_of_random_features_are_sets():
    graphs = [data_of(nx.path_graph(4)), data_of(nx.cycle_graph(9)), data_of(nx.complete_graph(2))]
    batch: Any = LaplacianEigenvectors(6)(Batch.from_data_list(graphs))
    batch = RandomFeaturePropagation(3, 2, num_draws=5)(batch)
    name = "laplacian_eigenvector_pe"
    vectors, values, mask = batch[name], batch[name + "_eigenvalue"], batch[name + "_mask"]
    module = DeepSetsEncoder(2, 8)
    out = module(vectors, values, mask=mask)
    alone = torch.cat(
        [module(*(part[batch.batch == g] for part in (vectors, values)), mask=mask[batch.batch == g]) for g in range(3)]
    )
    torch.testing.assert_close(out, alone)
    torch.testing.assert_close(out, module(torch.stack([vectors, values], 2), mask=mask))
    draws = batch.random_feature_propagation
    module = DeepSetsEncoder(9, 8)
    torch.testing.assert_close(module(draws), module(draws.flip(1)))


def test_compiles_without_a_break():
    module = encoder()
    value, mask = sets()
    torch.compiler.reset()
    compiled = torch.compile(module, backend="aot_eager", fullgraph=True, dynamic=True)
    torch.testing.assert_close(compiled(value, mask=mask), module(value, mask=mask))


def test_bad_sets_are_named():
    value, mask = sets()
    module = encoder()
    with pytest.raises(ShapeError, match=r"needs \[N, K, 2\], got \(6, 5, 3\)"):
        module(sets(in_dim=3)[0])
    with pytest.raises(ShapeError, match="give eigenvalue= too"):
        module(value[:, :, 0])
    with pytest.raises(ShapeError, match=r"both be \[N, K\]"):
        module(value[:, :, 0], value[:1, :, 0])
    for wrong in (mask[:, 1:], mask.float(), mask.unsqueeze(2)):
        with pytest.raises(ShapeError, match=r"mask must be bool \(6, 5\)"):
            module(value, mask=wrong)
    for arguments in ({"in_dim": 0}, {"dim": 0}, {"hidden_dim": 0}, {"num_layers": 0}, {"num_post_layers": -1}):
        with pytest.raises(ConfigError):
            DeepSetsEncoder(**({"in_dim": 1, "dim": 2} | arguments))


@pytest.mark.parametrize("momentum", [0.1, None])
def test_masked_normalisation_is_that_of_torch_where_all_is_there(momentum: float | None):
    x = torch.randn(9, 4, dtype=torch.float64)
    ours, theirs = (kind(4, momentum=momentum).double() for kind in (BatchNorm, torch.nn.BatchNorm1d))
    assert list(ours.state_dict()) == list(theirs.state_dict())
    for _ in range(3):
        torch.testing.assert_close(ours(x, torch.ones(9, 4, dtype=torch.bool)), theirs(x))
        x = 2 * x + 1
    for one, two in zip(ours.state_dict().values(), theirs.state_dict().values(), strict=True):
        torch.testing.assert_close(one, two)
    ours.eval()
    theirs.eval()
    torch.testing.assert_close(ours(x, torch.ones(9, 4, dtype=torch.bool)), theirs(x))
    torch.testing.assert_close(ours(x), theirs(x))


def test_masked_normalisation_sees_the_entries_of_each_column_alone():
    value, mask = sets(12, 4, 1)
    value = value.squeeze(2)
    mask[:, 2], mask[:, 3] = False, torch.arange(12) == 5
    module: Any = BatchNorm(4).double()
    out = module(value.masked_fill(~mask, torch.nan), mask)
    for column in range(2):
        there = mask[:, column]
        alone: Any = torch.nn.BatchNorm1d(1).double()
        expected = alone(value[there, column, None])[:, 0]
        torch.testing.assert_close(out[there, column], expected)
        torch.testing.assert_close(module.running_mean[column], alone.running_mean[0])
        torch.testing.assert_close(module.running_var[column], alone.running_var[0])
    assert not out[~mask].any()
    assert module.running_mean[2:].tolist() == [0, 0], "too few entries for statistics"
    assert module.running_var[2:].tolist() == [1, 1]
    assert out.isfinite().all()


@pytest.mark.parametrize("norm", ["none", "batch"])
@pytest.mark.parametrize("training", [True, False])
def test_the_linear_encoder_takes_missing_entries_for_zeros(norm: str, training: bool):
    value, mask = sets(7, 5, 1)
    value = value.squeeze(2)
    results = []
    for filling in (3.0, torch.nan):
        torch.manual_seed(0)
        module = EncodingEncoder(EncodingConfig("pe", 5, 3, norm)).double().train(training)
        given = value.masked_fill(~mask, filling).requires_grad_()
        out = module(given, mask)
        normalised = given.masked_fill(~mask, 0) if module.norm is None else module.norm(given.detach(), mask)
        torch.testing.assert_close(out, module.linear(normalised))
        torch.testing.assert_close(out[-1], module.linear.bias)
        (out**2).sum().backward()
        results.append([out, given.grad, *(parameter.grad for parameter in module.parameters())])
        results[-1] += list(module.state_dict().values())
    for one, two in zip(*results, strict=True):
        assert torch.equal(one, two)


@pytest.mark.parametrize("norm", ["none", "batch"])
def test_gradients_of_the_linear_encoder(norm: str):
    value, mask = sets(5, 3, 1)
    module = EncodingEncoder(EncodingConfig("pe", 3, 2, norm)).double()
    assert torch.autograd.gradcheck(lambda given: module(given, mask), value.squeeze(2).requires_grad_())


def test_a_mask_of_another_shape_is_named():
    for norm in ("none", "batch"):
        module = EncodingEncoder(EncodingConfig("pe", 3, 2, norm))
        with pytest.raises(ShapeError, match=r"mask must be bool \(4, 3\)"):
            module(torch.ones(4, 3), torch.ones(4, 2, dtype=torch.bool))
