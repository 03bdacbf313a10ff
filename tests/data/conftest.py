"""An own cache and an empty data root for every test, and small made-up datasets."""

import gzip
import hashlib
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gnnkit.data import DatasetInfo, GraphDataset, Ragged


@pytest.fixture(autouse=True)
def _own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GNNKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("GNNKIT_DATA", str(tmp_path / "root"))
    monkeypatch.setenv("GNNKIT_OFFLINE", "1")


@pytest.fixture(scope="session")
def session_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("session_cache")


@pytest.fixture
def shared_cache(session_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One cache for all tests that ask for it, so that real datasets are processed once per session."""
    monkeypatch.setenv("GNNKIT_CACHE", str(session_cache))
    return session_cache


def random_dataset(
    graphs: int = 7, seed: int = 0, *, with_x: bool = True, with_ragged: bool = True, with_edge_attr: bool = True
) -> GraphDataset:
    """Graphs of 1 to 6 nodes; the first has no edges, the second one node and one self-loop."""
    generator = torch.Generator().manual_seed(seed)
    num_nodes = torch.randint(1, 7, (graphs,), generator=generator)
    num_edges = torch.randint(0, 12, (graphs,), generator=generator)
    num_nodes[:2] = torch.tensor([3, 1])[:graphs]
    num_edges[:2] = torch.tensor([0, 1])[:graphs]

    def ptr(counts: torch.Tensor) -> torch.Tensor:
        return torch.cat([counts.new_zeros(1), counts.cumsum(0)])

    sizes = num_nodes.repeat_interleave(num_edges)
    edges, nodes = int(num_edges.sum()), int(num_nodes.sum())
    edge_index = (torch.rand(2, edges, generator=generator) * sizes).long()
    labels = torch.randint(0, 2, (graphs, 3), generator=generator).float()
    labels[0, 1] = torch.nan
    node = {"pe": torch.randn(nodes, 2, generator=generator), "mask": torch.rand(nodes, generator=generator) < 0.5}
    ragged = {}
    if with_ragged:
        hops = torch.randint(0, 4, (graphs,), generator=generator)
        hop_sizes = num_nodes.repeat_interleave(hops)
        ragged["hop_index"] = Ragged(
            (torch.rand(2, int(hops.sum()), generator=generator) * hop_sizes).long(), ptr(hops)
        )
        ragged["spectrum"] = Ragged(torch.randn(int(hops.sum()), generator=generator), ptr(hops))
    order = torch.randperm(graphs, generator=generator)
    return GraphDataset(
        DatasetInfo("random", "multilabel", "ap", 3, checksums={"random.csv": "ab" * 32}, notes=("made up",)),
        node_ptr=ptr(num_nodes),
        edge_ptr=ptr(num_edges),
        edge_index=edge_index,
        node={"x": torch.randint(0, 9, (nodes, 4), generator=generator), **node} if with_x else node,
        edge={"edge_attr": torch.randint(0, 5, (edges, 2), generator=generator)} if with_edge_attr else {},
        graph={"y": labels, "weight": torch.rand(graphs, generator=generator)},
        split={"train": order[: graphs - 2], "val": order[graphs - 2 : graphs - 1], "test": order[graphs - 1 :]},
        ragged=ragged,
    )


@pytest.fixture
def make_dataset() -> Callable[..., GraphDataset]:
    return random_dataset


PEPTIDES = [
    ("CC(=O)N[C@@H](C)C(=O)O", [1, 0, 0, 0, 0, 0, 0, 0, 0, 1]),
    ("C[C@H](N)C(=O)NCC(=O)O", [0, 1, 0, 0, 0, 0, 0, 0, 0, 0]),
    ("NCC(=O)O", [0, 0, 1, 0, 0, 0, 0, 0, 0, 0]),
    ("O", [0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
    ("[NH3+]CC(=O)[O-]", [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]),
]


class TinySet:
    """Raw files and a card, both of which a test may spoil; :meth:`write` must be called after every change."""

    def __init__(self, root: Path, cards: Path) -> None:
        self.root, self.cards = root, cards
        self.content: dict[str, bytes] = {}
        self.files: list[dict[str, Any]] = []
        self.head: dict[str, Any] = {}
        self.statistics = ""

    def add(self, role: str, path: str, content: bytes, **more: Any) -> None:
        self.content[path] = content
        self.files.append({"role": role, "path": path, **more})

    def write(self, *, without: tuple[str, ...] = ()) -> None:
        lines = [f"{key} = {json.dumps(value)}" for key, value in self.head.items()] + [self.statistics]
        for entry in self.files:
            content = self.content[entry["path"]]
            stated = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()} | entry
            lines += ["[[files]]", *(f"{key} = {json.dumps(value)}" for key, value in stated.items())]
            path = self.root / entry["path"]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.unlink(missing_ok=True)
            if entry["path"] not in without:
                path.write_bytes(content)
        self.cards.mkdir(exist_ok=True)
        (self.cards / f"{self.head['name']}.toml").write_text("\n".join(lines))

    def path(self, end: str) -> Path:
        (match,) = [self.root / path for path in self.content if path.endswith(end)]
        return match


@pytest.fixture
def cards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("gnnkit.data.dataset_card.card_folder", lambda: tmp_path / "cards")
    return tmp_path / "cards"


def csv_gz(text: str) -> bytes:
    return gzip.compress(text.encode(), mtime=0)


def peptides_csv(rows: list[tuple[str, Any]], columns: str = "smiles,labels") -> bytes:
    return csv_gz("\n".join([f",{columns}", *(f'{i},{s},"{label}"' for i, (s, label) in enumerate(rows))]) + "\n")


@pytest.fixture
def tiny_peptides(tmp_path: Path, cards: Path) -> TinySet:
    tiny = TinySet(tmp_path / "root", cards)
    tiny.head = {
        "name": "tiny-peptides",
        "title": "Tiny",
        "description": "d",
        "source": "peptides",
        "task": "multilabel",
        "metric": "ap",
        "num_outputs": 10,
        "licence": "none",
    }
    tiny.add("graphs", "tiny/raw/peptides.csv.gz", peptides_csv(PEPTIDES))
    split = {"train": np.array([3, 0, 4]), "val": np.array([1]), "test": np.array([2])}
    tiny.add("split", "tiny/split.pickle", pickle.dumps(split, protocol=4))
    tiny.statistics = "[statistics]\ngraphs = 5\n[statistics.split]\ntrain = 3\nval = 1\ntest = 1"
    tiny.write()
    return tiny


@pytest.fixture
def tiny_molecules(tmp_path: Path, cards: Path) -> TinySet:
    """Three molecules: a chain of three atoms, a single atom, and a pair."""
    tiny = TinySet(tmp_path / "root", cards)
    tiny.head = {
        "name": "tiny-molecules",
        "title": "Tiny",
        "description": "d",
        "source": "ogb-molecules",
        "task": "binary",
        "metric": "rocauc",
        "num_outputs": 1,
        "licence": "none",
    }
    atom = "5,0,4,5,2,0,2,0,0\n"
    for role, path, text in (
        ("num-nodes", "raw/num-node-list.csv.gz", "3\n1\n2\n"),
        ("num-edges", "raw/num-edge-list.csv.gz", "2\n0\n1\n"),
        ("edges", "raw/edge.csv.gz", "0,1\n1,2\n0,1\n"),
        ("node-features", "raw/node-feat.csv.gz", atom * 6),
        ("edge-features", "raw/edge-feat.csv.gz", "0,0,0\n1,2,0\n3,0,1\n"),
        ("labels", "raw/graph-label.csv.gz", "0\n\n1\n"),
        ("split-train", "split/train.csv.gz", "2\n"),
        ("split-valid", "split/valid.csv.gz", "0\n"),
        ("split-test", "split/test.csv.gz", "1\n"),
    ):
        tiny.add(role, f"tiny/{path}", csv_gz(text))
    tiny.write()
    return tiny
