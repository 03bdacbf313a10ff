"""Prediction of the missing links of one graph: negatives, hidden targets, records, and runs that are interrupted."""

import dataclasses
from typing import Any

import pytest
import torch

from gnnkit.errors import ConfigError, DataError
from gnnkit.experiment import build, run
from gnnkit.experiment.link_task import LinkTask, pair_codes
from gnnkit.experiment.run import train
from tests.experiment.one_graph_cases import LINKS, config_of, interrupted_run, link_dataset

CPU = torch.device("cpu")


@pytest.fixture
def dataset(monkeypatch):
    dataset = link_dataset()
    monkeypatch.setattr(run, "build_dataset", lambda config, **_: dataset)
    return dataset


def codes_of(dataset) -> torch.Tensor:
    return pair_codes(dataset.data.edge_index, dataset.data.num_nodes).unique()


@pytest.mark.parametrize("decoder", ["inner_product", "mlp", "ncn", "ncnc"])
@pytest.mark.usefixtures("dataset")
def test_learns_and_the_record_is_complete(tmp_path, decoder):
    config = config_of(LINKS, links={"decoder": decoder}, train={"epochs": 25}, model={"dropout": 0.0})
    record = train(config, tmp_path, progress=False)
    assert record["metric"] == "Hits@20"
    # Random scores have about 0.5, a constant one has 0; negatives are between groups, links mostly within.
    assert record["final"]["test"] > 0.7
    pairs = record["data"]["links"]
    assert {key: pairs[key] for key in ("val", "val_negative", "test", "test_negative")} == {
        "val": 30, "val_negative": 40, "test": 30, "test_negative": 40
    }  # fmt: skip
    assert record["config"]["links"]["decoder"] == decoder
    assert record["history"][0]["train_loss"] > record["history"][-1]["train_loss"]


@pytest.mark.usefixtures("dataset")
def test_a_resumed_run_has_the_same_bits(tmp_path, monkeypatch):
    config = config_of(LINKS)
    whole = train(config, tmp_path / "whole", progress=False)
    # In the midst of the second epoch, so that order and negatives of the rest of it are drawn again.
    interrupted_run(
        config, tmp_path / "cut", monkeypatch, step=LinkTask(config, link_dataset(), CPU).steps_per_epoch + 2
    )
    resumed = train(config, tmp_path / "cut", resume=True, progress=False)
    for key in ("final", "history", "weights_sha256"):
        assert resumed[key] == whole[key]


def test_an_epoch_has_each_link_once_and_can_be_taken_up_anywhere():
    dataset = link_dataset()
    task = LinkTask(config_of(LINKS, links={"negatives": 3}), dataset, CPU)
    steps = list(task.steps(2, 0))
    assert len(steps) == task.steps_per_epoch
    assert torch.equal(torch.cat([step.links for step in steps]).sort().values, torch.arange(task.links.size(1)))
    assert all(step.negatives.shape == (2, 3 * len(step.links)) for step in steps)
    for mine, again in zip(task.steps(2, 3), steps[3:], strict=True):
        assert torch.equal(mine.links, again.links)
        assert torch.equal(mine.negatives, again.negatives)
    assert not torch.equal(next(iter(task.steps(1, 0))).links, steps[0].links)


def test_negatives_are_different_pairs_that_are_no_links_and_any_may_come():
    dataset, n = link_dataset(40), 40
    task = LinkTask(config_of(LINKS, train={"batch_size": 10}, links={"negatives": 10}), dataset, CPU)
    links, every = set(codes_of(dataset).tolist()), set()
    for epoch in range(40):
        for step in task.steps(epoch, 0):
            drawn = pair_codes(step.negatives, n).tolist()
            assert len(set(drawn)) == len(drawn)
            every |= set(drawn)
    assert every == {code for code in range(n * n) if code // n != code % n and code not in links}


def test_a_graph_with_too_few_pairs_that_are_no_links_is_refused():
    dataset = link_dataset(40)
    free = 40 * 39 - len(codes_of(dataset))
    batch = dataset.data.train_edges.size(1)
    with pytest.raises(ConfigError, match=rf"but made-up has {free}; lower links\.negatives or train\.batch_size"):
        LinkTask(config_of(LINKS, train={"batch_size": batch}, links={"negatives": free // batch + 1}), dataset, CPU)
    task = LinkTask(config_of(LINKS, train={"batch_size": 1}, links={"negatives": free}), dataset, CPU)
    assert next(iter(task.steps(0, 0))).negatives.size(1) == free


class Seen(torch.nn.Module):
    """Keeps what a model is given."""

    def forward(self, batch: Any) -> torch.Tensor:
        self.edges = {tuple(edge) for edge in batch.graph.edge_index.t().tolist()}
        self.pairs = batch.pairs
        return torch.zeros(batch.pairs.size(1), 1)


@pytest.mark.parametrize("hide", [True, False])
def test_the_links_of_a_step_are_hidden_in_both_directions(hide):
    dataset = link_dataset()
    data: Any = dataset.data
    task, seen = LinkTask(config_of(LINKS, links={"hide_targets": hide}), dataset, CPU), Seen()
    step = next(iter(task.steps(0, 0)))
    loss, count = task.loss(seen, step)
    assert count == 80
    assert loss.item() == pytest.approx(0.693147, abs=1e-5)
    links = data.train_edges[:, step.links]
    assert torch.equal(seen.pairs, torch.cat([links, step.negatives], dim=1))
    every = {tuple(edge) for edge in data.edge_index.t().tolist()}
    hidden = {tuple(edge) for edge in torch.cat([links, links.flip(0)], dim=1).t().tolist()}
    assert seen.edges == (every - hidden if hide else every)


def test_links_that_are_no_edges_hide_none():
    dataset = link_dataset()
    data: Any = dataset.data.clone()
    gone = torch.tensor([[3, 59, 0], [3, 59, 0]])
    data.train_edges = torch.cat([data.train_edges, gone], dim=1)
    task, seen = LinkTask(config_of(LINKS), dataclasses.replace(dataset, data=data), CPU), Seen()
    loops = torch.arange(data.train_edges.size(1) - 3, data.train_edges.size(1))
    task.loss(seen, next(iter(task.steps(0, 0)))._replace(links=loops))
    assert seen.edges == {tuple(edge) for edge in data.edge_index.t().tolist()}


def test_evaluation_scores_links_and_negatives_on_the_graph_of_training_links():
    dataset = link_dataset()
    data: Any = dataset.data
    task, seen = LinkTask(config_of(LINKS), dataset, CPU), Seen()
    val, test = task.predict(seen, ("val", "test"))
    assert (val.split, test.split) == ("val", "test")
    assert seen.edges == {tuple(edge) for edge in data.edge_index.t().tolist()}
    assert torch.equal(
        seen.pairs,
        torch.cat([data.val_edges, data.val_negative_edges, data.test_edges, data.test_negative_edges], dim=1),
    )
    for part in (val, test):
        assert part.labels.flatten().tolist() == [1.0] * 30 + [0.0] * 40
        assert part.outputs.shape == (70, 1)


@pytest.mark.usefixtures("dataset")
def test_settings_that_do_not_fit_are_refused(tmp_path):
    for sections, words in (
        ({"nodes": {"inductive": True}}, r"\[nodes\] cannot be set: made-up is about links"),
        ({"model": {"pool": "sum"}}, "set pool = \"none\", got 'sum'"),
        ({"links": {"negatives": 0}}, "negatives must be 1 or more"),
        ({"links": {"decoder": "nccn"}}, "expected one of 'inner_product'"),
    ):
        with pytest.raises(ConfigError, match=words):
            train(config_of(LINKS, **sections), tmp_path, progress=False)
    table = {**LINKS, "train": {"epochs": 1}}
    with pytest.raises(ConfigError, match=r'needs a key "batch_size".*how many links'):
        train(config_of(table), tmp_path / "b", progress=False)


def test_data_without_negatives_are_refused():
    dataset = link_dataset()
    build.check_dataset(dataset)
    data = dataset.data.clone()
    data.test_negative_edges = data.test_negative_edges[:, :0]
    with pytest.raises(DataError, match="has no test_negative pairs"):
        build.check_dataset(dataclasses.replace(dataset, data=data))


def test_features_that_are_there_are_kept():
    dataset = link_dataset()
    assert dataset.node_categories == (60,)
    assert torch.equal(dataset.node["x"].flatten(), torch.arange(60))
    assert dataset.with_node_numbers() is dataset
