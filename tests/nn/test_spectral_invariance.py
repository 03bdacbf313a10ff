"""SPE and SignNet: invariance to signs and bases, equivariance, stability."""

import copy
from itertools import pairwise

import networkx as nx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gnnkit import Graph, nn
from tests.nn.spectral_cases import (
    ENCODERS,
    SIGN_NETS,
    SPES,
    SYMMETRIC,
    Inputs,
    adjacency_of,
    dense_gin,
    dense_phi,
    eigenpairs,
    flipped,
    rotated,
    topology,
    trained,
)


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
