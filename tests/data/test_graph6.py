"""The graph6 decoder against NetworkX, on damaged texts, and the files of strongly regular graphs."""

from pathlib import Path

import networkx as nx
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gnnkit.data import card, load, names, verify
from gnnkit.data.graph6 import Topology, decode_graph6
from gnnkit.errors import DataError
from tests.data.conftest import TinySet

STRONGLY_REGULAR = {
    "sr16622": (16, 6, 2, 2),
    "sr25": (25, 12, 5, 6),
    "sr261034": (26, 10, 3, 4),
    "sr281264": (28, 12, 6, 4),
    "sr291467": (29, 14, 6, 7),
    "sr351668": (35, 16, 6, 8),
    "sr351899": (35, 18, 9, 9),
    "sr361446": (36, 14, 4, 6),
    "sr401224": (40, 12, 2, 4),
}


def edges_of(graph: nx.Graph) -> list[tuple[int, int]]:
    return sorted(edge for pair in graph.edges for edge in (pair, pair[::-1]))


def written(graph: nx.Graph, *, header: bool = False) -> bytes:
    return nx.to_graph6_bytes(graph, header=header).strip()


@given(
    st.lists(st.tuples(st.sampled_from([0, 1, 2, 3, 7, 8, 62, 63, 64, 70]), st.floats(0, 1)), max_size=8),
    st.integers(0, 2**32 - 1),
)
@settings(max_examples=60)
def test_what_networkx_writes_is_read_as_networkx_reads_it(shapes: list[tuple[int, float]], seed: int) -> None:
    graphs = [nx.gnp_random_graph(nodes, density, seed=seed + place) for place, (nodes, density) in enumerate(shapes)]
    found = decode_graph6([written(graph, header=place % 2 == 1) for place, graph in enumerate(graphs)])
    assert found.node_ptr.diff().tolist() == [len(graph) for graph in graphs]
    for place, graph in enumerate(graphs):
        edges = found.edge_index[:, found.edge_ptr[place] : found.edge_ptr[place + 1]]
        assert [tuple(edge) for edge in edges.T.tolist()] == edges_of(graph)
    assert found.node_ptr.dtype == found.edge_ptr.dtype == found.edge_index.dtype == torch.int64


def test_the_example_of_the_format_and_a_graph_of_over_a_thousand_nodes() -> None:
    # The example of the description of the format: 0-2, 0-4, 1-3, 3-4.
    edges = decode_graph6([b"DQc"]).edge_index
    assert sorted(tuple(sorted(edge)) for edge in edges.T.tolist())[::2] == [(0, 2), (0, 4), (1, 3), (3, 4)]
    graph = nx.gnp_random_graph(1100, 0.002, seed=3)
    found = decode_graph6([b"@", written(graph), b"?"])
    assert found.node_ptr.tolist() == [0, 1, 1101, 1101]
    assert [tuple(edge) for edge in found.edge_index.T.tolist()] == edges_of(graph)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"D", "graph 1: 0 bytes of adjacency, but 5 nodes need 2"),
        (b"DQ", "graph 1: 1 bytes"),
        (b"DQcc", "graph 1: 3 bytes"),
        (b"", "graph 1: the text is empty"),
        (b">>graph6<<", "graph 1: the text is empty"),
        (b"D c", "graph 1: byte 32 at position 1, expected 63 to 126"),
        (b"D\xff\xff", "graph 1: byte 255"),
        (b"~?@", "graph 1: the text ends within the number of nodes"),
        (b"~?@?", "graph 1: 0 bytes of adjacency, but 64 nodes need 336"),
        (b"~~?????@", "graph 1: more than 258047 nodes"),
        (b"~~", "graph 1: the text ends within the number of nodes"),
        (b"DQd", "graph 1: bits are set behind the last pair"),
    ],
)
def test_damaged_texts_are_refused_with_the_graph(text: bytes, message: str) -> None:
    with pytest.raises(DataError, match=f"^here, {message}"):
        decode_graph6([b"Bw", text, b"Bw"], where="here")


def read(found: Topology) -> list[nx.Graph]:
    graphs = []
    for place, nodes in enumerate(found.node_ptr.diff().tolist()):
        graphs.append(nx.empty_graph(nodes))
        graphs[-1].add_edges_from(found.edge_index[:, found.edge_ptr[place] : found.edge_ptr[place + 1]].T.tolist())
    return graphs


TEXTS = st.one_of(st.binary(max_size=12), st.text(alphabet="?@ABw~", max_size=8).map(str.encode))


@given(st.lists(TEXTS, max_size=4))
def test_whatever_the_bytes_are_they_are_read_or_refused(texts: list[bytes]) -> None:
    try:
        found = decode_graph6(texts)
    except DataError:
        return
    assert found.node_ptr.numel() == len(texts) + 1
    assert [written(graph) for graph in read(found)] == [text.removeprefix(b">>graph6<<") for text in texts]


def test_a_file_of_graphs_is_a_set_in_which_each_is_a_class(tmp_path: Path, cards: Path) -> None:
    tiny = TinySet(tmp_path / "root", cards)
    tiny.head = {
        "name": "tiny", "title": "Tiny", "description": "d", "source": "graph6", "task": "multiclass",
        "metric": "accuracy", "num_outputs": 2, "licence": "none",
    }  # fmt: skip
    tiny.add("graphs", "tiny/graphs.g6", b">>graph6<<Bw\nDQc\n")
    tiny.statistics = "[statistics]\ngraphs = 2\nnodes = 8\nedges = 14"
    tiny.write()
    for _ in ("read", "from the cache"):
        dataset = load("tiny", progress=False)
        assert dataset.graph["y"].tolist() == [0, 1]
        assert dataset.split["test"].tolist() == [0, 1]
        assert dataset.split["train"].numel() == dataset.split["val"].numel() == 0
        assert dataset.batch([0])["edge_index"].tolist() == [[0, 0, 1, 1, 2, 2], [1, 2, 0, 2, 0, 1]]
        assert dataset[1].num_nodes == 5
    tiny.content["tiny/graphs.g6"] = b"Bw\nDQ\n"
    tiny.write()
    with pytest.raises(DataError, match=r"graphs\.g6, graph 1: 1 bytes"):
        load("tiny", progress=False)


def test_all_sets_of_strongly_regular_graphs_have_cards() -> None:
    assert {name for name in names() if card(name).source == "graph6"} == set(STRONGLY_REGULAR)


@pytest.mark.data
@pytest.mark.usefixtures("shared_cache")
@pytest.mark.parametrize("name", STRONGLY_REGULAR)
def test_the_real_graphs_are_strongly_regular(raw_data: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GNNKIT_DATA", str(raw_data))
    if not (raw_data / card(name).files[0].path).is_file():
        pytest.skip(f"GNNKIT_DATA has no {card(name).files[0].path}")
    assert verify(name).ok
    nodes, degree, adjacent, other = STRONGLY_REGULAR[name]
    assert f"({nodes}, {degree}, {adjacent}, {other})" in card(name).title
    dataset = load(name, progress=False)
    matrix = np.zeros((len(dataset), nodes, nodes))
    graph = np.repeat(np.arange(len(dataset)), dataset.edge_ptr.diff().numpy())
    matrix[graph, *dataset.edge_index.numpy()] = 1
    # A^2 = k I + lambda A + mu (J - I - A) defines them.
    identity = np.eye(nodes)
    expected = degree * identity + adjacent * matrix + other * (1 - identity - matrix)
    assert np.array_equal(matrix @ matrix, expected)
    assert len(np.unique(matrix.reshape(len(dataset), -1), axis=0)) == len(dataset)
