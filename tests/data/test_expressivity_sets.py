"""BREC and CSL: made-up files that are spoiled one by one, and the real ones."""

import io
import pickle
from pathlib import Path

import networkx as nx
import numpy as np
import pytest
import scipy.sparse
import torch
from torch_geometric.data import Data

from gnnkit.data import DatasetInfo, card, load, load_pickle, verify
from gnnkit.data.brec import CATEGORIES, Category, read_brec
from gnnkit.data.csl import NUM_FOLDS, ROLES, read_csl
from gnnkit.data.restricted_pickle import SparseEntries
from gnnkit.errors import ConfigError, DataError

INFO = DatasetInfo("tiny", "multiclass", "accuracy", 10)


def edges_of(data: Data) -> torch.Tensor:
    assert data.edge_index is not None
    return data.edge_index


def saved(content: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, content)
    return buffer.getvalue()


@pytest.fixture
def brec_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    kinds = (Category("basic", 2, "basic"), Category("cfi", 1, "CFI"))
    monkeypatch.setattr("gnnkit.data.brec.CATEGORIES", kinds)
    files = {kind.name: tmp_path / f"{kind.name}.npy" for kind in kinds}
    files["basic"].write_bytes(saved(np.array(["Bw", "BW", "DQc", "D??"])))
    files["cfi"].write_bytes(saved(np.array([[b"A_", b"A?"]])))
    return files


def test_pairs_follow_each_other_category_by_category(brec_files: dict[str, Path]) -> None:
    dataset = read_brec(brec_files, INFO)
    assert dataset.node_ptr.diff().tolist() == [3, 3, 5, 5, 2, 2]
    assert dataset.edge_ptr.diff().tolist() == [6, 4, 8, 0, 2, 0]
    assert dataset.graph["pair"].tolist() == [0, 0, 1, 1, 2, 2]
    assert dataset.graph["category"].tolist() == [0, 0, 0, 0, 1, 1]
    assert dataset.graph["y"].tolist() == list(range(6))
    assert dataset[4].category.tolist() == [1]
    assert dataset.batch([0, 5])["pair"].tolist() == [0, 2]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (saved(np.array(["Bw", "BW", "DQc"])), "must hold 2 pairs of texts, got 3 entries of type <U3"),
        (saved(np.arange(4)), "got 4 entries of type int64"),
        (saved(np.array(["Bw", "BW", "DQc", "Dé?"])), "characters that are no graph6"),
        (saved(np.array(["Bw", "BW", "DQc", "D?"])), "graph 3: 1 bytes"),
        (saved(np.array(["Bw", "BW", "DQc", None], dtype=object)), "cannot be read as an array of texts"),
        (saved(np.array(["Bw", "BW", "DQc", "D??"]))[:-3], "cannot be read as an array of texts"),
        (b"", "cannot be read as an array of texts"),
    ],
)
def test_damaged_files_of_pairs_are_refused(brec_files: dict[str, Path], content: bytes, message: str) -> None:
    brec_files["basic"].write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_brec(brec_files, INFO)


@pytest.fixture
def csl_files(tmp_path: Path) -> dict[str, Path]:
    files = {role: tmp_path / role for role in ROLES}
    ring = np.roll(np.eye(4), 1, axis=1)
    matrices = [scipy.sparse.coo_matrix(ring + ring.T + np.eye(4)), scipy.sparse.coo_matrix(np.ones((2, 2)))]
    files["graphs"].write_bytes(pickle.dumps([*matrices, matrices[0]], protocol=3))
    torch.save(torch.tensor([0, 1, 0]), files["labels"], _use_new_zipfile_serialization=False)
    for part, lists in (("train", "0,1,2,0,1"), ("val", "1,2,0,1,2"), ("test", "2,0,1,2,0")):
        files[f"split-{part}"].write_text(lists.replace(",", "\n"))
    return files


def test_graphs_of_sparse_matrices_lose_their_self_loops(csl_files: dict[str, Path]) -> None:
    dataset = read_csl(csl_files, INFO, {"fold": 1})
    assert dataset.node_ptr.tolist() == [0, 4, 6, 10]
    assert edges_of(dataset[0]).tolist() == [[0, 0, 1, 1, 2, 2, 3, 3], [1, 3, 0, 2, 1, 3, 0, 2]]
    assert edges_of(dataset[1]).tolist() == [[0, 1], [1, 0]]
    assert dataset.graph["y"].tolist() == [0, 1, 0]
    assert {part: members.tolist() for part, members in dataset.split.items()} == {
        "train": [1], "val": [2], "test": [0],
    }  # fmt: skip


def test_a_fold_out_of_range_or_damaged_lists_are_refused(csl_files: dict[str, Path]) -> None:
    for fold in (-1, NUM_FOLDS):
        with pytest.raises(ConfigError, match="fold must be 0 to 4"):
            read_csl(csl_files, INFO, {"fold": fold})
    csl_files["split-val"].write_text("1\n2")
    with pytest.raises(DataError, match="no list of graphs in line 3"):
        read_csl(csl_files, INFO, {"fold": 2})
    csl_files["split-val"].write_text("0\n0\n0\n0\n0")
    with pytest.raises(DataError, match="do not name each of the 3 graphs once"):
        read_csl(csl_files, INFO, {"fold": 0})
    csl_files["split-val"].write_text("x")
    with pytest.raises(DataError, match="no list of graphs in line 1"):
        read_csl(csl_files, INFO, {"fold": 0})


@pytest.mark.parametrize(
    ("role", "content", "message"),
    [
        ("graphs", pickle.dumps([np.eye(2)]), "must hold a list of sparse matrices"),
        ("graphs", pickle.dumps([scipy.sparse.coo_matrix(np.ones((2, 3)))]), "graph 0 is no square matrix"),
        ("graphs", pickle.dumps([scipy.sparse.coo_matrix(2 * np.eye(2))]), "graph 0 is no square matrix"),
        ("graphs", pickle.dumps([scipy.sparse.csc_matrix(np.eye(2))]), r"names scipy\.sparse\._csc\.csc_matrix"),
        ("graphs", b"", "is damaged"),
        ("labels", b"", "cannot be read as a tensor"),
        ("labels", pickle.dumps([0, 1, 0]), "cannot be read as a tensor|must hold one int64 label"),
    ],
)
def test_damaged_graphs_and_labels_are_refused(
    csl_files: dict[str, Path], role: str, content: bytes, message: str
) -> None:
    csl_files[role].write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_csl(csl_files, INFO, {"fold": 0})


def test_labels_that_name_a_command_are_refused_and_not_run(csl_files: dict[str, Path], tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.mkdir, (tmp_path / "done",)  # type: ignore[return-value]

    torch.save(Evil(), csl_files["labels"], _use_new_zipfile_serialization=False)
    with pytest.raises(DataError, match="cannot be read as a tensor"):
        read_csl(csl_files, INFO, {"fold": 0})
    assert not (tmp_path / "done").exists()


def test_a_sparse_matrix_is_read_without_scipy_and_its_entries_are_checked(tmp_path: Path) -> None:
    matrix = scipy.sparse.coo_matrix(([2.0, 3.0], ([0, 1], [2, 0])), shape=(2, 3))
    path = tmp_path / "matrix.pickle"
    for protocol in (2, 3, 4):
        path.write_bytes(pickle.dumps({"a": matrix}, protocol=protocol))
        found = load_pickle(path)["a"]
        assert isinstance(found, SparseEntries)
        assert (found.row.tolist(), found.column.tolist(), found.value.tolist()) == ([0, 1], [2, 0], [2, 3])
        assert found.shape == (2, 3)
        assert found.row.dtype == found.column.dtype == np.int64
    for key, value in {
        "row": np.array([0, 2]), "col": np.array([-1, 0]), "data": np.array([1.0]), "_shape": (-1, 3),
    }.items():  # fmt: skip
        state = {"row": np.array([0, 1]), "col": np.array([2, 0]), "data": np.ones(2), "_shape": (2, 3), key: value}
        path.write_bytes(pickled_with_state(state))
        with pytest.raises(DataError, match="is damaged"):
            load_pickle(path)
    path.write_bytes(pickled_with_state({"data": np.ones(2)}))
    with pytest.raises(DataError, match="is damaged"):
        load_pickle(path)
    path.write_bytes(pickled_with_state([1, 2]))
    with pytest.raises(DataError, match="without attributes"):
        load_pickle(path)


def pickled_with_state(state: object) -> bytes:
    """A pickle of a sparse matrix with this state, as protocol 2 writes it."""
    inner = pickle.dumps(state, protocol=2)
    return b"\x80\x02cscipy.sparse.coo\ncoo_matrix\n)\x81" + inner[2:-1] + b"b."


@pytest.fixture
def real_root(raw_data: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Path:
    for file in card(request.param).files:
        if not (raw_data / file.path).is_file():
            pytest.skip(f"GNNKIT_DATA has no {file.path}")
    monkeypatch.setenv("GNNKIT_DATA", str(raw_data))
    return raw_data


@pytest.mark.data
@pytest.mark.usefixtures("shared_cache")
@pytest.mark.parametrize("real_root", ["brec"], indirect=True)
def test_the_pairs_of_brec_are_those_of_the_files_and_alike_to_the_weisfeiler_leman_test(real_root: Path) -> None:
    assert verify("brec").ok
    dataset = load("brec", progress=False)
    assert torch.equal(dataset.graph["category"].bincount(), torch.tensor([2 * kind.pairs for kind in CATEGORIES]))
    begin = 0
    for kind in CATEGORIES:
        texts = np.load(real_root / "brec" / f"{kind.name}.npy").ravel().tolist()
        for place in (0, 1, len(texts) - 1):
            text = texts[place].encode() if isinstance(texts[place], str) else texts[place]
            graph = dataset[begin + place]
            assert graph.category.tolist() == [CATEGORIES.index(kind)]
            expected = sorted(edge for pair in nx.from_graph6_bytes(text).edges for edge in (pair, pair[::-1]))
            assert [tuple(edge) for edge in edges_of(graph).T.tolist()] == expected
        begin += len(texts)
    # Degrees are the first step of that test.
    degree = torch.cat([torch.bincount(edges_of(graph)[0], minlength=int(graph.num_nodes or 0)) for graph in dataset])
    for pair in range(0, 800, 2):
        first, second = (degree[dataset.node_ptr[place] : dataset.node_ptr[place + 1]] for place in (pair, pair + 1))
        assert torch.equal(first.sort().values, second.sort().values)


@pytest.mark.data
@pytest.mark.usefixtures("shared_cache")
@pytest.mark.parametrize("real_root", ["csl"], indirect=True)
def test_csl_has_ten_kinds_of_circular_skip_links(real_root: Path) -> None:
    assert verify("csl").ok
    folds = [load("csl", fold=fold, progress=False) for fold in range(NUM_FOLDS)]
    tested = torch.cat([dataset.split["test"] for dataset in folds])
    assert tested.sort().values.tolist() == list(range(150))
    assert folds[0].content_hash != folds[1].content_hash
    # Circulant graphs of prime order are told apart by their spectra.
    matrices = np.zeros((150, 41, 41))
    matrices[np.repeat(np.arange(150), 164), *folds[0].edge_index.numpy()] = 1
    expected = [nx.to_numpy_array(nx.circulant_graph(41, [1, skip])) for skip in (2, 3, 4, 5, 6, 9, 11, 12, 13, 16)]
    spectra = np.linalg.eigvalsh(matrices).reshape(10, 15, 41)
    assert np.allclose(spectra, np.linalg.eigvalsh(np.stack(expected))[:, None], atol=1e-9)
