"""Normalisation: exact on graphs whose subgraphs can all be listed, in the limit elsewhere; and its file."""

import errno
import os
from pathlib import Path

import pytest
import torch
from torch_geometric.data import Data

from gnnkit import Graph, ops
from gnnkit.errors import ConfigError, DataError
from gnnkit.sample import SaintEdge, SaintWalk
from tests.sample.saint_graphs import SAMPLERS, Listed, path, random_data

every_sampler = pytest.mark.parametrize("name", SAMPLERS)

# All outcomes of one draw of SaintEdge on a path of four, as often as they are likely: of eight.
OUTCOMES = [[0, 1]] * 3 + [[1, 2]] * 2 + [[2, 3]] * 3
EXACT = 3.5  # 16 nodes are more than 3.5 times 4, and 14 are not


def test_weights_on_a_path_are_those_published():
    sampler = Listed(path(4), OUTCOMES, coverage=EXACT)
    counts = sampler.pre_sample()
    assert counts.num_subgraphs == 8
    assert counts.node.tolist() == [3, 5, 5, 3]
    assert counts.edge.tolist() == [3, 3, 2, 2, 3, 3]
    found = torch.zeros(6)
    for batch in sampler:
        found[batch.e_id] = batch.edge_norm
        assert torch.allclose(batch.node_norm, torch.tensor([8 / 12, 8 / 20, 8 / 20, 8 / 12])[batch.n_id])
    # Columns are 0 -> 1, 1 -> 0, 1 -> 2, 2 -> 1, 2 -> 3, 3 -> 2: of an edge, the count of its target.
    assert found.tolist() == pytest.approx([5 / 3, 1, 2.5, 2.5, 1, 5 / 3])


def test_weights_of_the_sampler_of_edges_tend_to_those_published():
    sampler = SaintEdge(path(4), 1, coverage=20_000)
    counts = sampler.pre_sample()
    assert counts.num_subgraphs == 40_001
    assert (counts.node / counts.num_subgraphs).tolist() == pytest.approx([0.375, 0.625, 0.625, 0.375], abs=0.01)
    norms = {
        int(e): float(a)
        for batch in (sampler.make(0, n) for n in range(40))
        for e, a in zip(batch.e_id, batch.edge_norm, strict=True)
    }
    assert [norms[e] for e in range(6)] == pytest.approx([5 / 3, 1, 2.5, 2.5, 1, 5 / 3], rel=0.03)


def test_weighted_losses_are_the_mean_loss_over_all_outcomes():
    loss = torch.tensor([0.3, -1.7, 11.0, 5.0])
    sampler = Listed(path(4), OUTCOMES, coverage=EXACT)
    total = sum(float((batch.node_norm * loss[batch.n_id]).sum()) for batch in sampler)
    assert total / len(OUTCOMES) == pytest.approx(float(loss.mean()))


@pytest.mark.parametrize("inductive", [False, True])
def test_weighted_losses_are_the_mean_loss_of_training_nodes(inductive: bool):
    loss, mask = torch.tensor([0.3, -1.7, 11.0, 5.0]), torch.tensor([True, True, False, True])
    sets, coverage = (OUTCOMES, EXACT) if not inductive else ([[0, 1], [0, 1], [2], [0, 1], [2], [0]], 2.7)
    sampler = Listed(path(4), sets, coverage=coverage, train_mask=mask, inductive=inductive)
    assert sampler.pre_sample().num_subgraphs == len(sets)
    total = sum(float((batch.node_norm * loss[batch.n_id]).sum()) for batch in sampler)
    assert total / len(sets) == pytest.approx(float(loss[mask].mean()), rel=1e-6)


def test_weighted_messages_are_the_whole_aggregation_over_all_outcomes():
    data, x = path(4), torch.tensor([[1.0, -3.0], [2.0, 0.5], [4.0, 7.0], [-8.0, 1.0]])
    sampler = Listed(data, OUTCOMES, coverage=EXACT)
    check_aggregation(sampler, data, x, list(sampler), tolerance=1e-5)


@every_sampler
def test_weighted_messages_tend_to_the_whole_aggregation(name: str):
    data = random_data(20, 60, seed=5)
    sampler = SAMPLERS[name](data, num_steps=1500, coverage=1500, prefetch=0)
    check_aggregation(sampler, data, data.x, list(sampler), tolerance=0.2)


def check_aggregation(sampler, data: Data, x: torch.Tensor, batches: list[Data], *, tolerance: float) -> None:
    """What a node takes in, on average over the batches that have it, against the mean over all its neighbours."""
    total, met = torch.zeros_like(x), torch.zeros(x.size(0), 1)
    for batch in batches:
        weight = batch.edge_norm / batch.in_degree[batch.edge_index[1]]
        graph = Graph.from_edge_index(batch.edge_index, batch.num_nodes)
        total.index_add_(0, batch.n_id, ops.spmm(graph, x[batch.n_id], weight))
        met[batch.n_id] += 1
    wanted = ops.spmm(Graph.from_edge_index(data.edge_index, x.size(0)), x, reduce="mean")
    seen = met[:, 0] > 0
    assert int(seen.sum()) >= x.size(0) - 2
    assert float((total[seen] / met[seen] - wanted[seen]).abs().max()) < tolerance


def test_a_sampler_of_the_whole_graph_has_weights_of_one():
    data = random_data()
    sampler = Listed(data, [list(range(40))], coverage=7)
    batch = sampler.make(0, 0)
    assert sampler.pre_sample().num_subgraphs == 8
    assert torch.equal(batch.edge_norm, torch.ones(data.edge_index.size(1)))
    assert torch.equal(batch.node_norm, torch.full((40,), 1 / 40))


def test_what_was_never_met_counts_as_met_once():
    # Only {0, 1} is met in pre-sampling: three subgraphs of two nodes.
    sampler = Listed(path(4), [[0, 1], [0, 1], [0, 1], [0, 1, 2, 3]], coverage=1.1)
    assert sampler.pre_sample().num_subgraphs == 3
    batch = sampler.make(0, 3)
    norms = dict(zip(batch.e_id.tolist(), batch.edge_norm.tolist(), strict=True))
    assert norms == {0: 1, 1: 1, 2: 1, 3: 3, 4: 1, 5: 1}
    assert batch.node_norm.tolist() == pytest.approx([1 / 4, 1 / 4, 3 / 4, 3 / 4])


@pytest.mark.parametrize("coverage", [0.3, 1, 7.5])
@every_sampler
def test_pre_sampling_ends_with_the_first_subgraph_that_covers(name: str, coverage: float, monkeypatch):
    data = random_data()
    sampler = SAMPLERS[name](data, coverage=coverage)
    counts = sampler.pre_sample()
    members, ptr = sampler.draw(0, 2000, sampler._key(0))
    ends = ptr[1:][ptr[1:] > coverage * 40]
    assert counts.num_subgraphs == 2000 - ends.numel() + 1
    assert torch.equal(counts.node, torch.bincount(members[: int(ends[0])], minlength=40))
    source, target = data.edge_index
    of_edge = torch.zeros_like(source)
    for part in members[: int(ends[0])].split(ptr.diff()[: counts.num_subgraphs].tolist()):
        of_edge += torch.isin(source, part) & torch.isin(target, part)
    assert torch.equal(counts.edge, of_edge)
    # Memory is bounded by drawing a few at a time, which must not show.
    monkeypatch.setattr("gnnkit.sample._counts._AT_ONCE", 1)
    again = SAMPLERS[name](data, coverage=coverage).pre_sample()
    assert again.num_subgraphs == counts.num_subgraphs
    assert torch.equal(again.node, counts.node)
    assert torch.equal(again.edge, counts.edge)


def test_without_coverage_there_are_no_norms(tmp_path: Path):
    sampler = SaintWalk(random_data(), 5, 2, coverage=0)
    batch = sampler.make(0, 0)
    assert "node_norm" not in batch
    assert "edge_norm" not in batch
    with pytest.raises(ConfigError, match="coverage=0 draws no subgraphs"):
        sampler.save(tmp_path / "norms.safetensors")


@every_sampler
def test_saved_norms_are_those_of_another_process(name: str, tmp_path: Path, monkeypatch):
    file = tmp_path / "folder" / "norms.safetensors"
    first = SAMPLERS[name](random_data(), num_steps=3)
    first.save(file)
    second = SAMPLERS[name](random_data(), num_steps=3)
    second.load(file)
    monkeypatch.setattr("gnnkit.sample._saint.counted", None)  # nothing is drawn anew
    for one, two in zip(first, second, strict=True):
        assert torch.equal(one.node_norm, two.node_norm)
        assert torch.equal(one.edge_norm, two.edge_norm)
    second.save(tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == file.read_bytes()


def test_shards_share_the_norms(monkeypatch):
    sampler = SaintWalk(random_data(), 5, 2, num_steps=4)
    shard = sampler.shard(1, 2)
    sampler.pre_sample()
    monkeypatch.setattr("gnnkit.sample._saint.counted", None)
    assert len(list(shard)) == 2


def test_norms_of_another_graph_or_sampler_are_refused(tmp_path: Path):
    file, data = tmp_path / "norms", random_data()
    SaintWalk(data, 5, 2, train_mask=data.train_mask).save(file)
    SaintWalk(data, 5, 2, num_steps=9).load(file)  # neither changes what is drawn
    moved = data.clone()
    moved.edge_index = data.edge_index.roll(1, 1)
    fewer = data.clone()
    fewer.edge_index = data.edge_index[:, :-1]
    larger = Data(edge_index=data.edge_index, num_nodes=41)
    for other in (random_data(seed=1), moved, fewer, larger):
        other.edge_attr = None
        with pytest.raises(DataError, match="of a sampler of another graph"):
            SaintWalk(other, 5, 2).load(file)
    for other, words in (
        (SaintWalk(data, 5, 3), r"walk_length: 2, not 3"),
        (SaintWalk(data, 5, 2, seed=4), r"seed: 0, not 4"),
        (SaintWalk(data, 5, 2, coverage=10), r"coverage: 50.0, not 10.0"),
        (SaintEdge(data, 5), r"class: 'SaintWalk', not 'SaintEdge'"),
    ):
        with pytest.raises(DataError, match=f"of another sampler .*{words}"):
            other.load(file)
    with pytest.raises(DataError, match="of a sampler of another graph"):
        SaintWalk(data, 5, 2, train_mask=data.train_mask, inductive=True).load(file)


def test_damaged_and_missing_files_are_refused(tmp_path: Path):
    file, sampler = tmp_path / "norms", SaintWalk(random_data(), 5, 2)
    with pytest.raises(DataError, match="there is no file"):
        sampler.load(file)
    sampler.save(file)
    content = file.read_bytes()
    flipped = bytearray(content)
    flipped[-5] ^= 1
    for wrong in (content[:-9], content[:40], b"", bytes(flipped), b"nothing of the kind"):
        file.write_bytes(wrong)
        with pytest.raises(DataError, match="damaged"):
            SaintWalk(random_data(), 5, 2).load(file)
    torch.save({"node": torch.ones(3)}, file)
    with pytest.raises(DataError, match="holds no norms of a sampler"):
        sampler.load(file)
    assert sampler.make(0, 0).node_norm.numel() > 0


def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch):
    file, sampler = tmp_path / "norms", SaintWalk(random_data(), 5, 2)
    sampler.save(file)
    before = file.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        SaintWalk(random_data(), 6, 2).save(file)
    assert file.read_bytes() == before
    assert list(tmp_path.iterdir()) == [file]
