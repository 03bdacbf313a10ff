"""The benchmarks of hypergraph layers: what they run on, what they write, what they refuse."""

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from benchmarks import hypergraph as speed
from benchmarks import hypergraph_nodes as nodes
from gnnkit.hypergraph import HyperData, Hypergraph


def toy(num_nodes: int = 30) -> HyperData:
    """Two classes that are two hyperedges."""
    y = torch.arange(num_nodes) % 2
    data = HyperData(
        x=torch.randn(num_nodes, 5) + 3 * y[:, None],
        hyperedge_index=torch.stack([torch.arange(num_nodes), y]),
        num_hyperedges=2,
        y=y,
        train_mask=torch.arange(num_nodes) < 10,
        test_mask=torch.arange(num_nodes) >= 10,
    )
    data.hypergraph = Hypergraph.from_data(data)
    return data


def test_incidences_are_within_their_counts(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(speed, "NODES", 50)
    monkeypatch.setattr(speed, "HYPEREDGES", 20)
    monkeypatch.setattr(speed, "INCIDENCES", 3000)
    largest = {}
    for kind in speed.KINDS:
        index = speed.incidences(kind)
        assert index.shape == (2, 3000)
        counts = [index[row].bincount(minlength=size) for row, size in enumerate((50, 20))]
        assert [len(count) for count in counts] == [50, 20]
        largest[kind] = int(counts[0].max())
    assert largest["power law"] > 2 * largest["uniform"]
    runs = speed.candidates(index)
    assert speed.check("power law", runs) < 1e-4
    wrong = dict(runs)
    wrong["wrong"] = lambda: {name: value + 1 for name, value in next(iter(runs.values()))().items()}
    with pytest.raises(SystemExit, match="nothing is timed"):
        speed.check("power law", wrong)


@pytest.mark.parametrize("method", nodes.METHODS, ids=lambda method: method.name)
def test_a_run_learns_counts_and_repeats(method: nodes.Method):
    data = toy()
    assert nodes.train(method, data, 2, epochs=200, seed=1)["test_accuracy"] > 0.9
    first, second = (nodes.train(method, data, 2, epochs=10, seed=1) for _ in range(2))
    assert {key: value for key, value in first.items() if key != "seconds"} == {
        key: value for key, value in second.items() if key != "seconds"
    }


def test_records_hold_every_run_and_what_it_was_made_with(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(nodes, "prepared", lambda name, split, *, normalise: toy())
    path = tmp_path / "nodes.json"
    arguments = ["--methods", "HGNN", "--data", "cocitation-cora", "--splits", "0", "3", "--epochs", "3"]
    threads = torch.get_num_threads()
    nodes.main([*arguments, "--seed", "5", "--threads", str(threads), "--json", str(path)])
    content = json.loads(path.read_text())
    (row,) = content["rows"]
    assert [(run["split"], run["seed"]) for run in row["runs"]] == [(0, 5), (3, 8)]
    assert (row["settings"]["epochs"], row["epochs_of_the_protocol"]) == (3, 200)
    accuracy = torch.tensor([run["test_accuracy"] for run in row["runs"]])
    assert row["test_accuracy_mean"] == pytest.approx(accuracy.mean().item(), abs=1e-5)
    assert content["environment"]["torch"] == str(torch.__version__)


@pytest.mark.data
def test_the_hypergraphs_are_read_and_their_rows_divided(raw_data: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("GNNKIT_DATA", str(raw_data))
    data = nodes.prepared("cocitation-citeseer", 9, normalise=True)
    assert isinstance(data.x, Tensor)
    total = data.x.sum(1)
    assert bool(((total - 1).abs() < 1e-5).logical_or(total == 0).all())
    raw = nodes.prepared("cocitation-citeseer", 9, normalise=False)
    assert isinstance(raw.x, Tensor)
    assert set(raw.x.unique().tolist()) == {0.0, 1.0}
