"""Classification of the nodes of one graph: what is trained on and scored, records, and runs that are interrupted."""

import copy
import dataclasses
from typing import Any

import pytest
import torch
from torch import nn
from torch_geometric.data import Data

from gnnkit.errors import ConfigError, DataError
from gnnkit.experiment import build, run
from gnnkit.experiment.metrics import accuracy
from gnnkit.experiment.node_task import NodeTask, training_subgraph
from gnnkit.experiment.run import train
from gnnkit.experiment.table import make_tables
from tests.experiment.one_graph_cases import NODES, config_of, interrupted_run, node_dataset

CPU = torch.device("cpu")


@pytest.fixture
def dataset(monkeypatch):
    dataset = node_dataset()
    monkeypatch.setattr(run, "build_dataset", lambda config, **_: dataset)
    return dataset


def altered(dataset, **attributes):
    data = dataset.data.clone()
    for key, value in attributes.items():
        data[key] = value
    return dataclasses.replace(dataset, data=data)


def test_learns_and_the_record_is_complete(dataset, tmp_path):
    config = config_of(NODES, train={"epochs": 60, "early_stopping": 40})
    record = train(config, tmp_path / "run", progress=False)
    assert record["final"]["test"] >= 0.9
    assert record["metric"] == "accuracy"
    assert record["data"] == {
        "name": "made-up",
        "nodes": {"train": 32, "val": 16, "test": 32},
        "checksums": {"a.npz": "ab" * 32},
        "official": True,
        "notes": ["Made up."],
    }
    assert "nodes" not in record["config"]
    results = tmp_path / "results" / "nodes"
    results.mkdir(parents=True)
    (results / "a.json").write_bytes((tmp_path / "run" / "record.json").read_bytes())
    (tmp_path / "published.toml").write_text("")
    (table,) = make_tables("nodes", results=tmp_path / "results", published=tmp_path / "published.toml")
    assert table.title == "made-up: accuracy (higher is better)"


@pytest.mark.parametrize("inductive", [False, True])
@pytest.mark.usefixtures("dataset")
def test_a_resumed_run_has_the_same_bits(tmp_path, monkeypatch, inductive):
    config = config_of(NODES, nodes={"inductive": inductive})
    whole = train(config, tmp_path / "whole", progress=False)
    interrupted_run(config, tmp_path / "cut", monkeypatch, step=3)
    resumed = train(config, tmp_path / "cut", resume=True, progress=False)
    for key in ("final", "history", "weights_sha256"):
        assert resumed[key] == whole[key]
    other = train(config.override(seed=4), tmp_path / "other", progress=False)
    assert other["weights_sha256"] != whole["weights_sha256"]


def test_equals_a_loop_written_out(dataset, tmp_path):
    config = config_of(NODES, model={"dropout": 0.0}, optim={"weight_decay": 0.1})
    record = train(config, tmp_path, progress=False)
    torch.manual_seed(3)
    model = build.build_model(config, dataset)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.02, weight_decay=0.1)
    data: Any = dataset.data
    for epoch in range(6):
        model.train()
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(data)[data.train_mask], data.y[data.train_mask])
        loss.backward()
        optimizer.step()
        model.eval()
        with torch.no_grad():
            outputs = model(data)
        values = record["history"][epoch]
        assert values["train_loss"] == pytest.approx(loss.item(), rel=1e-5)
        for split in ("val", "test"):
            mask = data[f"{split}_mask"]
            assert values[split] == accuracy(data.y[mask], outputs[mask])
            expected = nn.functional.cross_entropy(outputs[mask], data.y[mask]).item()
            assert values[f"{split}_loss"] == pytest.approx(expected, rel=1e-5)


def gradient(config, dataset) -> torch.Tensor:
    torch.manual_seed(0)
    model = build.build_model(config, dataset)
    task = NodeTask(config, dataset, CPU)
    (step,) = task.steps(0, 0)
    loss, _ = task.loss(model, step)
    loss.backward()
    return torch.cat([parameter.grad.flatten() for parameter in model.parameters() if parameter.grad is not None])


def test_training_never_sees_the_labels_of_other_nodes_and_inductive_training_not_even_the_nodes():
    dataset, config = node_dataset(), config_of(NODES, model={"dropout": 0.0})
    inductive = config_of(NODES, model={"dropout": 0.0}, nodes={"inductive": True})
    data: Any = dataset.data
    labels = torch.where(data.train_mask, data.y, 1 - data.y)
    features = torch.where(data.train_mask.unsqueeze(1), data.x, -data.x)
    for setting in (config, inductive):
        assert torch.equal(gradient(setting, dataset), gradient(setting, altered(dataset, y=labels)))
    assert torch.equal(gradient(inductive, dataset), gradient(inductive, altered(dataset, x=features)))
    assert not torch.equal(gradient(config, dataset), gradient(config, altered(dataset, x=features)))


def test_the_training_subgraph_has_the_training_nodes_and_their_edges():
    data: Any = node_dataset().data
    part: Any = training_subgraph(data)
    nodes = data.train_mask.nonzero().flatten()
    assert torch.equal(part.x, data.x[nodes])
    assert part.train_mask.all()
    among = torch.isin(data.edge_index, nodes).all(dim=0)
    assert torch.equal(nodes[part.edge_index], data.edge_index[:, among])


def test_evaluation_sees_the_whole_graph_once_for_all_splits():
    dataset = node_dataset()
    task = NodeTask(config_of(NODES, nodes={"inductive": True}), dataset, CPU)
    seen = []

    def forward(data: Data) -> torch.Tensor:
        seen.append(data.num_nodes)
        return torch.arange(80.0).unsqueeze(1)

    found = list(task.predict(forward, ("val", "test")))
    assert seen == [80]
    assert [part.split for part in found] == ["val", "test"]
    for part in found:
        ids = dataset.split[part.split]
        assert part.outputs.flatten().tolist() == ids.tolist()
        assert torch.equal(part.labels, dataset.labels[ids])


def test_binary_labels_are_scored_by_the_area_under_the_curve(monkeypatch, tmp_path):
    dataset = node_dataset("binary")
    build.check_dataset(dataset)
    monkeypatch.setattr(run, "build_dataset", lambda config, **_: dataset)
    record = train(config_of(NODES, train={"epochs": 40}), tmp_path, progress=False)
    assert record["metric"] == "ROC-AUC"
    assert record["final"]["test"] > 0.9


@pytest.mark.usefixtures("dataset")
def test_settings_that_do_not_fit_are_refused(tmp_path):
    for sections, words in (
        ({"train": {"batch_size": 8}}, "train.batch_size cannot be set: a step is of the whole graph of made-up"),
        ({"train": {"eval_batch_size": 8}}, "train.eval_batch_size cannot be set"),
        ({"links": {"decoder": "mlp"}}, r"\[links\] cannot be set: made-up is about nodes"),
        ({"model": {"pool": "mean"}}, "set pool = \"none\", got 'mean'"),
        ({"train": {"loss": "bce"}}, "does not fit a multiclass task"),
    ):
        with pytest.raises(ConfigError, match=words):
            train(config_of(NODES, **sections), tmp_path / words[:5], progress=False)
    with pytest.raises(ConfigError, match='did you mean "inductive"'):
        config_of(NODES, nodes={"inductiv": True})


def test_graphs_need_a_batch_size():
    table = {
        **copy.deepcopy(NODES),
        "data": {"name": "ring-transfer", "options": {"ring_size": 6, "num_train": 9, "num_val": 9, "num_test": 9}},
    }
    config = config_of(table, model={"pool": "root"})
    dataset = build.build_dataset(config, progress=False)
    model = build.build_model(config, dataset)
    from gnnkit.experiment.trainer import Trainer

    with pytest.raises(ConfigError, match='needs a key "batch_size"'):
        Trainer(config, dataset, model, None, CPU)  # type: ignore[arg-type]
    config = config_of(table, model={"pool": "root"}, train={"batch_size": 3}, nodes={"inductive": True})
    with pytest.raises(ConfigError, match=r"\[nodes\] cannot be set: ring-transfer is about graphs"):
        Trainer(config, dataset, model, None, CPU)  # type: ignore[arg-type]


def test_data_that_cannot_be_trained_on_are_refused():
    dataset = node_dataset()
    data: Any = dataset.data
    build.check_dataset(dataset)
    for attributes, words in (
        ({"val_mask": torch.zeros(80, dtype=torch.bool)}, "has no nodes in its val split"),
        ({"y": data.y + 1}, "classes must lie in 0 to 1, got 1 to 2"),
        ({"y": data.y.float()}, "classes must be integers"),
    ):
        with pytest.raises(DataError, match=words):
            build.check_dataset(altered(dataset, **attributes))
    binary = node_dataset("binary")
    with pytest.raises(DataError, match=r"expected labels \[nodes, 1\], got shape \(80,\)"):
        build.check_dataset(altered(binary, y=data.y.float()))
    with pytest.raises(DataError, match="made-up, test split: ROC-AUC is undefined"):
        build.check_dataset(altered(binary, y=torch.where(data.test_mask, 1, data.y).float().unsqueeze(1)))


def test_transforms_are_applied_to_the_graph():
    dataset = node_dataset()
    config = config_of(NODES, data={"transforms": [{"kind": "degree_profile"}]})
    transforms = [build.build_transform(transform) for transform in config.data.transforms]
    changed = dataset.with_transforms(transforms)
    assert set(changed.node) > set(dataset.node)


@pytest.mark.data
@pytest.mark.parametrize(
    ("data", "metric"),
    [
        ({"name": "cora", "options": {"splits": "geom-gcn", "split": 3}}, "accuracy"),
        ({"name": "texas", "transforms": [{"kind": "to_undirected"}, {"kind": "normalize_features"}]}, "accuracy"),
        ({"name": "minesweeper"}, "ROC-AUC"),
    ],
)
def test_real_data_by_name(raw_data, tmp_path, data, metric):
    config = config_of({**NODES, "data": data}, train={"epochs": 2})
    record = train(config, tmp_path, data_root=raw_data, progress=False)
    assert record["metric"] == metric
    assert record["data"]["checksums"]
    with pytest.raises(ConfigError, match="has no option 'fold'"):
        train(
            config_of({**NODES, "data": {"name": "cora", "options": {"fold": 1}}}), tmp_path / "b", data_root=raw_data
        )
