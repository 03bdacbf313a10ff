"""``gnnkit rewire``: every format in and out, and every mistake in one message."""

import io
import pickle
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pytest
import scipy.sparse
import torch
from torch_geometric.data import Batch, Data, InMemoryDataset

import gnnkit.rewire
from gnnkit.cli import _REWIRINGS, main
from gnnkit.rewire import LASER, RandomEdges, Rewiring, VirtualNode
from tests.rewire.made_graphs import data_of, pairs_of

RANDOM = ["--method", "random-edges", "--num-edges"]


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, restored_logging: None):
    monkeypatch.chdir(tmp_path)


def lines_of(path: str) -> list[list[str]]:
    return [line.split("," if path.endswith("csv") else "\t") for line in Path(path).read_text().splitlines()]


def fails(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["rewire", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Traceback" not in captured.err
    return captured.err


def test_each_edge_once_stays_each_edge_once(capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture):
    Path("in.csv").write_text("a,b\nb,c\nc,d\nd,e\n\n# a comment\nc,b\n".replace("c,b\n", "e,f\n"))
    assert main(["rewire", "in.csv", "out.csv", *RANDOM, "2", "--seed", "3"]) == 0
    assert "in.csv lists each edge once: 5 are taken as undirected" in caplog.text
    assert "5 -> 7 edges (2 added, 0 removed). Written: out.csv" in capsys.readouterr().out
    header, *lines = lines_of("out.csv")
    assert header == ["source", "target", "edge_type"]
    expected = RandomEdges(num_edges=2, seed=3)(data_of(nx.path_graph(6)))
    assert [(ord(u) - 97, ord(v) - 97) for u, v, kind in lines if kind == "1"] == sorted(pairs_of(expected, 1))
    assert sorted((u, v) for u, v, kind in lines if kind == "0") == [*zip("abcde", "bcdef", strict=True)]


def test_both_directions_stay_both_and_its_own_output_is_read_again(capsys: pytest.CaptureFixture[str]):
    Path("in.txt").write_text("0 10 1.5\n10 0 1.5\n10 2 2\n2 10 2\n2 0 3\n0 2 3\n2 31 1\n31 2 1\n")
    assert main(["rewire", "in.txt", "out.txt", "--method=random-edges", "--num-edges=1"]) == 0
    header, *lines = lines_of("out.txt")
    assert header == ["source", "target", "weight", "edge_type"]
    assert len(lines) == 10
    assert {(u, v) for u, v, *_ in lines} == {(v, u) for u, v, *_ in lines}
    assert {u for u, *_ in lines} == {"0", "2", "10", "31"}
    assert [weight for _, _, weight, kind in lines if kind == "1"] == ["1.0"] * 2
    assert main(["rewire", "out.txt", "again.csv", *RANDOM, "1"]) == 0
    assert [kind for *_, kind in lines_of("again.csv")[1:]].count("1") == 4
    assert "4 -> 5" in capsys.readouterr().out


@pytest.mark.parametrize(
    "text",
    [
        "source,target,weight\n1,2,5\n2,3,6\n",
        "\ufeffFrom;To;Weight\n1;2;5\n2;3;6\n",
        "u\tv\tw\n1\t2\t5\n2\t3\t6\n",
        "% matrix\n1 2 5\n2 3 6\n",
        "left,right,w,colour\n1,2,5,red\n2,3,6,blue\n",
        '"1","2",5\n"2","3",6\n',
    ],
)
def test_text_of_any_kind(text: str, caplog: pytest.LogCaptureFixture):
    Path("in.csv").write_text(text, encoding="utf-8")
    assert main(["rewire", "in.csv", "out.csv", *RANDOM, "1"]) == 0
    assert lines_of("out.csv")[1:] == [["1", "2", "5.0", "0"], ["1", "3", "1.0", "1"], ["2", "3", "6.0", "0"]]
    assert ("column colour is left out" in caplog.text) == ("colour" in text)


def test_numbers_of_nodes_count_isolated_ones():
    Path("in.csv").write_text("0,1\n")
    assert main(["rewire", "in.csv", "out.csv", "--method", "virtual-node", "--num-nodes", "4"]) == 0
    assert lines_of("out.csv")[1:] == [["0", "1", "0"], *([str(v), "4", "1"] for v in range(4))]
    assert main(["rewire", "in.csv", "named.csv", "--method", "virtual-node"]) == 0
    assert lines_of("named.csv")[1:] == [["0", "1", "0"], ["0", "2", "1"], ["1", "2", "1"]]


def test_archives_of_numpy_and_scipy():
    data = data_of(nx.cycle_graph(8))
    np.savez("in.npz", edge_index=data.edge_index.numpy(), num_nodes=9, x=np.ones((9, 2)), edge_attr=np.ones((16, 3)))
    assert main(["rewire", "in.npz", "out.npz", "--method", "laser", "--radius", "2", "--density", "1"]) == 0
    with np.load("out.npz", allow_pickle=False) as out:
        assert out["num_nodes"] == 9
        assert out["x"].shape == (9, 2)
        assert out["edge_index"].shape == (2, 32)
        assert out["edge_attr"].shape == (32, 3)
        assert sorted(out["edge_type"].tolist()) == [0] * 16 + [1] * 16
    matrix = scipy.sparse.csr_array(nx.to_scipy_sparse_array(nx.cycle_graph(8)))
    for name, stored in (("full.npz", matrix), ("half.npz", scipy.sparse.triu(matrix))):
        scipy.sparse.save_npz(name, scipy.sparse.coo_matrix(stored))
        assert main(["rewire", name, f"out-{name}", "--method", "laser", "--radius", "2", "--density", "1"]) == 0
        found = scipy.sparse.load_npz(f"out-{name}")
        assert found.nnz == (32 if name == "full.npz" else 16)
        assert (found.toarray() == found.toarray().T).all() == (name == "full.npz")


def test_graphml_keeps_attributes():
    graph = nx.path_graph(["x", "y", "z", "w"])
    graph.nodes["x"]["colour"] = "red"
    graph.edges["x", "y"]["kind"] = "bond"
    nx.set_edge_attributes(graph, 2.5, "weight")
    nx.write_graphml(graph, "in.graphml")
    assert main(["rewire", "in.graphml", "out.graphml", *RANDOM, "1"]) == 0
    out = nx.read_graphml("out.graphml")
    assert not out.is_directed()
    assert list(out.nodes) == list(graph.nodes)
    assert out.nodes["x"]["colour"] == "red"
    assert out.edges["x", "y"] == {"kind": "bond", "weight": 2.5, "edge_type": 0}
    assert sorted(values["edge_type"] for *_, values in out.edges(data=True)) == [0, 0, 0, 1]
    directed = graph.to_directed()
    nx.write_graphml(directed, "directed.graphml")
    assert main(["rewire", "directed.graphml", "both.graphml", *RANDOM, "1"]) == 0
    assert nx.read_graphml("both.graphml").number_of_edges() == 8


def test_files_of_pytorch_geometric_of_one_graph_a_list_and_a_dataset(capsys: pytest.CaptureFixture[str]):
    graphs = [data_of(nx.cycle_graph(n), y=torch.tensor([n]), x=torch.ones(n, 1)) for n in (5, 6, 7)]
    transform = LASER(radius=2, density=0.5)
    options = ["--method", "laser", "--radius", "2", "--density", "0.5"]
    torch.save(graphs[0], "one.pt")
    torch.save(graphs, "list.pt")
    InMemoryDataset.save(graphs, "dataset.pt")
    assert main(["rewire", "one.pt", "one-out.pt", *options]) == 0
    assert main(["rewire", "list.pt", "list-out.pt", *options, "--cache", "kept"]) == 0
    assert "3 graphs, 18 -> " in capsys.readouterr().out
    assert main(["rewire", "dataset.pt", "dataset-out.pt", *options, "--cache", "kept"]) == 0
    assert len(list(Path("kept").iterdir())) == 1
    expected = [transform(data) for data in graphs]
    one = torch.load("one-out.pt", weights_only=False)
    assert torch.equal(one.edge_index, expected[0].edge_index)

    class Stored(InMemoryDataset):
        def __init__(self) -> None:
            super().__init__()
            self.load("dataset-out.pt")

    for found in (torch.load("list-out.pt", weights_only=False), list(Stored())):
        for data, other in zip(found, expected, strict=True):
            assert torch.equal(data.edge_index, other.edge_index)
            assert torch.equal(data.edge_type, other.edge_type)
            assert torch.equal(data.y, other.y)


def test_formats_can_be_changed():
    Path("in.csv").write_text("a,b,2\nb,c,3\n")
    assert main(["rewire", "in.csv", "out.pt", *RANDOM, "1"]) == 0
    data = torch.load("out.pt", weights_only=False)
    assert sorted(data.edge_weight.tolist()) == [1, 1, 2, 2, 3, 3]
    assert main(["rewire", "in.csv", "out.graphml", *RANDOM, "1"]) == 0
    assert set(nx.read_graphml("out.graphml").nodes) == {"a", "b", "c"}
    assert main(["rewire", "out.pt", "back.csv", *RANDOM, "0"]) == 0
    assert len(lines_of("back.csv")) == 7
    assert main(["rewire", "in.csv", "out.npz", *RANDOM, "1"]) == 0


@pytest.mark.parametrize("suffix", ["png", "pdf", "svg"])
def test_a_picture(suffix: str):
    Path("in.csv").write_text("".join(f"{v},{v + 1}\n" for v in range(20)))
    picture = Path(f"out.{suffix}")
    assert main(["rewire", "in.csv", "out.csv", *RANDOM, "3", "--plot", str(picture)]) == 0
    start = {"png": b"\x89PNG", "pdf": b"%PDF", "svg": b"<?xml"}[suffix]
    assert picture.read_bytes().startswith(start)
    assert 5_000 < picture.stat().st_size < 400_000


def test_options_come_from_the_constructor(capsys: pytest.CaptureFixture[str]):
    for method, name in _REWIRINGS.items():
        if not hasattr(gnnkit.rewire, name):
            continue
        with pytest.raises(SystemExit) as stop:
            main(["rewire", "--method", method, "--help"])
        assert stop.value.code == 0
        text = capsys.readouterr().out
        assert f"options of {method} ({name})" in text
        if issubclass(getattr(gnnkit.rewire, name), Rewiring):
            assert "--edge-fill" in text
            assert "--seed" in text
    main_options = ["rewire", "in.csv", "out.csv"]
    Path("in.csv").write_text("0,1,2\n1,2,2\n2,3,2\n")
    digl = ["--method", "digl", "--digl-method", "heat", "--time", "2", "--threshold", "none", "--top-k", "2"]
    assert main([*main_options, *digl]) == 0
    assert "method='heat', alpha=0.15, time=2, top_k=2, threshold=None" in capsys.readouterr().out
    fill = ["--edge-fill", "edge_weight=0.5,edge_attr=mean", "--no-within-components"]
    assert main([*main_options, "--force", *fill, *RANDOM, "0.34"]) == 0
    words = "edge_fill={'edge_weight': 0.5, 'edge_attr': 'mean'}"
    text = capsys.readouterr().out
    assert words in text
    assert "num_edges=0.34, within_components=False" in text
    assert [row[2] for row in lines_of("out.csv")[1:]].count("0.5") == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--method", "no-such-method"], "invalid choice: 'no-such-method'"),
        ([*RANDOM[:2]], "the following arguments are required: --num-edges"),
        ([*RANDOM, "many"], "argument --num-edges: invalid number value: 'many'"),
        ([*RANDOM, "1", "--radius", "2"], "unrecognized arguments: --radius 2"),
        (["--method", "digl", "--digl-method", "cold"], "argument --digl-method: invalid choice: 'cold'"),
        ([], "the following arguments are required: --method"),
    ],
)
def test_wrong_options_are_argparse_errors(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as stop:
        main(["rewire", "in.csv", "out.csv", *arguments])
    assert stop.value.code == 2
    assert words in capsys.readouterr().err


def test_a_method_that_is_not_there_is_said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.delattr(gnnkit.rewire, "LASER")
    with pytest.raises(SystemExit) as stop:
        main(["rewire", "in.csv", "out.csv", "--method", "laser"])
    assert stop.value.code == 2
    assert "this version of gnnkit has no gnnkit.rewire.LASER" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("0,1\n1,0\n1,2\n", "1 of 3 edges have no reverse in the file"),
        ("0,1\n1,2,3\n", "line 2: expected 2 columns, got 3"),
        ("0,1,x\n1,2,3\n2,3,4\n1,4,z\n", "line 4: x must be a number"),
        ("0,1,2,3\n", "has 4 columns and no header"),
        ("0\n1\n", "expected 2 columns, got 1"),
        ("source,target,weight\n0,1,nan\n", "must be finite and positive"),
        ("source,target,weight\n0,1,abc\n", "line 2: weight must be a number, got 'abc'"),
    ],
)
def test_bad_text_is_named_with_its_line(content: str, words: str, capsys: pytest.CaptureFixture[str]):
    Path("in.csv").write_text(content.replace(",x\n", ",1\n").replace("line 4: x", "line 4: weight"))
    words = words.replace("line 4: x", "line 4: weight")
    assert words in fails(["in.csv", "out.csv", "--method", "digl", "--top-k", "2"], capsys)
    assert not Path("out.csv").exists()


def test_a_mixed_list_is_read_where_it_is_called_undirected():
    Path("in.csv").write_text("0,1\n1,0\n1,2\n")
    assert main(["rewire", "in.csv", "out.csv", "--undirected", *RANDOM, "1"]) == 0
    assert [row[:2] for row in lines_of("out.csv")[1:]] == [["0", "1"], ["0", "2"], ["1", "2"]]


def test_files_that_are_missing_damaged_or_there_already(capsys: pytest.CaptureFixture[str]):
    def said(*arguments: str) -> str:
        return fails([*arguments, *RANDOM, "1"], capsys)

    Path("in.csv").write_text("0,1\n1,2\n")
    assert "there is no file none.csv" in said("none.csv", "out.csv")
    assert "the suffix must tell the format" in said("in.csv", "out.gml")
    assert "the suffix must tell the format" in said("in.xlsx", "out.csv")
    assert "the suffix of a picture" in said("in.csv", "out.csv", "--plot", "out.jpg")
    Path("there.csv").write_text("mine")
    assert "there.csv exists already; --force writes over it" in said("in.csv", "there.csv")
    assert Path("there.csv").read_text() == "mine"
    assert main(["rewire", "in.csv", "there.csv", "--force", *RANDOM, "1"]) == 0
    capsys.readouterr()
    assert "cannot write" in said("in.csv", "in.csv/out.csv")
    for name in ("bad.npz", "bad.pt", "bad.graphml"):
        Path(name).write_bytes(b"nonsense \x00\xff")
        assert name in said(name, "out.csv")
    Path("bad.csv").write_bytes(b"\xff\xfe\x00")
    assert "is not a text file" in said("bad.csv", "out.csv")
    np.savez("objects.npz", edge_index=np.array([{}], dtype=object))
    assert "holds more than arrays of numbers" in said("objects.npz", "out.csv")
    np.savez("nothing.npz", adjacency=np.eye(3))
    assert "must hold integers edge_index" in said("nothing.npz", "out.csv")
    np.savez("unsized.npz", edge_index=np.array([[0, 1], [1, 0]]))
    assert "does not tell the number of nodes" in said("unsized.npz", "out.csv")
    scipy.sparse.save_npz("wide.npz", scipy.sparse.csr_matrix(np.ones((2, 3))))
    assert "must be square" in said("wide.npz", "out.csv")
    np.savez("beyond.npz", edge_index=np.array([[0, 5], [5, 0]]), num_nodes=3)
    assert "num_nodes" in said("beyond.npz", "out.csv")


class Evil:
    def __reduce__(self) -> Any:
        return Path.touch, (Path("touched"),)


def test_nothing_that_a_file_names_is_run(capsys: pytest.CaptureFixture[str]):
    torch.save({"a": Evil()}, "evil.pt")
    error = fails(["evil.pt", "out.pt", *RANDOM, "1"], capsys)
    assert "names something other than tensors and graphs" in error
    Path("evil2.pt").write_bytes(pickle.dumps(Evil()))
    fails(["evil2.pt", "out.pt", *RANDOM, "1"], capsys)
    stream = io.BytesIO()
    np.save(stream, np.array([Evil()], dtype=object), allow_pickle=True)
    Path("evil.npz").write_bytes(stream.getvalue())
    fails(["evil.npz", "out.pt", *RANDOM, "1"], capsys)
    assert not Path("touched").exists()


def test_pt_files_of_other_things_are_named(capsys: pytest.CaptureFixture[str]):
    graphs = [data_of(nx.path_graph(3)), data_of(nx.path_graph(4))]
    for content, words in (
        (torch.ones(3), "must hold a Data, a list of Data"),
        (Batch.from_data_list(graphs), "names something other than tensors and graphs"),
        ([torch.ones(3)], "must hold a Data, a list of Data"),
        (Data(x=torch.ones(2, 1)), "has no edge_index"),
        (({"edge_index": torch.ones(2, 3)}, {"x": torch.ones(2)}), "is no dataset"),
    ):
        torch.save(content, "in.pt")
        assert words in fails(["in.pt", "out.pt", *RANDOM, "1"], capsys)
    torch.save(graphs, "list.pt")
    assert "which only a .pt file does" in fails(["list.pt", "out.csv", *RANDOM, "1"], capsys)
    assert "--plot draws one graph" in fails(["list.pt", "out.pt", *RANDOM, "1", "--plot", "a.png"], capsys)


def test_empty_files_are_graphs_without_edges():
    Path("in.csv").write_text("")
    assert main(["rewire", "in.csv", "out.csv", *RANDOM, "5", "--plot", "out.png"]) == 0
    assert lines_of("out.csv") == [["source", "target", "edge_type"]]
    assert VirtualNode()(data_of(nx.empty_graph(0))).num_nodes == 1


def test_quiet_prints_the_result_only(capfd: pytest.CaptureFixture[str]):
    Path("in.csv").write_text("0,1\n1,2\n")
    assert main(["rewire", "--quiet", "in.csv", "out.csv", *RANDOM, "1"]) == 0
    captured = capfd.readouterr()
    assert captured.err == ""
    assert captured.out.startswith("RandomEdges(")
