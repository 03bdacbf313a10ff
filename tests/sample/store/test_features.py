"""Feature stores: the rows of a tensor, wherever they are, and exact counts of where they were found."""

import os
import pickle
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch_geometric.data import Data

from gnnkit.errors import ConfigError, DataError, DtypeError, IndexRangeError, ShapeError
from gnnkit.sample import SaintWalk, take
from gnnkit.sample.store import FeatureStore, Metrics
from tests.sample.saint_graphs import random_data

DTYPES = [torch.float32, torch.float16, torch.bfloat16, torch.int64]
every_dtype = pytest.mark.parametrize("dtype", DTYPES)


def features(num_rows: int = 300, width: int = 7, dtype: torch.dtype = torch.float32) -> Tensor:
    values = torch.randn(num_rows, width, generator=torch.Generator().manual_seed(num_rows))
    return (values * 100).to(dtype)


def some(num_rows: int, count: int = 500) -> Tensor:
    return torch.randint(num_rows, (count,), generator=torch.Generator().manual_seed(count))


@every_dtype
@pytest.mark.parametrize("shape", [(300, 7), (300,), (40, 3, 5), (0, 4), (5, 0), (3000, 1200)])
def test_rows_are_those_of_the_tensor(tmp_path: Path, dtype: torch.dtype, shape: tuple[int, ...]):
    x = (torch.randn(shape) * 100).to(dtype)
    store = FeatureStore.write(tmp_path / "x", x)
    assert (store.shape, store.dtype, len(store)) == (x.shape, dtype, shape[0])
    index = some(shape[0]) if shape[0] else torch.empty(0, dtype=torch.int64)
    for n_id in (index, index.int(), index[:0]):
        found = store[n_id]
        assert found.dtype == dtype
        assert torch.equal(found, x[n_id])
    again = FeatureStore(tmp_path / "x", read_ahead=False)
    assert torch.equal(again.gather(index), x[index])
    again.verify()
    assert os.listdir(tmp_path) == ["x"]


def test_what_is_gathered_is_the_callers(tmp_path: Path):
    x = features()
    store = FeatureStore.write(tmp_path / "x", x)
    store[torch.arange(300)].zero_()
    assert torch.equal(store[torch.arange(300)], x)


@pytest.mark.parametrize("sizes", [[300], [0, 100, 0, 200], [1] * 300])
def test_rows_come_in_parts(tmp_path: Path, sizes: list[int]):
    x, held = features(), []

    def parts() -> Iterator[Tensor | np.ndarray]:
        for number, part in enumerate(x.split(sizes)):
            held.append(len(part))
            yield part if number % 2 else part.numpy()

    store = FeatureStore.write(tmp_path / "x", parts())
    assert held == sizes
    assert torch.equal(store[torch.arange(300)], x)


def test_arrays_that_are_mapped_or_not_contiguous(tmp_path: Path):
    x = features(600, 30).numpy()
    np.save(tmp_path / "x.npy", x)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    for rows, wanted in ((mapped, x), (mapped[::2, 3:5], x[::2, 3:5]), (torch.from_numpy(x).t(), x.T)):
        store = FeatureStore.write(tmp_path / "x", rows)
        assert np.array_equal(store[torch.arange(len(store))].numpy(), wanted)


def test_conversion(tmp_path: Path):
    x = features(dtype=torch.float64)
    store = FeatureStore.write(tmp_path / "x", [x[:100], x[100:].float()], dtype=torch.float16)
    assert torch.equal(store[torch.arange(300)], torch.cat([x[:100].half(), x[100:].float().half()]))
    x[3, 2] = torch.inf
    x[4, 2] = torch.nan
    found = FeatureStore.write(tmp_path / "x", x, dtype=torch.float16)[torch.arange(300)]
    assert torch.equal(found.nan_to_num(nan=7.0), x.half().nan_to_num(nan=7.0))
    integers = FeatureStore.write(tmp_path / "x", torch.arange(5, dtype=torch.int32), dtype=torch.int64)
    assert integers[torch.tensor([4, 0])].tolist() == [4, 0]


def test_rows_that_a_store_cannot_hold(tmp_path: Path):
    for rows in (features().double(), features().to(torch.complex64), torch.ones(3, dtype=torch.bool)):
        with pytest.raises(DtypeError, match="a store holds float32, float16, bfloat16, int64"):
            FeatureStore.write(tmp_path / "x", rows)
    with pytest.raises(DtypeError, match="dtype must be one of"):
        FeatureStore.write(tmp_path / "x", features(), dtype=torch.float64)
    with pytest.raises(DtypeError, match=r"which torch\.int64 cannot hold"):
        FeatureStore.write(tmp_path / "x", features(), dtype=torch.int64)
    with pytest.raises(DataError, match=r"too large for torch\.float16"):
        FeatureStore.write(tmp_path / "x", features() * 1e6, dtype=torch.float16)
    for parts in ([features(5, 3), features(5, 4)], [features(5, 3), features(5, 3).half()]):
        with pytest.raises(ShapeError, match="all parts must have rows of one shape and dtype"):
            FeatureStore.write(tmp_path / "x", parts)
    with pytest.raises(DataError, match="no part of the rows"):
        FeatureStore.write(tmp_path / "x", [])
    with pytest.raises(ShapeError, match="got a scalar"):
        FeatureStore.write(tmp_path / "x", torch.tensor(1.0))
    with pytest.raises(DtypeError, match="must be tensors or arrays"):
        FeatureStore.write(tmp_path / "x", [[1.0, 2.0]])  # type: ignore[list-item]
    with pytest.raises(DtypeError, match="dense"):
        FeatureStore.write(tmp_path / "x", features().to_sparse())
    assert os.listdir(tmp_path) == []


def test_numbers_that_are_no_rows(tmp_path: Path):
    store = FeatureStore.write(tmp_path / "x", features())
    for number in (-1, 300):
        with pytest.raises(IndexRangeError, match=r"first one outside is n_id\[1\]"):
            store[torch.tensor([0, number])]
    with pytest.raises(DtypeError, match="n_id must be int32 or int64"):
        store[torch.tensor([0.0])]
    with pytest.raises(ShapeError):
        store[torch.tensor([[0]])]
    with pytest.raises(IndexRangeError):
        FeatureStore.write(tmp_path / "y", features(0))[torch.tensor([0])]
    assert store.metrics == Metrics()


def test_metrics_are_exact(tmp_path: Path):
    # 128 bytes a row: 32 rows to a page.
    x = features(640, 32)
    store = FeatureStore.write(tmp_path / "x", x)
    assert store.metrics.hit_rate == 0
    store[torch.tensor([0, 31, 32, 32, 639])]
    assert store.metrics == Metrics(rows=5, hits=0, bytes_read=5 * 128, pages_read=3)
    store[torch.tensor([1, 2])]
    assert store.metrics == Metrics(rows=7, hits=0, bytes_read=7 * 128, pages_read=4)
    assert store.metrics.page_bytes == 4 * 4096
    store.reset_metrics()
    score = torch.zeros(640)
    score[:64] = torch.arange(64, 0, -1)
    assert store.keep(score, bytes=40 * 128 + 127) == store.kept_rows == 40
    assert store.metrics == Metrics()
    store[torch.tensor([0, 39, 40, 41, 39, 100])]
    assert store.metrics == Metrics(rows=6, hits=3, bytes_read=3 * 128, pages_read=2)
    assert store.metrics.hit_rate == 0.5


@every_dtype
@pytest.mark.parametrize("reordered", [False, True])
def test_what_is_kept_changes_no_row(tmp_path: Path, dtype: torch.dtype, reordered: bool):
    x, index = features(dtype=dtype), some(300)
    store = FeatureStore.write(tmp_path / "x", x)
    if reordered:
        store = store.reorder(tmp_path / "y", torch.randperm(300))
    for most in (0, 1, 50 * store.row_bytes, None):
        score = torch.rand(300) * (torch.arange(300) % 3 > 0)
        kept = store.keep(score, bytes=most)
        assert kept == min(200 - int((score == 0).sum() - 100), 300 if most is None else most // store.row_bytes)
        store.reset_metrics()
        assert torch.equal(store[index], x[index])
        best = score.argsort(descending=True, stable=True)[:kept]
        assert store.metrics.hits == int(torch.isin(index, best).sum())


def test_of_equal_scores_the_lower_number_is_kept(tmp_path: Path):
    store = FeatureStore.write(tmp_path / "x", features())
    assert store.keep(torch.tensor([1, 5] * 150), bytes=store.row_bytes * 3) == 3
    store[torch.tensor([1, 3, 5, 7, 0])]
    assert store.metrics.hits == 3


def test_scores_that_are_none(tmp_path: Path):
    store = FeatureStore.write(tmp_path / "x", features())
    for score in (torch.full((300,), torch.nan), -torch.ones(300), torch.ones(300, dtype=torch.complex64)):
        with pytest.raises(ConfigError, match="numbers of at least 0"):
            store.keep(score)
    with pytest.raises(ShapeError, match="one entry for each of 300 rows"):
        store.keep(torch.ones(299))
    with pytest.raises(DtypeError, match=r"score must be a torch\.Tensor"):
        store.keep([1.0] * 300)  # type: ignore[arg-type]
    for most in (-1, 1.5, True):
        with pytest.raises(ConfigError, match="bytes must be an integer"):
            store.keep(torch.ones(300), bytes=most)  # type: ignore[arg-type]


def test_reordering_keeps_numbers_and_moves_rows(tmp_path: Path):
    x, order = features(640, 32), torch.randperm(640)
    store = FeatureStore.write(tmp_path / "x", x)
    moved = store.reorder(tmp_path / "y", order)
    assert torch.equal(moved[torch.arange(640)], x)
    moved.reset_metrics()
    # The first 32 of the order share a page.
    moved[order[:32]]
    assert moved.metrics.pages_read == 1
    twice = moved.reorder(tmp_path / "z", torch.arange(640))
    assert torch.equal(twice[torch.arange(640)], x)
    twice.reset_metrics()
    twice[torch.arange(32)]
    assert twice.metrics.pages_read == 1
    assert len({store.content, moved.content, twice.content}) == 3


def test_orders_that_are_no_permutations(tmp_path: Path):
    store = FeatureStore.write(tmp_path / "x", features(4))
    with pytest.raises(IndexRangeError, match="row 1 is not in it"):
        store.reorder(tmp_path / "y", torch.tensor([0, 0, 2, 3]))
    with pytest.raises(IndexRangeError, match="order must lie in"):
        store.reorder(tmp_path / "y", torch.tensor([0, 1, 2, 4]))
    with pytest.raises(ShapeError, match="one entry for each of 4 rows"):
        store.reorder(tmp_path / "y", torch.tensor([0, 1, 2]))
    with pytest.raises(DtypeError):
        store.reorder(tmp_path / "y", torch.ones(4))
    with pytest.raises(ConfigError, match="is the file that is read from"):
        store.reorder(tmp_path / "." / "x", torch.arange(4))
    assert os.listdir(tmp_path) == ["x"]


def test_a_store_takes_the_place_of_a_tensor_in_a_sampler(tmp_path: Path):
    live = random_data()
    data = live.clone()
    data.x = FeatureStore.write(tmp_path / "x", live.x)
    data.edge_attr = FeatureStore.write(tmp_path / "edge", live.edge_attr)
    data.num_nodes = live.num_nodes
    for batch, wanted in zip(SaintWalk(data, 5, 2, 4), SaintWalk(live, 5, 2, 4), strict=True):
        for name in ("x", "y", "edge_attr", "edge_index", "node_norm"):
            assert torch.equal(batch[name], wanted[name])
    assert data.x.metrics.rows > 0


def test_rows_of_nodes_and_of_edges_are_told_apart(tmp_path: Path):
    three = FeatureStore.write(tmp_path / "x", features(3))
    edges, ids = torch.tensor([[0, 1, 2], [1, 2, 0]]), torch.tensor([2, 0])
    part = take(Data(edge_index=edges, x=three, edge_x=three, num_nodes=3), ids[:1], ids, torch.tensor([[0], [0]]))
    assert torch.equal(part.x, three[ids[:1]])
    assert torch.equal(part.edge_x, three[ids])
    with pytest.raises(DataError, match=r"data\.x has 3 rows"):
        take(Data(edge_index=edges[:, :2], x=three, num_nodes=5), ids, ids[:0], edges[:, :0])


def test_another_process_opens_the_file_again(tmp_path: Path):
    x = features(3000, 100)
    store = FeatureStore.write(tmp_path / "x", x, read_ahead=False)
    sent = pickle.dumps(store)
    assert len(sent) < 1000
    again = pickle.loads(sent)
    assert not again.read_ahead
    assert torch.equal(again[some(3000)], x[some(3000)])
    assert repr(store) == f"FeatureStore((3000, 100), torch.float32, {str(tmp_path / 'x')!r})"


def test_a_file_that_was_cut_short(tmp_path: Path):
    FeatureStore.write(tmp_path / "x", features())
    content = (tmp_path / "x").read_bytes()
    (tmp_path / "x").write_bytes(content[:-100])
    with pytest.raises(DataError, match="truncated"):
        FeatureStore(tmp_path / "x")
    with pytest.raises(ConfigError, match="read_ahead must be True or False"):
        FeatureStore(tmp_path / "x", read_ahead=1)  # type: ignore[arg-type]
