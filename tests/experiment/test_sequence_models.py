"""Experiments with graph sequence models: configurations, records, and runs that are interrupted."""

import copy
from typing import Any

import pytest
import torch

from gnnkit.errors import ConfigError
from gnnkit.experiment import build
from gnnkit.experiment.config import config_from_dict
from gnnkit.experiment.run import train
from gnnkit.experiment.table import make_tables
from gnnkit.experiment.trainer import parameter_groups
from gnnkit.nn import ModelConfig
from gnnkit.sequence import GMN, GraphMamba, SequenceModelConfig
from tests.experiment.one_graph_cases import interrupted_run

GRAPH_MAMBA = {
    "kind": "graph_mamba",
    "num_layers": 2,
    "hidden_dim": 8,
    "conv": "gcn",
    "dropout": 0.2,
    "block_options": {"state_dim": 4, "expand": 1},
    "pool": "root",
}
GMN_MODEL = {
    **GRAPH_MAMBA,
    "kind": "gmn",
    "num_layers": 1,
    "tokenizer_options": {"max_length": 2, "num_walks": 2, "repeats": 1},
}
TABLE = {
    "table": "ring-transfer",
    "method": "a sequence model",
    "protocol": "p",
    "data": {"name": "ring-transfer", "options": {"ring_size": 6, "num_train": 30, "num_val": 10, "num_test": 10}},
    "model": GRAPH_MAMBA,
    "optim": {"lr": 0.01, "weight_decay": 0.1},
    "train": {"epochs": 2, "batch_size": 10, "seed": 3},
}


def config_of(model: dict[str, Any], **changes: Any) -> Any:
    return config_from_dict({**copy.deepcopy(TABLE), "model": {**model, **changes}})


def test_the_key_kind_decides_and_none_is_as_it_was():
    assert type(config_of({"hidden_dim": 8}).model) is ModelConfig
    assert "kind" not in config_of({"hidden_dim": 8}).to_dict()["model"]
    for model, cls in ((GRAPH_MAMBA, GraphMamba), (GMN_MODEL, GMN)):
        config = config_of(model)
        assert type(config.model) is SequenceModelConfig
        assert config_from_dict(config.to_dict()) == config
        dataset = build.build_dataset(config, progress=False)
        built = build.build_model(config, dataset)
        assert type(built) is cls
        assert built(dataset.batch(dataset.split["train"][:4])).shape == (4, dataset.num_outputs)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ({"kind": "graph_mambo"}, '[model]: unknown kind "graph_mambo"; did you mean "graph_mamba"?'),
        ({"kind": 3}, '[model]: unknown kind "3"'),
        ({"kind": "gmn", "eval_order": 5}, '[model]: unknown key "eval_order"; did you mean "eval_orders"?'),
        ({"kind": "gmn", "eval_orders": "5"}, "[model.eval_orders]: expected an integer"),
        ({"kind": "gmn", "block_options": 5}, "[model.block_options]: expected a table"),
        ({"kind": "gmn", "block": "mmaba"}, "did you mean 'mamba'?"),
        ({"global_layr": "attention"}, '[model]: unknown key "global_layr"; did you mean "global_layer"?'),
    ],
)
def test_mistakes_are_named(model: dict[str, Any], words: str):
    with pytest.raises(ConfigError) as error:
        config_of(model)
    assert words in str(error.value)


def test_a_model_must_be_a_table():
    with pytest.raises(ConfigError, match=r"\[model\]: expected a table, got 3"):
        config_from_dict({**TABLE, "model": 3})


def test_eigenvectors_need_their_eigenvalues():
    encoding = {"attr": "x", "in_dim": 5, "dim": 2, "encoder": "deep_sets"}
    config = config_of(GRAPH_MAMBA, encodings=[encoding])
    dataset = build.build_dataset(config, progress=False)
    with pytest.raises(ConfigError, match='no node attribute "x_eigenvalue"'):
        build.build_model(config, dataset)


@pytest.mark.parametrize("encoder", ["deep_sets", "sign_net"])
def test_eigenvectors_reach_their_encoder(encoder: str):
    attr = "laplacian_eigenvector_pe"
    encoding = {"attr": attr, "in_dim": 3, "dim": 4, "encoder": encoder, "hidden_dim": 6, "num_layers": 2}
    table = copy.deepcopy(TABLE)
    table["data"]["transforms"] = [{"kind": "laplacian_eigenvectors", "k": 3, "normalization": "none"}]
    table["model"] = {**GRAPH_MAMBA, "encodings": [encoding]}
    config = config_from_dict(table)
    dataset = build.build_dataset(config, progress=False)
    model = build.build_model(config, dataset)
    batch = dataset.batch(dataset.split["train"][:4])
    model(batch).sum().backward()
    model.eval()
    out = model(batch)
    setattr(batch, f"{attr}_eigenvalue", 2 * getattr(batch, f"{attr}_eigenvalue"))
    assert torch.equal(model(batch), out) is (encoder == "sign_net")


@pytest.mark.parametrize("model", [GRAPH_MAMBA, GMN_MODEL], ids=["graph_mamba", "gmn"])
def test_a_resumed_run_draws_the_same_orders_and_tokens(model, tmp_path, monkeypatch):
    config = config_of(model)
    whole = train(config, tmp_path / "whole", progress=False)
    interrupted_run(config, tmp_path / "cut", monkeypatch, step=4)
    resumed = train(config, tmp_path / "cut", resume=True, progress=False)
    for key in ("final", "history", "weights_sha256"):
        assert resumed[key] == whole[key]
    other = train(config.override(seed=4), tmp_path / "other", progress=False)
    assert other["weights_sha256"] != whole["weights_sha256"]


@pytest.mark.parametrize("model", [GRAPH_MAMBA, GMN_MODEL], ids=["graph_mamba", "gmn"])
def test_averaging_over_orders_is_recorded_and_shown(model, tmp_path):
    results = tmp_path / "results" / "ring-transfer"
    results.mkdir(parents=True)
    once = train(config_of(model), tmp_path / "once", progress=False)
    often = train(config_of(model, eval_orders=3), tmp_path / "often", progress=False)
    assert (once["eval_orders"], often["eval_orders"]) == (1, 3)
    assert often["config"]["model"]["eval_orders"] == 3
    # It is of evaluation alone.
    assert often["weights_sha256"] == once["weights_sha256"]
    assert often["history"][0]["train_loss"] == once["history"][0]["train_loss"]
    assert often["history"][0]["val_loss"] != once["history"][0]["val_loss"]
    for name in ("once", "often"):
        (results / f"{name}.json").write_bytes((tmp_path / name / "record.json").read_bytes())
    published = tmp_path / "published.toml"
    published.write_text("")
    (table,) = make_tables("ring-transfer", results=tmp_path / "results", published=published)
    averaged = [row.cells[6] for row in table.rows if "averages over 3 random orders" in row.cells[6]]
    assert len(averaged) == 1


def test_a_record_without_averaging_says_so_for_other_models(tmp_path):
    assert train(config_of({"hidden_dim": 8, "pool": "root"}), tmp_path, progress=False)["eval_orders"] == 1


def test_parameters_of_the_state_space_do_not_decay():
    config = config_of(GRAPH_MAMBA)
    model = build.build_model(config, build.build_dataset(config, progress=False))
    optimizer = torch.optim.AdamW(parameter_groups(model, 0.5), lr=0.1)
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    decayed = {name: value for name, value in model.named_parameters() if not torch.equal(value, before[name])}
    assert all(torch.equal(value, 0.95 * before[name]) for name, value in decayed.items())
    kept = {name.rsplit(".", 1)[1] for name in before if name not in decayed and before[name].any()}
    assert kept == {"A_log", "D", "bias"}
