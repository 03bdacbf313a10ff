"""The benchmark of edge learning: its folds, its choice of model, and that it goes on where it was stopped."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import edge_learning as program
from gnnkit.data import GraphDataset
from gnnkit.data.columns import DatasetInfo

SHORT = program.Protocol(epochs=4, patience=2, lr=0.01, weight_decay=0.0, warmup=1, clip=1.0, batch=4)


def cycles(*, features: bool = True) -> GraphDataset:
    """Cycles of 3 to 8 nodes, whose class is whether they are long; the type of an edge is that of its lower end."""
    sizes = torch.tensor([3, 4, 5, 6, 7, 8] * 4)
    node_ptr = torch.cat([torch.tensor([0]), sizes.cumsum(0)])
    edges = []
    for size in sizes.tolist():
        node = torch.arange(size)
        edges.append(torch.stack([torch.cat([node, (node + 1) % size]), torch.cat([(node + 1) % size, node])]))
    edge_index = torch.cat(edges, 1)
    info = DatasetInfo("mutag", "multiclass", "accuracy", 2)
    ids = torch.arange(len(sizes))
    return GraphDataset(
        info,
        node_ptr=node_ptr,
        edge_ptr=2 * node_ptr,
        edge_index=edge_index,
        node={"x": torch.ones(int(node_ptr[-1]), 2)} if features else {},
        edge={"edge_attr": torch.nn.functional.one_hot(edge_index.amin(0) % 2, 2).float()},
        graph={"y": (sizes > 5).long()},
        split={"train": ids[:12], "val": ids[12:18], "test": ids[18:]},
    )


def test_each_fold_tests_once_and_the_one_before_it_validates():
    folds = [torch.arange(3 * fold, 3 * fold + 3) for fold in range(10)]
    for fold in range(10):
        split = program.fold_splits(folds, fold)
        assert torch.equal(split["test"], folds[fold])
        assert torch.equal(split["val"], folds[9 if fold == 0 else fold - 1])
        assert torch.cat(list(split.values())).sort().values.tolist() == list(range(30))


@pytest.mark.parametrize("model", program.MODELS)
def test_the_model_of_the_lowest_validation_loss_is_tested(model: str):
    dataset = cycles()

    def run(epochs: int) -> dict[str, Any]:
        protocol = program.replace(SHORT, epochs=epochs, warmup=None)
        return program.train(
            lambda: program.MODELS[model](dataset), dataset, dataset.split, lambda batch: batch.y, protocol
        )

    # Without a schedule, a shorter run is the beginning of a longer one.
    losses = [run(epochs)["val"]["loss"] for epochs in (1, 2, 3)]
    best = run(3)
    assert best["val"]["loss"] == min(losses)
    assert best["test"] == run(best["epoch"])["test"]
    assert best["epochs_run"] == 3
    assert best["parameters"] == sum(value.numel() for value in program.MODELS[model](dataset).parameters())


def test_training_stops_where_nothing_improves():
    dataset = cycles()
    protocol = program.replace(SHORT, epochs=50, lr=0.0, warmup=None)
    found = program.train(lambda: program.GCNMean(2, 2), dataset, dataset.split, lambda batch: batch.y, protocol)
    assert (found["epoch"], found["epochs_run"]) == (1, 1 + SHORT.patience)


def test_degrees_are_features_where_there_are_none():
    dataset = program.with_degrees(cycles(features=False))
    assert dataset.node["x"].shape == (int(dataset.node_ptr[-1]), 3)
    assert bool((dataset.node["x"][:, 2] == 1).all())
    assert program.with_degrees(dataset) is dataset


def test_edge_types_of_both_kinds_of_features():
    dataset = cycles()
    typed, number = program.bond_types(dataset)
    assert number == 2
    assert torch.equal(typed.edge["edge_attr"], dataset.edge["edge_attr"])
    dataset.edge["edge_attr"] = torch.stack([torch.arange(dataset.edge_index.size(1)) % 3] * 2, 1)
    typed, number = program.bond_types(dataset)
    assert number == 3
    assert torch.equal(typed.edge["edge_attr"].argmax(1), dataset.edge["edge_attr"][:, 0])


def test_finished_runs_are_kept_and_sections_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any):
    folds = [torch.arange(24)[fold::10] for fold in range(10)]

    def load(name: str, *, fold: int = 0, progress: bool = True) -> GraphDataset:
        dataset = cycles()
        if name == "mutag":
            dataset.split = {"test": folds[fold]}
        return dataset

    monkeypatch.setattr(program, "load", load)
    target, work = tmp_path / "out.json", tmp_path / "work"
    common = ["--epochs", "2", "--json", str(target), "--work", str(work), "--threads", "1"]
    chosen = ["classify", "--datasets", "mutag", "--models", "HyperDrop", "--folds", "0", "3", *common]
    threads = torch.get_num_threads()
    try:
        assert program.main(chosen) == 0
        first = json.loads(target.read_text())["classification"]
        monkeypatch.setattr(program, "train", None)  # whoever calls it now fails
        assert program.main(chosen) == 0
        monkeypatch.undo()
        monkeypatch.setattr(program, "load", load)
        assert program.main(["reconstruct", *common]) == 0
    finally:
        torch.set_num_threads(threads)
    capsys.readouterr()
    content = json.loads(target.read_text())
    assert content["classification"]["rows"] == first["rows"]
    assert [row["fold"] for row in first["rows"]] == [0, 3]
    assert first["schedule"].startswith("short schedule: 2 epochs")
    accuracy = [row["test"]["accuracy"] for row in first["rows"]]
    assert first["table"][0]["mean_accuracy"] == round(sum(accuracy) / 2, 4)
    (row,) = content["reconstruction"]["rows"]
    assert row["clusters"] == 2  # 15 % of 11 edges
    assert row["majority_accuracy"] >= 0.5
