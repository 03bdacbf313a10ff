"""Graphs with links to predict: made-up raw files that are spoiled one by one, and ogbl-ddi."""

import io
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gnnkit.data import card, load, load_links, verify
from gnnkit.data.links import SOURCE, read_links
from gnnkit.errors import ConfigError, DataError
from tests.data.conftest import TinySet, csv_gz
from tests.data.real_files import check_card


def old_torch(content: Any, magic: int = 0x1950A86A20F9469CFC6C) -> bytes:
    """As torch before 1.6 saves what holds no tensor."""
    parts = (magic, 1001, {"protocol_version": 1001, "little_endian": True}, content, [])
    return b"".join(pickle.dumps(part, protocol=2) for part in parts)


VALID = {"edge": np.array([[3, 0]]), "edge_neg": np.array([[1, 3], [0, 0]])}
TEST = {"edge": np.array([[1, 3], [2, 3]]), "edge_neg": np.zeros((0, 2), dtype=np.int64)}
CONTENT: dict[str, tuple[str, bytes]] = {
    "edges": ("edge.csv.gz", csv_gz("1,0\n1,2\n")),
    "num-nodes": ("num-node-list.csv.gz", csv_gz("4\n")),
    "split-valid": ("valid.pt", old_torch(VALID)),
    "split-test": ("test.pt", old_torch(TEST)),
}


@pytest.fixture
def tiny(tmp_path: Path, cards: Path) -> Callable[..., TinySet]:
    def made(statistics: str = "", **replaced: bytes) -> TinySet:
        tiny = TinySet(tmp_path / "root", cards)
        tiny.head = {
            "name": "tiny-links", "title": "Tiny", "description": "d", "source": SOURCE, "task": "binary",
            "metric": "hits@20", "num_outputs": 1, "licence": "none",
        }  # fmt: skip
        for role, (path, content) in CONTENT.items():
            tiny.add(role, f"tiny/{path}", replaced.get(role.replace("-", "_"), content))
        tiny.statistics = statistics
        tiny.write()
        return tiny

    return made


def test_the_old_format_is_that_of_torch():
    stream = io.BytesIO()
    torch.save(VALID, stream, _use_new_zipfile_serialization=False)
    assert stream.getvalue().startswith(old_torch(VALID)[:20])


def test_links_in_both_directions_and_pairs_of_each_split(tiny):
    tiny()
    data = load_links("tiny-links", progress=False)
    assert data.edge_index.tolist() == [[0, 1, 1, 2], [1, 0, 2, 1]]
    assert data.num_nodes == 4
    assert data.train_edges.tolist() == [[1, 1], [0, 2]]
    assert data.val_edges.tolist() == [[3], [0]]
    assert data.val_negative_edges.tolist() == [[1, 0], [3, 0]]
    assert data.test_edges.tolist() == [[1, 2], [3, 3]]
    assert data.test_negative_edges.shape == (2, 0)


def test_commands(tiny):
    pairs = "[statistics.pairs]\ntrain = 2\nval = 1\nval_negative = 2\ntest = 2\ntest_negative = 0"
    made = tiny(f"[statistics]\nnodes = 4\nedges = 4\n{pairs}")
    result = verify("tiny-links")
    assert result.ok, str(result)
    assert read_links(card("tiny-links")).official
    made.statistics = made.statistics.replace("val = 1", "val = 3")
    made.write()
    with pytest.raises(DataError, match=r"is not what its card describes: pairs\.val: the card says 3"):
        load_links("tiny-links", progress=False)


@pytest.mark.parametrize(
    ("role", "content", "words"),
    [
        ("num_nodes", csv_gz("4\n5\n"), "must hold one number of nodes"),
        ("num_nodes", csv_gz("2\n"), "links must name nodes 0 to 1, got 0 to 2"),
        ("edges", csv_gz("1,0,2\n"), "expected 2"),
        ("split_valid", old_torch(VALID, magic=5), "is not in the format of torch before 1.6"),
        ("split_valid", old_torch(VALID)[:60], "is damaged, or not a complete pickle"),
        ("split_valid", old_torch([1]), "must hold a dict with the keys edge, edge_neg, got list"),
        ("split_test", old_torch({"edge": np.array([[0, 4]]), "edge_neg": np.array([[0, 1]])}), "edge must name nodes"),
        ("split_test", old_torch({"edge": [[0, 1]], "edge_neg": np.array([[0, 1]])}), "edge must be an array of two"),
        ("split_test", old_torch({"edge": np.array([[0.5, 1]]), "edge_neg": np.array([[0, 1]])}), "must be integers"),
    ],
)  # fmt: skip
def test_damaged_files_are_refused(tiny, role, content, words):
    tiny(**{role: content})
    with pytest.raises(DataError, match=words):
        load_links("tiny-links", progress=False)


def test_other_kinds_of_datasets_are_pointed_elsewhere(tiny):
    tiny()
    with pytest.raises(ConfigError, match=r"one graph with links to predict.*use gnnkit\.data\.load_links"):
        load("tiny-links")


def test_a_set_of_graphs_has_no_links_to_predict():
    with pytest.raises(ConfigError, match="mutag is no graph with links to predict; such are ogbl-ddi"):
        load_links("mutag")


@pytest.mark.data
def test_real_ddi(raw_data: Path, monkeypatch: pytest.MonkeyPatch):
    check_card("ogbl-ddi", raw_data, monkeypatch)
    data = load_links("ogbl-ddi", progress=False)

    def codes(pairs):
        low, high = pairs.sort(dim=0).values
        return low * data.num_nodes + high

    known = torch.cat([codes(data[f"{part}_edges"]) for part in ("train", "val", "test")])
    # What OGB states: 1,334,889 links in all, each in one split, and no negative pair is one of them.
    assert known.unique().numel() == known.numel() == 1_334_889
    for part in ("val", "test"):
        assert not torch.isin(codes(data[f"{part}_negative_edges"]), known).any()
