"""The benchmarks of rewiring: what they report of methods that work, fail, are wrong or too slow."""

import json
import math
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from torch_geometric.data import Data

from benchmarks import render
from benchmarks.rewiring import __main__ as speed
from benchmarks.rewiring import peers, real_data
from benchmarks.rewiring.check import dense_resistance, forman_error, transport_error
from benchmarks.rewiring.graphs import Collection, change, collections, gnm, power_law_cluster, undirected
from benchmarks.rewiring.page import cell, digits, real_section, speed_section
from benchmarks.rewiring.tasks import Task, method, rewirings
from gnnkit.geometry.simple_graph import SimpleGraph

PATH = undirected(np.array([[0, 1, 2], [1, 2, 3]]), 4)


def test_generated_graphs_are_simple_connected_where_they_should_be_and_of_the_stated_size() -> None:
    stated = {"MUTAG-like": (20, 22), "ENZYMES-like": (36, 66), "COLLAB-like": (75, 2450), "REDDIT-like": (430, 499)}
    for collection in collections():
        assert (collection.nodes, collection.edges) == stated[collection.name]
        for data in collection.graphs:
            graph = SimpleGraph.from_edge_index(data.edge_index, data.num_nodes)
            assert 2 * graph.num_edges == data.num_edges
            assert int(graph.components().max()) == 0
    assert gnm(1000, 5000).num_edges == 10_000
    cora = power_law_cluster(2708)
    assert abs(cora.num_edges - 2 * 5412) <= 20
    assert int(SimpleGraph.from_edge_index(cora.edge_index, 2708).degree.max()) > 80


def test_changes_are_counted_undirected_and_without_self_loops() -> None:
    after = undirected(np.array([[0, 0, 2], [1, 3, 3]]), 4)
    after.edge_index = torch.cat([after.edge_index, torch.tensor([[1], [1]])], 1)
    assert change(PATH, after) == (1, 1)
    assert change(PATH, PATH) == (0, 0)


def test_what_is_wrong_is_found_by_the_checks() -> None:
    # On a path, curvature at alpha 0 is 0; at 1/2 it is 1/2 at the ends and 0 within.
    assert transport_error(PATH, torch.zeros(6), 0.0) < 1e-12
    source, target = PATH.edge_index
    ends = (((source == 0) | (target == 0)) | ((source == 3) | (target == 3))).double() / 2
    assert transport_error(PATH, ends, 0.5) < 1e-12
    assert transport_error(PATH, ends + 0.25, 0.5) == pytest.approx(0.25)
    triangle = undirected(np.array([[0, 0, 1], [1, 2, 2]]), 3)
    assert forman_error(triangle, torch.full((6,), 3.0)) == 0
    assert forman_error(triangle, torch.full((6,), 2.0)) == 1
    assert np.allclose(dense_resistance(PATH), np.abs(np.subtract.outer(np.arange(4), np.arange(4))))


def collection(*graphs: Data) -> Collection:
    return Collection("COLLAB-like", list(graphs), "made here")


def test_a_line_has_times_changes_errors_peers_and_goals() -> None:
    def shorten(data: Data) -> Data:
        return undirected(np.array([[0, 1, 2, 0], [1, 2, 3, 3]]), 4)

    task = Task(
        "GTR, 40 edges", collection(PATH, PATH), lambda: shorten, lambda result: (0.0, 1e-9),
        lambda result: [peers.Peer("other", peers.SAME_RUN, 1e6), peers.Peer("absent", peers.SAME_RUN, failure="gone")],
        {"ratio": 30},
    )  # fmt: skip
    row = speed.measure(task, 0.05)
    assert (row["added"], row["removed"], row["error"]) == (1, 0, 0)
    assert (row["graphs"], row["nodes"], row["edges"]) == (2, 4, 3)
    assert [peer["name"] for peer in row["peers"]] == ["other", "absent", "the authors' program"]
    assert [peer["origin"] for peer in row["peers"]] == [peers.SAME_RUN, peers.SAME_RUN, peers.EARLIER]
    assert row["peers"][0]["ratio"] == pytest.approx(1e6 / row["times"]["median_ms"], rel=0.01)
    assert row["met"] is True
    assert json.loads(json.dumps(row)) == row


@pytest.mark.parametrize(
    ("goal", "met"), [({"at_most_ms": 1e6}, True), ({"at_most_ms": 0.0}, False), ({"ratio": 2}, None)]
)
def test_goals_are_met_or_missed_or_have_nothing_to_compare_with(goal: dict[str, float], met: bool | None) -> None:
    task = Task("unheard of", collection(PATH), lambda: lambda data: torch.zeros(1), goal=goal, heavy=True)
    row = speed.measure(task, 0.01)
    assert row["met"] is met
    assert row["runs"] == 1


def test_what_fails_or_is_wrong_has_no_time_but_a_reason() -> None:
    def fail(data: Data) -> Data:
        raise ValueError("no | such\nluck")

    broken = (
        Task("a", collection(PATH), lambda: fail),
        Task("b", collection(PATH), method("NoSuchMethod")),
        Task("c", collection(PATH), lambda: lambda data: data, lambda result: (0.5, 1e-9)),
        Task("d", collection(PATH), lambda: lambda data: data, lambda result: (math.nan, 1e-9)),
    )
    rows = [speed.measure(task, 0.01) for task in broken]
    assert rows[0]["failure"] == "ValueError: no | such\nluck"
    assert "NoSuchMethod" in rows[1]["failure"]
    assert "wrong by 5.0e-01" in rows[2]["failure"]
    assert "wrong by nan" in rows[3]["failure"]
    assert all("times" not in row for row in rows)
    content = {"rows": rows, "memory": "m"}
    page = list(speed_section(content, "on"))
    assert "**failed**: ValueError: no \\| such luck" in page[-4]
    assert {line.replace("\\|", "").count("|") for line in page[-5:]} == {12}


def test_earlier_figures_belong_to_tasks_and_graphs_that_are_measured() -> None:
    asked = {(task.name, task.collection.name) for task in rewirings()}
    asked |= {(name, graph) for name in peers.MEASURED for graph in ("gnm(1000, 5000)", "Cora-size")}
    known = {(name, graph) for name, figures in peers.MEASURED.items() for graph in figures}
    assert known <= asked
    (crashed,) = peers.measured_before("SDRF, 40 steps", "MUTAG-like")
    assert crashed.record(1.0)["failure"] == "it crashed"
    assert peers.measured_before("SDRF, 40 steps", "unheard of") == []
    for name in peers.MEASURED:
        assert any(name.startswith(start) for start in peers.PROGRAM), name


def test_a_library_that_is_absent_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "GraphRicciCurvature", None)
    # Left from an earlier import, if there was one.
    monkeypatch.setitem(sys.modules, "GraphRicciCurvature.OllivierRicci", ModuleType("OllivierRicci"))
    peer, values = peers.ricci_library(PATH, 0.0)
    assert values is None
    assert peer.record(1.0)["failure"].startswith("absent: ")


@pytest.mark.parametrize("line", ["import no_such_module", "from json import no_such_name", "1 / 0"])
def test_a_library_that_is_broken_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, line: str) -> None:
    package = tmp_path / "GraphRicciCurvature"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "OllivierRicci.py").write_text(line)
    for name in ("GraphRicciCurvature", "GraphRicciCurvature.OllivierRicci"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    try:
        peer, values = peers.ricci_library(PATH, 0.0)
    finally:
        sys.modules.pop("GraphRicciCurvature", None)
    assert values is None
    assert peer.record(1.0)["failure"].startswith("its import fails: ")


def test_networkx_is_timed_and_compared() -> None:
    peer, value = peers.networkx_resistance(PATH, (0, 3))
    assert value == pytest.approx(3)
    assert peer.median_ms is not None


def plain_spectrum(data: Data) -> real_data.Spectrum:
    return real_data.Spectrum(None if data.num_edges == 0 else 0.25, float(data.num_edges), 1)


def test_real_graphs_that_fail_are_counted_and_the_others_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(real_data, "spectrum", plain_spectrum)
    graphs = [PATH, undirected(np.zeros((2, 0), dtype=np.int64), 3), PATH, PATH]

    def transform(data: Data) -> Data:
        if data.num_nodes == 3:
            raise ValueError("empty")
        return undirected(np.array([[0, 1, 0], [1, 2, 3]]), 4)

    row = real_data.row("M", {"k": 1}, real_data.apply(transform, graphs, 60))
    assert (row["tried"], row["graphs"], row["failed"]) == (4, 3, 1)
    assert row["failure"] == "graph 1: ValueError: empty"
    assert (row["added"], row["removed"]) == (1, 1)
    assert row["before"]["resistance"] == {"mean": 6, "median": 6}
    nothing = real_data.row("M", {}, real_data.apply(transform, graphs[1:2], 60))
    assert "times" not in nothing
    slow = real_data.row("M", {}, real_data.apply(transform, graphs, -1.0))
    assert slow["tried"] == 0
    single = real_data.row("M", {}, real_data.apply(lambda data: data, graphs[1:2], 60))
    assert single["after"]["gap"] is None
    assert single["after"]["without_gap"] == 1


def test_the_spectrum_is_that_of_the_largest_component_and_the_sum_of_all() -> None:
    # A path of four, a triangle, an isolated node: resistances 10, 3 * 2/3 and none.
    ends = np.array([[0, 1, 2, 4, 4, 5], [1, 2, 3, 5, 6, 6]])
    data = undirected(ends, 8)
    data.edge_index = torch.cat([data.edge_index, torch.tensor([[7], [7]])], 1)
    found = real_data.spectrum(data)
    assert found.gap == pytest.approx(1 - math.cos(math.pi / 3))
    assert found.resistance == pytest.approx(12)
    assert found.components == 3
    data.edge_weight = torch.full((data.num_edges,), 2.0)
    assert real_data.spectrum(data).resistance == pytest.approx(6)
    lonely = real_data.spectrum(undirected(np.zeros((2, 0), dtype=np.int64), 2))
    assert (lonely.gap, lonely.resistance) == (None, 0)


def test_a_data_set_or_method_that_is_not_there_is_told() -> None:
    absent = real_data.dataset_rows("no-such-set", None, [], 1)
    assert "unknown dataset" in absent["failure"]
    found = real_data.dataset_rows("ring-transfer", 1, [("NoSuchMethod", {}), ("KHop", {"k": 2, "wrong": 1})], 1)
    assert [row["graphs"] for row in found["rows"]] == [0, 0]
    assert "NoSuchMethod" in found["rows"][0]["failure"]
    page = "\n".join(real_section({"disconnected": "d", "datasets": [absent, found]}, "on"))
    assert "**failed**: ConfigError: unknown dataset" in page
    assert "| NoSuchMethod() (**failed**: AttributeError" in page


def test_the_page_shows_both_tables() -> None:
    environment = {"processor": "P", "threads": 2, "cores": 4, "torch": "9", "date": "2000-01-01"}
    times = {"median_ms": 1234.5, "quartile_low_ms": 0.5, "quartile_high_ms": 2000.0}
    row = {
        "task": "GTR", "graph": "g", "nodes": 4.0, "edges": 1e6, "runs": 3, "times": times, "extra_mb": None,
        "added": 10.0, "removed": 0.5, "error": 1e-12, "goal": {"ratio": 30.0}, "met": False,
        "peers": [{"name": "p", "origin": "o", "median_ms": 99.0, "ratio": 0.0802},
                  {"name": "q", "origin": "o", "failure": "it crashed"}],
    }  # fmt: skip
    spectra = {"gap": {"mean": 0.25, "median": 0.2}, "resistance": {"mean": 1e4, "median": 9e3}}
    spectra |= {"without_gap": 0, "components": 1.5}
    line = {
        "method": "M", "settings": {"k": 2}, "tried": 9, "graphs": 8, "failed": 1, "failure": "graph 1: no",
        "times": times, "added": 1.0, "removed": 0.0, "before": spectra, "after": spectra | {"gap": None},
    }  # fmt: skip
    dataset = {"name": "d", "graphs": 9, "nodes": 3.5, "edges": 2.0, "official": False, "checksums": {}, "rows": [line]}
    page = render.render(
        render.MARK,
        {
            "rewiring": {"kind": "rewiring", "environment": environment, "memory": "m", "rows": [row]},
            "rewiring-real": {
                "kind": "rewiring-real", "environment": environment, "disconnected": "x", "datasets": [dataset],
            },
        },
    )  # fmt: skip
    assert (
        "| GTR | g | 4, 1,000,000 | 1,234 (0.5 to 2,000) | 10, 0.5 | p, o | 99 | 0.0802 | ratio 30: **missed** |"
        in page
    )
    assert "| GTR | g | 4, 1,000,000 | | | q, o | it crashed |  | | | |" in page
    assert "not the official files" in page
    expected = "| M(k=2) (**failed** on 1 of 9 graphs: graph 1: no) | 1,234 | 1 | 0 | 0.2500 (0.2000) | none | "
    assert expected + "10,000 (9,000) | 10,000 (9,000) | 1.5 | 1.5 |" in page


def test_figures_have_three_digits_and_cells_no_bars() -> None:
    assert [digits(value) for value in (0.01234, 1.2345, 12.345, 123.45, 12345.6)] == [
        "0.0123", "1.23", "12.3", "123", "12,346",
    ]  # fmt: skip
    assert cell("a|b\n c") == "a\\|b c"
