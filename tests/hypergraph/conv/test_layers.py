"""What all layers have in common: gradients, symmetries, rows of what is unused, repeatability, refusals."""

import weakref

import pytest
import torch
from torch import Tensor

from gnnkit.errors import DtypeError, ShapeError
from gnnkit.hypergraph import Hypergraph
from tests.hypergraph.conv.layer_cases import CASES, KEYWORDS, call, inputs_of, made, random_hypergraph
from tests.hypergraph.made_hypergraphs import SHAPES, hypergraph_of

# Made of sparse products alone, which have second derivatives; the fused attention has first ones.
LINEAR = ("hypergraph", "hypergraph, weights", "hgnn", "hgnn, weights", "unigcn", "unigin", "unisage", "unigcnii")
every_layer = pytest.mark.parametrize("name", CASES)


def moved(rows: Tensor, perm: Tensor) -> Tensor:
    return torch.empty_like(rows).index_copy(0, perm, rows)


@pytest.mark.parametrize("shape", ["trailing ones empty", "repeated incidences"])
@every_layer
def test_gradients_agree_with_finite_differences(name: str, shape: str):
    layer, hypergraph = made(name), hypergraph_of(shape)
    given = inputs_of(name, hypergraph)
    parameters = dict(layer.named_parameters())

    def run(*values: Tensor) -> Tensor:
        tensors = dict(zip(given, values[: len(given)], strict=True))
        named = dict(zip(parameters, values[len(given) :], strict=True))
        extra = {KEYWORDS[key]: value for key, value in tensors.items() if key != "x"}
        return torch.func.functional_call(layer, named, (tensors["x"], hypergraph), extra)

    values = [value.detach().clone().requires_grad_() for value in (*given.values(), *parameters.values())]
    assert torch.autograd.gradcheck(run, values)
    if name in LINEAR:
        assert torch.autograd.gradgradcheck(run, values)


@every_layer
def test_relabelled_nodes_relabel_the_rows(name: str):
    layer, hypergraph = made(name), random_hypergraph()
    given, perm = inputs_of(name, hypergraph), torch.randperm(hypergraph.num_nodes)
    node, hyperedge = hypergraph.hyperedge_index
    other = Hypergraph.from_incidence(
        torch.stack([perm[node], hyperedge]), num_nodes=hypergraph.num_nodes, num_hyperedges=hypergraph.num_hyperedges
    )
    relabelled = {key: moved(value, perm) if key in ("x", "x_0") else value for key, value in given.items()}
    torch.testing.assert_close(call(layer, other, relabelled)[perm], call(layer, hypergraph, given))


@every_layer
def test_relabelled_hyperedges_and_shuffled_incidences_change_nothing(name: str):
    layer, hypergraph = made(name), random_hypergraph()
    given, perm = inputs_of(name, hypergraph), torch.randperm(hypergraph.num_hyperedges)
    node, hyperedge = hypergraph.hyperedge_index[:, torch.randperm(hypergraph.num_incidences)]
    other = Hypergraph.from_incidence(
        torch.stack([node, perm[hyperedge]]), num_nodes=hypergraph.num_nodes, num_hyperedges=hypergraph.num_hyperedges
    )
    relabelled = {key: value if key in ("x", "x_0") else moved(value, perm) for key, value in given.items()}
    torch.testing.assert_close(call(layer, other, relabelled), call(layer, hypergraph, given))


@every_layer
def test_unused_trailing_nodes_and_hyperedges_keep_rows_and_change_no_other(name: str):
    layer, few = made(name), random_hypergraph()
    many = Hypergraph.from_incidence(
        few.hyperedge_index, num_nodes=few.num_nodes + 3, num_hyperedges=few.num_hyperedges + 60
    )
    given = inputs_of(name, many)
    sizes = {"x": few.num_nodes, "x_0": few.num_nodes, "weight": few.num_hyperedges, "attr": few.num_hyperedges}
    expected = call(layer, few, {key: value[: sizes[key]] for key, value in given.items()})
    out = call(layer, many, given)
    assert out.shape == (many.num_nodes, expected.size(1))
    torch.testing.assert_close(out[: few.num_nodes], expected)
    assert bool(out.isfinite().all())


@pytest.mark.parametrize("shape", SHAPES)
@every_layer
def test_every_kind_of_hypergraph_has_finite_rows_and_gradients(name: str, shape: str):
    for dtype in (torch.int32, torch.int64):
        layer, hypergraph = made(name, torch.float32), hypergraph_of(shape, dtype)
        given = inputs_of(name, hypergraph, torch.float32)
        given["x"].requires_grad_()
        out = call(layer, hypergraph, given)
        assert out.size(0) == hypergraph.num_nodes
        out.sum().backward()
        grads = [given["x"].grad, *(value.grad for value in layer.parameters())]
        assert all(bool(value.isfinite().all()) for value in (out, *grads) if value is not None)


@every_layer
def test_same_bits_twice(name: str):
    layer, hypergraph = made(name, torch.float32), random_hypergraph(200, 90, 2000)
    given = inputs_of(name, hypergraph, torch.float32)
    results = []
    for _ in range(2):
        x = given["x"].clone().requires_grad_()
        out = call(layer, hypergraph, {**given, "x": x})
        results.append((out, *torch.autograd.grad(out.square().sum(), [x, *layer.parameters()])))
    assert all(torch.equal(first, second) for first, second in zip(*results, strict=True))


@every_layer
def test_what_follows_from_the_hypergraph_is_computed_once(name: str):
    layer, hypergraph = made(name), random_hypergraph()
    given = inputs_of(name, hypergraph)
    given["x"].requires_grad_()
    ways = (hypergraph.to_hyperedges, hypergraph.to_nodes)
    first = call(layer, hypergraph, given)
    first.sum().backward()
    kept = [dict(graph._derived) for graph in ways]
    assert torch.equal(call(layer, hypergraph, given), first)
    for graph, before in zip(ways, kept, strict=True):
        assert graph._derived.keys() == before.keys()
        assert all(graph._derived[key] is value for key, value in before.items())


@every_layer
def test_no_hypergraph_outlives_a_step(name: str, without_collector: None):
    layer, hypergraph = made(name), random_hypergraph()
    given = inputs_of(name, hypergraph)
    given["x"].requires_grad_()
    call(layer, hypergraph, given).sum().backward()
    references = [weakref.ref(graph) for graph in (hypergraph.to_hyperedges, hypergraph.to_nodes)]
    del hypergraph
    assert [reference() for reference in references] == [None, None]


# Rounding decides which pair of a hyperedge is the farthest.
@pytest.mark.parametrize("name", [name for name in CASES if "hypergcn" not in name])
def test_bfloat16(name: str):
    layer, hypergraph = made(name, torch.float32), random_hypergraph()
    given = inputs_of(name, hypergraph, torch.float32)
    expected = call(layer, hypergraph, given)
    out = call(layer.bfloat16(), hypergraph, {key: value.bfloat16() for key, value in given.items()})
    assert out.dtype == torch.bfloat16
    torch.testing.assert_close(out.float(), expected, rtol=0.1, atol=0.1)


# A linear one with constants of the hypergraph, and both kinds of attention.
@pytest.mark.parametrize("name", ["hypergraph", "attention", "allsettransformer"])
def test_compiles_in_one_graph(name: str):
    torch._dynamo.reset()
    layer, hypergraph = made(name, torch.float32), random_hypergraph()
    given = inputs_of(name, hypergraph, torch.float32)
    given["x"].requires_grad_()
    compiled = torch.compile(layer, backend="aot_eager", fullgraph=True, dynamic=True)
    # First traced, then eager: nothing may stay behind from the trace.
    out, expected = call(compiled, hypergraph, given), call(layer, hypergraph, given)
    torch.testing.assert_close(out, expected)
    (grad,), (wanted,) = (torch.autograd.grad(value.square().sum(), [given["x"]]) for value in (out, expected))
    torch.testing.assert_close(grad, wanted, rtol=1e-4, atol=1e-4)


@every_layer
def test_bad_input_is_named(name: str):
    layer, hypergraph = made(name), random_hypergraph()
    given = inputs_of(name, hypergraph)
    x = given["x"]
    for wrong, error, words in (
        (x[:-1], ShapeError, "one row per node, 12"),
        (x[:, :-1], ShapeError, r"needs x of shape \[12, "),
        (x.long(), DtypeError, "x must be float32"),
        (None, DtypeError, r"x must be a torch\.Tensor"),
    ):
        with pytest.raises(error, match=words):
            call(layer, hypergraph, {**given, "x": wrong})  # type: ignore[dict-item]
    with pytest.raises(DtypeError, match=r"must be a gnnkit\.hypergraph\.Hypergraph, got Graph"):
        call(layer, hypergraph.to_nodes, given)  # type: ignore[arg-type]
    for key, word in {
        "weight": "one number per hyperedge, ",
        "attr": "one row per hyperedge",
        "x_0": "per node",
    }.items():
        if key in given:
            with pytest.raises(ShapeError, match=word):
                call(layer, hypergraph, {**given, key: given[key][:-1]})
