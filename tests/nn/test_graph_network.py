"""Encodings in models: eigenvectors as sets, without signs, and with random signs."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch_geometric.data import Batch, Data

from gnnkit.encodings import LaplacianEigenvectors
from gnnkit.errors import ConfigError, DataError
from gnnkit.nn import DeepSetsEncoder, EncodingConfig, GraphModel, ModelConfig

ATTR = "laplacian_eigenvector_pe"


def batch() -> Any:
    graphs = []
    for size in (3, 7, 5):
        path = torch.stack([torch.arange(size - 1), torch.arange(1, size)])
        graphs.append(Data(torch.randn(size, 4), torch.cat([path, path.flip(0)], 1)))
    return LaplacianEigenvectors(4)(Batch.from_data_list(graphs))


def model(**encoding: Any) -> GraphModel:
    given = {"attr": ATTR, "in_dim": 4, "dim": 6, **encoding}
    config = ModelConfig(hidden_dim=16, num_layers=2, encodings=(EncodingConfig(**given),))
    return GraphModel(config, node_dims=4, num_outputs=3)


def encoding_of(tested: GraphModel, data: Any) -> Tensor:
    return tested.encode_nodes(data)[:, 10:]


def test_a_set_of_eigenvectors_is_encoded_with_eigenvalues_and_mask():
    tested, data = model(encoder="deep_sets", hidden_dim=9, num_layers=3).eval(), batch()
    (encoder,) = tested.encodings
    assert isinstance(encoder, DeepSetsEncoder)
    assert [layer.out_features for layer in encoder.modules() if isinstance(layer, torch.nn.Linear)] == [9, 9, 6]
    pairs = torch.stack([data[ATTR], data[f"{ATTR}_eigenvalue"]], dim=2)
    entries = encoder.entry_network(pairs)
    expected = (entries * data[f"{ATTR}_mask"].unsqueeze(2)).sum(1)
    torch.testing.assert_close(encoding_of(tested, data), expected)


def test_sign_net_does_not_see_signs():
    tested, data = model(encoder="sign_net", hidden_dim=5, num_layers=2).eval(), batch()
    expected = encoding_of(tested, data)
    data[ATTR] = data[ATTR] * torch.tensor([1, -1, -1, 1])
    torch.testing.assert_close(encoding_of(tested, data), expected)


@pytest.mark.parametrize("encoder", ["deep_sets", "linear"])
def test_signs_are_random_in_training_and_as_they_are_in_evaluation(encoder: str):
    tested, data = model(encoder=encoder, random_signs=True), batch()
    plain = model(encoder=encoder)
    plain.load_state_dict(tested.state_dict())
    given = data[ATTR]
    found = []
    for seed in range(8):
        torch.manual_seed(seed)
        out = encoding_of(tested, data)
        torch.manual_seed(seed)
        assert torch.equal(encoding_of(tested, data), out)
        signs = torch.cartesian_prod(*[torch.tensor([1.0, -1.0])] * 4)
        matches = []
        for row in signs:
            data[ATTR] = given * row
            matches.append(torch.equal(encoding_of(plain, data), out))
        data[ATTR] = given
        # Several where the last column is missing everywhere it could show.
        assert any(matches)
        found.append(tuple(matches))
    assert len(set(found)) > 1
    assert torch.equal(encoding_of(tested.eval(), data), encoding_of(plain.eval(), data))


def test_eigenvectors_without_eigenvalues_are_refused():
    data = batch()
    del data[f"{ATTR}_eigenvalue"]
    with pytest.raises(DataError, match="laplacian_eigenvector_pe_eigenvalue, which is missing"):
        model(encoder="deep_sets")(data)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"encoder": "deepsets"}, "did you mean 'deep_sets'"),
        ({"hidden_dim": 3}, "hidden_dim cannot be set with encoder = 'linear'"),
        ({"encoder": "deep_sets", "num_layers": 0}, "num_layers must be at least 1"),
        ({"encoder": "deep_sets", "norm": "batch"}, "norm cannot be set with encoder = 'deep_sets'"),
        ({"encoder": "sign_net", "random_signs": True}, "random_signs cannot be set with encoder = 'sign_net'"),
    ],
)
def test_settings_that_do_not_fit_together_are_refused(options: dict[str, Any], words: str):
    with pytest.raises(ConfigError, match=words):
        model(**options)
