"""HyperGCN's hypergraphs: made-up files that are spoiled one by one, and the real ones."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse
import torch

from gnnkit.data import card, get, list_datasets, load, load_hypergraph, load_pickle, names, verify
from gnnkit.data.hypergcn import SOURCE
from gnnkit.data.restricted_pickle import SparseEntries
from gnnkit.errors import ConfigError, DataError
from gnnkit.hypergraph import DualHypergraph, Hypergraph, PrimalGraph
from tests.data.conftest import TinySet
from tests.data.real_files import check_card, need

FEATURES = np.array([[1.0, 0, 0], [0, 0, 0], [0, 1, 1], [0, 0, 1]], dtype=np.float32)
CONTENT: dict[str, Any] = {
    # As in the real files: integers of NumPy in sets, names with lists.
    "hypergraph": {np.int32(7): {np.int32(2), np.int32(0)}, "an author": [2, 1, 2]},
    "labels": [0, np.int64(1), 1, 0],
    "features": scipy.sparse.csr_matrix(FEATURES),
    "split-1": {"train": [np.int64(0)], "test": [np.int64(1), 2, 3]},
    "split-2": {"train": [2, 1], "test": [0, 3]},
}
PATHS = {"split-1": "splits/1.pickle", "split-2": "splits/2.pickle"}
STATISTICS = """[statistics]
nodes = 4
hyperedges = 2
incidences = 5
isolated = 1
features = 3
[statistics.split]
train = 1
test = 3
[statistics.labels]
count = [2, 2]
"""


@pytest.fixture
def tiny(tmp_path: Path, cards: Path) -> Callable[..., TinySet]:
    """Writes the set with some of its files replaced; those that are None are not on the card."""

    def made(statistics: str = "", notes: list[str] | None = None, **replaced: Any) -> TinySet:
        tiny = TinySet(tmp_path / "root", cards)
        tiny.head = {
            "name": "tiny-hypergraph", "title": "Tiny", "description": "d", "source": SOURCE, "task": "multiclass",
            "metric": "accuracy", "num_outputs": 2, "licence": "none", "notes": notes or [],
        }  # fmt: skip
        content = CONTENT | {key.replace("_", "-"): value for key, value in replaced.items()}
        for role, held in content.items():
            if held is not None:
                raw = held if isinstance(held, bytes) else pickle.dumps(held, protocol=2)
                tiny.add(role, f"tiny/{PATHS.get(role, f'{role}.pickle')}", raw)
        tiny.statistics = statistics
        tiny.write()
        return tiny

    return made


def test_a_hypergraph_with_features_labels_and_a_split(tiny: Callable[..., TinySet]):
    tiny(STATISTICS)
    data = load_hypergraph("tiny-hypergraph", progress=False)
    assert data.hyperedge_index.tolist() == [[0, 2, 2, 1, 2], [0, 0, 1, 1, 1]]
    assert (data.num_nodes, data.num_hyperedges) == (4, 2)
    assert data.x.tolist() == FEATURES.tolist()
    assert data.x.dtype == torch.float32
    assert data.y.tolist() == [0, 1, 1, 0]
    assert data.train_mask.tolist() == [True, False, False, False]
    assert torch.equal(data.test_mask, ~data.train_mask)


def test_the_other_split_and_parts_left_out(tiny: Callable[..., TinySet]):
    tiny()
    data = load_hypergraph("tiny-hypergraph", split=1, progress=False)
    assert data.train_mask.tolist() == [False, True, True, False]
    data = load_hypergraph("tiny-hypergraph", split=None, features=False, progress=False)
    assert sorted(data.to_dict()) == ["hyperedge_index", "num_hyperedges", "num_nodes", "y"]


def test_commands(tiny: Callable[..., TinySet]):
    made = tiny(STATISTICS, notes=["A note."])
    result = verify("tiny-hypergraph")
    assert result.ok, str(result)
    assert (len(result.files), result.statistics["incidences"], result.notes) == (5, 5, ("A note.",))
    assert get("tiny-hypergraph", progress=False).statistics == result.statistics
    (summary,) = list_datasets()
    assert (summary.graphs, summary.status) == (None, "files present")
    made.statistics = STATISTICS.replace("isolated = 1", "isolated = 2")
    made.write()
    assert "isolated: the card says 2, the data has 1" in verify("tiny-hypergraph").problems[0]
    with pytest.raises(DataError, match="is not what its card describes: isolated"):
        load_hypergraph("tiny-hypergraph", progress=False)
    made.path("splits/2.pickle").unlink()
    assert not verify("tiny-hypergraph").ok
    with pytest.raises(DataError, match=r"splits/2\.pickle"):
        load_hypergraph("tiny-hypergraph", split=1, progress=False)


def test_what_was_never_to_be_had_is_told(tiny: Callable[..., TinySet]):
    tiny("[statistics]\nnodes = 4\nfeatures = 0", notes=["Features: features.pickle is not here."], features=None)
    with pytest.raises(DataError, match=r"features\.pickle is not here\. load_hypergraph\(\.\.\., features=False\)"):
        load_hypergraph("tiny-hypergraph", progress=False)
    assert load_hypergraph("tiny-hypergraph", features=False, progress=False).x is None
    assert verify("tiny-hypergraph").ok
    tiny(split_1=None, split_2=None)
    with pytest.raises(DataError, match=r"no file on the card holds the splits\. load_hypergraph\(\.\.\., split=None"):
        load_hypergraph("tiny-hypergraph", progress=False)
    assert verify("tiny-hypergraph").ok
    tiny(labels=None)
    with pytest.raises(ConfigError, match="no file has the role labels"):
        load_hypergraph("tiny-hypergraph", progress=False)


def test_wrong_arguments(tiny: Callable[..., TinySet]):
    tiny()
    for split in (2, -1, True, "0"):
        with pytest.raises(ConfigError, match="split of tiny-hypergraph must be 0 to 1, or None"):
            load_hypergraph("tiny-hypergraph", split=split, progress=False)
    with pytest.raises(ConfigError, match="features must be True or False"):
        load_hypergraph("tiny-hypergraph", features=1, progress=False)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"one hypergraph, no set of graphs; use gnnkit\.data\.load_hypergraph"):
        load("tiny-hypergraph")
    with pytest.raises(ConfigError, match="unknown dataset"):
        load_hypergraph("tiny")


@pytest.mark.parametrize("name", ["mutag", "cora", "ogbl-ddi"])
def test_a_set_of_graphs_or_one_graph_is_no_hypergraph(name: str):
    with pytest.raises(ConfigError, match=rf"{name} is no hypergraph; such are coauthorship-cora, coauthorship-dblp"):
        load_hypergraph(name)


@pytest.mark.parametrize(
    ("role", "content", "words"),
    [
        ("hypergraph", [[0, 1]], "expected a dictionary from hyperedges"),
        ("hypergraph", {"a": [0, 4]}, "hyperedge 'a' has node 4"),
        ("hypergraph", {"a": [0, -1]}, "hyperedge 'a' has node -1"),
        ("hypergraph", {"a": 3}, "hyperedge 'a' must hold a set or list"),
        ("hypergraph", {"a": [[0]]}, "a node must be something that a dictionary can hold: unhashable"),
        ("hypergraph", pickle.dumps({"a": [0]})[:-3], "damaged"),
        ("labels", [0, 1, 2, 0], "labels must be 0 to 1, got 0 to 2"),
        ("labels", [0, -1, 1, 0], "labels must be 0 to 1, got -1 to 1"),
        ("labels", [0.5, 1, 1, 0], "labels must be a list of integers, got float64"),
        ("labels", {0: 1}, "labels must be a list of integers, got dict"),
        ("labels", [0, 1, 1], "must hold a real sparse matrix of 3 rows"),
        ("features", FEATURES, "must hold a real sparse matrix of 4 rows, got ndarray"),
        ("features", scipy.sparse.csr_matrix(FEATURES[:3]), r"of 4 rows, got \(3, 3\)"),
        ("features", scipy.sparse.csr_matrix(FEATURES * 1j), "must hold a real sparse matrix"),
        ("features", scipy.sparse.csc_matrix(FEATURES), "csc_matrix, which data files have no need of"),
        ("split_1", {"train": [0]}, r"must hold a dict with the keys train, test, got \['train'\]"),
        ("split_1", [0], "must hold a dict with the keys train, test, got list"),
        ("split_1", {"train": [0], "test": [0, 1]}, "node 0 is both in train and in test"),
        ("split_1", {"train": [4], "test": []}, "the train nodes must name nodes 0 to 3, got 4 to 4"),
        ("split_1", {"train": [0.0], "test": []}, "train must be a list of integers"),
    ],
)
def test_damaged_files_are_refused(tiny: Callable[..., TinySet], role: str, content: Any, words: str):
    tiny(**{role: content})
    with pytest.raises(DataError, match=words):
        load_hypergraph("tiny-hypergraph", progress=False)


def test_nothing_at_all_is_a_hypergraph(tiny: Callable[..., TinySet]):
    tiny(
        hypergraph={}, labels=[], features=scipy.sparse.csr_matrix((0, 3), dtype=np.float32),
        split_1={"train": [], "test": []},
    )  # fmt: skip
    data = load_hypergraph("tiny-hypergraph", progress=False)
    assert (data.num_nodes, data.num_hyperedges, data.x.shape) == (0, 0, (0, 3))


def test_a_matrix_by_rows_is_read_without_scipy_and_its_boundaries_are_checked(tmp_path: Path):
    path = tmp_path / "matrix.pickle"
    matrix = scipy.sparse.csr_matrix(FEATURES)
    for protocol in (2, 3, 4):
        path.write_bytes(pickle.dumps([matrix], protocol=protocol))
        (found,) = load_pickle(path)
        assert isinstance(found, SparseEntries)
        assert found.row.tolist() == [0, 2, 2, 3]
        assert found.column.tolist() == [0, 1, 2, 2]
        assert (found.value.tolist(), found.shape) == ([1, 1, 1, 1], (4, 3))
    good = {"indptr": np.array([0, 1, 2]), "indices": np.array([2, 0]), "data": np.ones(2), "_shape": (2, 3)}
    for key, value in (
        ("indptr", np.array([0, 2])),
        ("indptr", np.array([0, 3, 2])),
        ("indptr", np.array([1, 1, 2])),
        ("indptr", np.array([0, 1, 10**12])),
        ("indptr", np.array([0.0, 1, 2])),
        ("indptr", [0, 1, 2]),
        ("indices", np.array([3, 0])),
        ("indices", 5),
        ("data", np.ones(3)),
        ("_shape", (10**12, 3)),
        ("_shape", "text"),
    ):
        path.write_bytes(pickled_with_state(good | {key: value}))
        with pytest.raises(DataError, match="is damaged"):
            load_pickle(path)
    # Differences of boundaries that wrap around to positive ones.
    path.write_bytes(pickled_with_state(good | {"indptr": np.array([0, 2**63 - 1, -2, 2]), "_shape": (3, 3)}))
    with pytest.raises(DataError, match="boundaries of rows do not fit its entries"):
        load_pickle(path)
    path.write_bytes(pickled_with_state(good))
    assert load_pickle(path).row.tolist() == [0, 1]


def pickled_with_state(state: object) -> bytes:
    """A pickle of a sparse matrix by rows with this state, as protocol 2 writes it."""
    inner = pickle.dumps(state, protocol=2)
    return b"\x80\x02cscipy.sparse.csr\ncsr_matrix\n)\x81" + inner[2:-1] + b"b."


REAL = [name for name in names() if card(name).source == SOURCE]


@pytest.mark.data
@pytest.mark.parametrize("name", REAL)
def test_real_hypergraphs_are_what_their_cards_say(raw_data: Path, monkeypatch: pytest.MonkeyPatch, name: str):
    check_card(name, raw_data, monkeypatch)


@pytest.mark.data
@pytest.mark.parametrize("name", ["coauthorship-cora", "cocitation-cora", "cocitation-citeseer"])
def test_real_splits_and_features(raw_data: Path, name: str):
    need(name, raw_data)
    per_class = 20 if "cora" in name else 23
    seen = []
    for split in range(10):
        data = load_hypergraph(name, split=split, features=split == 0, root=raw_data, progress=False)
        assert torch.equal(data.test_mask, ~data.train_mask)
        assert data.y[data.train_mask].bincount().unique().tolist() == [per_class]
        seen.append(data.train_mask)
        if split == 0:
            assert data.x.unique().tolist() == [0, 1]
    assert torch.stack(seen).unique(dim=0).size(0) == 10


@pytest.mark.data
@pytest.mark.parametrize("name", ["cocitation-pubmed", "coauthorship-dblp"])
def test_real_hypergraphs_without_features_say_so(raw_data: Path, name: str):
    need(name, raw_data)
    with pytest.raises(DataError, match=r"features\.pickle of the authors' repository is not among the files"):
        load_hypergraph(name, root=raw_data)
    split = 0 if "pubmed" in name else None
    data = load_hypergraph(name, features=False, split=split, root=raw_data, progress=False)
    assert Hypergraph.from_data(data).num_nodes == data.y.numel()
    if split is None:
        with pytest.raises(DataError, match="the splits of coauthorship-dblp are missing"):
            load_hypergraph(name, features=False, root=raw_data)


@pytest.mark.data
@pytest.mark.usefixtures("shared_cache")
@pytest.mark.parametrize("name", ["mutag", "ptc-mr", "imdb-binary"])
def test_duals_of_real_graphs(raw_data: Path, monkeypatch: pytest.MonkeyPatch, name: str):
    need(name, raw_data)
    monkeypatch.setenv("GNNKIT_DATA", str(raw_data))
    dataset = load(name, progress=False)
    batch = dataset.batch(range(0, len(dataset), 23))
    graphs = batch.to_data_list()
    for graph, whole in zip(graphs, DualHypergraph()(batch).to_data_list(), strict=True):
        dual = DualHypergraph()(graph)
        assert torch.equal(whole.hyperedge_index, dual.hyperedge_index)
        hypergraph = Hypergraph.from_data(dual)
        assert (hypergraph.num_nodes, hypergraph.num_hyperedges) == (graph.num_edges, graph.num_nodes + graph.num_edges)
        assert bool((hypergraph.node_degree() > 0).all())
        back = PrimalGraph()(DualHypergraph(add_loops=False)(graph))
        assert torch.equal(back.edge_index, graph.edge_index)
        one = DualHypergraph("one", add_loops=False)(graph)
        assert 2 * one.num_nodes == graph.num_edges
        assert torch.equal(PrimalGraph("one")(one).edge_index.unique(dim=1), graph.edge_index.unique(dim=1))
        if graph.edge_attr is not None:
            assert torch.equal(dual.x, graph.edge_attr)
    if name == "mutag":
        from gnnkit.transforms import apply

        duals = apply(graphs, DualHypergraph(), progress=False)
        assert [dual.num_nodes for dual in duals] == [graph.num_edges for graph in graphs]
