"""Encoders against OGB's."""

import pytest
import torch

from gnnkit import nn
from gnnkit.errors import ConfigError, DtypeError, IndexRangeError, ShapeError
from gnnkit.nn import encoders
from gnnkit.nn.encoders import ATOM_FEATURE_DIMS, BOND_FEATURE_DIMS


def features(dims: tuple[int, ...], rows: int) -> torch.Tensor:
    return torch.stack([torch.randint(dim, (rows,)) for dim in dims], dim=1)


@pytest.mark.parametrize("kind", ["Atom", "Bond"])
@pytest.mark.parametrize("limit", [("_ONE_HOT_ROWS", 0), ("_ONE_HOT_CHUNK", 7), ("_ONE_HOT_CHUNK", 1000)])
def test_encoders_load_and_equal_ogb(kind: str, limit: tuple[str, int], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(encoders, *limit)
    mol_encoder = pytest.importorskip("ogb.graphproppred.mol_encoder")
    from ogb.utils.features import get_atom_feature_dims, get_bond_feature_dims

    assert list(ATOM_FEATURE_DIMS) == get_atom_feature_dims()
    assert list(BOND_FEATURE_DIMS) == get_bond_feature_dims()
    theirs, ours = getattr(mol_encoder, f"{kind}Encoder")(7), getattr(nn, f"{kind}Encoder")(7)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    x = features(ours.dims, 50)
    out, expected = ours(x), theirs(x)
    torch.testing.assert_close(out, expected, rtol=1e-6, atol=1e-6)
    upstream = torch.randn_like(out)
    (grad,) = torch.autograd.grad(out, ours.weight, upstream)
    reference = torch.autograd.grad(expected, list(theirs.parameters()), upstream)
    torch.testing.assert_close(grad, torch.cat(reference), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(ours(x.int()), out)


def test_encoders_load_their_own_state_inside_a_model():
    first, second = (torch.nn.ModuleDict({"atoms": nn.AtomEncoder(4)}) for _ in range(2))
    second.load_state_dict(first.state_dict(), strict=True)
    x = features(ATOM_FEATURE_DIMS, 3)
    assert torch.equal(first["atoms"](x), second["atoms"](x))
    with pytest.raises(RuntimeError, match=r"Missing key.*weight"):
        second.load_state_dict({})


def test_each_table_is_drawn_with_its_own_bound():
    for table, dim in zip(nn.AtomEncoder(64).weight.split(ATOM_FEATURE_DIMS), ATOM_FEATURE_DIMS, strict=True):
        bound = (6 / (dim + 64)) ** 0.5
        assert table.abs().max() <= bound
        assert table.abs().max() > 0.9 * bound


@pytest.mark.parametrize("value", [-1, 12])
def test_a_category_out_of_range_is_named(value: int):
    x = features(ATOM_FEATURE_DIMS, 5)
    x[3, 2] = value
    with pytest.raises(IndexRangeError, match=r"AtomEncoder: column 2 must lie in \[0, 11\]"):
        nn.AtomEncoder(4)(x)


def test_other_bad_input_is_named():
    with pytest.raises(DtypeError, match="int32 or int64"):
        nn.AtomEncoder(4)(torch.zeros(3, 9))
    with pytest.raises(ShapeError, match=r"\[N, 9\]"):
        nn.AtomEncoder(4)(torch.zeros(3, 8, dtype=torch.int64))
    with pytest.raises(ConfigError, match="at least one category"):
        nn.CategoricalEncoder((3, 0), 4)
    with pytest.raises(ShapeError, match=r"\[N, 3\]"):
        nn.LinearEncoder(3, 4)(torch.zeros(5, 2))
    with pytest.raises(ShapeError, match="'pe'"):
        nn.EncodingEncoder(nn.EncodingConfig("pe", 3, 4))(torch.zeros(5, 2))


def test_encoders_take_vectors_and_empty_input():
    encoder = nn.CategoricalEncoder((5,), 3)
    assert torch.equal(encoder(torch.tensor([4, 0])), encoder.weight[[4, 0]])
    empty = nn.AtomEncoder(4)(torch.empty((0, 9), dtype=torch.int64))
    assert empty.shape == (0, 4)
    empty.sum().backward()
    linear = nn.LinearEncoder(1, 4)
    torch.testing.assert_close(linear(torch.tensor([1, 2])), linear.linear(torch.tensor([[1.0], [2.0]])))


def test_encoders_compile():
    encoder, x = nn.AtomEncoder(4), features(ATOM_FEATURE_DIMS, 6)
    compiled = torch.compile(encoder, backend="aot_eager", fullgraph=True)
    out, expected = compiled(x), encoder(x)
    torch.testing.assert_close(out, expected)
    (grad,) = torch.autograd.grad(out.square().sum(), encoder.weight)
    (expected_grad,) = torch.autograd.grad(expected.square().sum(), encoder.weight)
    torch.testing.assert_close(grad, expected_grad)


def test_encoding_is_normalised_then_mapped():
    encoder = nn.EncodingEncoder(nn.EncodingConfig("pe", 3, 4, norm="batch"))
    value = torch.randn(20, 3) * 5 + 2
    centred = value - value.mean(0)
    normal = centred / (centred.square().mean(0) + 1e-5).sqrt()
    torch.testing.assert_close(encoder(value), encoder.linear(normal), rtol=1e-4, atol=1e-5)
    plain = nn.EncodingEncoder(nn.EncodingConfig("pe", 3, 4))
    torch.testing.assert_close(plain(value), plain.linear(value))
