"""The benchmark of expressivity: what it tells apart, what it must not, and that it goes on where it was stopped."""

import itertools
import json
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pytest
import scipy.stats
import torch

import gnnkit
from benchmarks import render
from benchmarks.expressivity import __main__ as program
from benchmarks.expressivity import untrained
from benchmarks.expressivity.comparison import Protocol, compare, hotelling, stacks
from benchmarks.expressivity.copies import Matrix, matrix_of, packed, relabelled
from benchmarks.expressivity.methods import METHODS, Method, columns_by_graph, describe
from benchmarks.expressivity.networks import Inputs, build
from gnnkit.data.brec import CATEGORIES

BY_NAME = {method.name: method for method in METHODS}
NONE, WALK = BY_NAME["none"], BY_NAME["RandomWalk"]


def matrix(graph: nx.Graph) -> Matrix:
    return nx.to_numpy_array(graph).astype(bool)


def rook() -> nx.Graph:
    return nx.line_graph(nx.complete_bipartite_graph(4, 4))


def shrikhande() -> nx.Graph:
    steps = ((0, 1), (1, 0), (1, 1))
    nodes = itertools.product(range(4), range(4))
    return nx.Graph(
        ((row, column), ((row + down) % 4, (column + right) % 4)) for row, column in nodes for down, right in steps
    )


# 1-WL cannot tell one hexagon from two triangles.
HEXAGON, TRIANGLES = matrix(nx.cycle_graph(6)), matrix(nx.disjoint_union(nx.cycle_graph(3), nx.cycle_graph(3)))
# The same with as many labellings as the protocol needs copies.
OCTAGON, SQUARES = matrix(nx.cycle_graph(8)), matrix(nx.disjoint_union(nx.cycle_graph(4), nx.cycle_graph(4)))


def missing(method: Method) -> str | None:
    if method.encoding is not None and not hasattr(gnnkit.encodings, method.encoding):
        return method.encoding
    needs = {"gin": "GINConv", "gps": "GPSLayer", "grit": "GRITLayer", "sign_net": "SignNet", "spe": "SPE"}
    return None if hasattr(gnnkit.nn, needs[method.network]) else needs[method.network]


def test_copies_are_the_same_graph_in_other_orders_and_distinct_where_asked() -> None:
    graph = nx.gnp_random_graph(8, 0.4, seed=1)
    copies = relabelled(matrix(graph), 20, np.random.default_rng(0), distinct=True)
    assert np.array_equal(copies[0], matrix(graph))
    assert len(np.unique(copies.reshape(20, -1), axis=0)) == 20
    assert all(nx.is_isomorphic(graph, nx.from_numpy_array(copy)) for copy in copies)
    # A complete graph has one labelling, a path of three has three.
    assert len(relabelled(matrix(nx.complete_graph(4)), 5, np.random.default_rng(0))) == 5
    assert len(relabelled(matrix(nx.path_graph(3)), 3, np.random.default_rng(0), distinct=True)) == 3
    with pytest.raises(ValueError, match="3 distinct relabellings of a graph of 3 nodes were found, 4 are needed"):
        relabelled(matrix(nx.path_graph(3)), 4, np.random.default_rng(0), distinct=True)


def test_packed_graphs_have_the_matrices_they_were_packed_from() -> None:
    given = [matrix(nx.path_graph(3))[None], np.stack([HEXAGON, TRIANGLES])]
    dataset = packed(given)
    assert [matrix_of(dataset, number).tolist() for number in range(3)] == [
        given[0][0].tolist(), HEXAGON.tolist(), TRIANGLES.tolist(),
    ]  # fmt: skip


def test_the_copies_of_a_pair_stand_by_turns_and_depend_on_its_number_alone() -> None:
    protocol = Protocol(copies=4, batch=4)
    dataset = packed(stacks(HEXAGON, TRIANGLES, protocol, 7))
    connected = [nx.is_connected(nx.from_numpy_array(matrix_of(dataset, number))) for number in range(16)]
    assert connected[:8] == [True, False] * 4
    assert len(set(connected[8:])) == 1
    again = packed(stacks(HEXAGON, TRIANGLES, protocol, 7))
    assert torch.equal(dataset.edge_index, again.edge_index)
    assert not torch.equal(dataset.edge_index, packed(stacks(HEXAGON, TRIANGLES, protocol, 8)).edge_index)


def test_the_threshold_is_that_of_the_f_distribution() -> None:
    protocol = Protocol()
    outputs, copies = 16, protocol.copies
    quantile = scipy.stats.f.ppf(0.95, outputs, copies - outputs)
    assert protocol.threshold == pytest.approx(outputs * (copies - 1) / (copies - outputs) * quantile, abs=0.01)


def test_hotellings_statistic_is_that_of_a_dense_inverse() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.standard_normal((2, 32, 4))
    difference = first - second
    mean = difference.mean(0)
    expected = mean @ np.linalg.inv(np.cov(difference.T)) @ mean
    for rounding in (None, 1e-6):
        assert hotelling(torch.from_numpy(first), torch.from_numpy(second), rounding) == pytest.approx(expected)


def test_vectors_without_any_spread_differ_unless_by_rounding() -> None:
    ones = torch.ones(32, 4)
    assert hotelling(ones, 1.001 * ones, None) == 0
    assert hotelling(ones, 1.001 * ones, 1e-6) > 1e6
    assert hotelling(ones, ones.nextafter(torch.tensor(2.0)), 1e-6) < 1
    assert hotelling(ones, ones, 1e-6) == hotelling(0 * ones, 0 * ones, 1e-6) == 0


def test_a_pair_is_distinguished_by_random_walks_and_not_without() -> None:
    protocol = Protocol(epochs=2)
    graphs = matrix(nx.barbell_graph(4, 1)), matrix(nx.lollipop_graph(5, 4))
    told = compare(WALK, WALK.transform(), *graphs, 0, protocol)
    for test in (told.test, told.plain):
        assert test.distinguished
        assert test.reliable
        assert test.pair_t2 > 1e4
    again = compare(WALK, WALK.transform(), *graphs, 0, protocol)
    assert (told.test, told.plain, told.loss) == (again.test, again.plain, again.loss)
    # Every node sees the same here, and no copy differs from another.
    told = compare(WALK, WALK.transform(), OCTAGON, SQUARES, 0, protocol)
    assert told.test.distinguished
    assert told.test.reliable
    assert told.plain.pair_t2 == 0
    blind = compare(NONE, None, OCTAGON, SQUARES, 0, protocol)
    assert blind.test.reliable
    assert not blind.test.distinguished


class _Ordered:
    """Counts the nodes of every graph: not a property of the graph."""

    attr_name = "order"

    def __call__(self, batch: Any) -> Any:
        out = batch.clone()
        out.order = torch.arange(batch.num_nodes) - batch.ptr[batch.batch]
        out.order = (out.order.unsqueeze(1) == torch.arange(3)).float()
        return out


class _Unsound(_Ordered):
    """Knows whether a graph is the first of those it is given."""

    def __call__(self, batch: Any) -> Any:
        out = batch.clone()
        out.order = (batch.batch == 0).float().unsqueeze(1)
        return out


ORDERED = Method("ordered", "made here", node=("{}",))


def test_features_of_the_order_of_nodes_tell_nothing_apart() -> None:
    dataset = packed([matrix(rook())[None], matrix(shrikhande())[None]])
    for number in range(5):
        verdicts = untrained.tell_apart(ORDERED, _Ordered(), dataset, [0, 1], number)
        assert not verdicts["features"].apart.any()
        assert not verdicts["network"].apart.any()


def test_a_graph_that_is_told_apart_from_its_copies_is_told_apart_from_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # One graph at a time, so that it is the first graph itself that differs: from its copies as much as from others.
    monkeypatch.setattr(untrained, "COPIES", 1)
    verdicts = untrained.tell_apart(ORDERED, _Unsound(), packed([np.stack([HEXAGON, TRIANGLES])]), [0, 1])
    summary = untrained.summary(verdicts["features"], torch.arange(2))
    assert (summary["apart"], summary["mistaken_copies"]) == (0, 1)
    assert bool((verdicts["features"].excess[0, 1] > 1).any())


def test_signatures_tell_multisets_apart_and_forget_their_order() -> None:
    rows = torch.rand(3, 5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    rows[1] = rows[0, torch.tensor([3, 1, 4, 0, 2])]
    # The same sums and the same entries in every column, but other rows.
    rows[2] = rows[0]
    rows[2, 0, 0], rows[2, 1, 0] = rows[0, 1, 0], rows[0, 0, 0]
    found = untrained.row_signature(rows.flatten(0, 1), torch.tensor([0, 5, 10, 15]), 0)
    assert torch.allclose(found[0], found[1], atol=1e-12)
    assert not torch.allclose(found[0], found[2], atol=1e-3)
    # One row fewer: what is left is padded.
    fewer = untrained.row_signature(rows[:2].flatten(0, 1)[1:], torch.tensor([0, 4, 9]), 0)
    assert torch.allclose(fewer[1], found[1])
    assert bool((fewer[0, -untrained.DIRECTIONS :] == 0).all())


def test_graphs_with_different_numbers_of_pairs_are_told_apart_and_what_is_not_finite_is_refused() -> None:
    class Reached:
        """All pairs of nodes that a path joins, with nothing to tell them from each other."""

        attr_name = "pairs"
        value = 0.0

        def __call__(self, batch: Any) -> Any:
            out = batch.clone()
            adjacent = torch.zeros(batch.num_nodes, batch.num_nodes)
            adjacent[batch.edge_index[0], batch.edge_index[1]] = 1
            out.pairs_index = adjacent.matrix_power(6).add(adjacent.matrix_power(5)).nonzero().T
            out.pairs_value = torch.full((out.pairs_index.size(1), 1), self.value)
            return out

    method = Method("reached", "made here", pair=("{}_index", "{}_value"))
    dataset = packed([np.stack([HEXAGON, TRIANGLES])])
    assert untrained.tell_apart(method, Reached(), dataset, [0, 1])["features"].apart.tolist() == [
        [False, True], [True, False],
    ]  # fmt: skip
    Reached.value = float("nan")
    with pytest.raises(ValueError, match="not finite"):
        untrained.tell_apart(method, Reached(), dataset, [0, 1])


def test_without_training_walks_tell_what_message_passing_does_not() -> None:
    dataset = packed([np.stack([HEXAGON, TRIANGLES]), relabelled(HEXAGON, 2, np.random.default_rng(3))[1:]])
    classes = torch.tensor([0, 1, 0])
    blind = untrained.tell_apart(NONE, None, dataset, [0, 1, 2])
    walk = untrained.tell_apart(WALK, WALK.transform(), dataset, [0, 1, 2])
    for part in ("features", "network"):
        assert untrained.summary(blind[part], classes)["apart"] == 0
        summary = untrained.summary(walk[part], classes)
        assert (summary["pairs"], summary["apart"], summary["mistaken_copies"]) == (2, 2, 0)
        assert summary["classes"] == {"pairs": 1, "apart": 1, "mistaken": 0, "same": 1}
        assert summary["smallest_apart"] > 100
        assert summary["largest_alike"] is None


def test_strongly_regular_graphs_of_equal_parameters_are_alike_to_walks() -> None:
    dataset = packed([matrix(rook())[None], matrix(shrikhande())[None]])
    for part in untrained.tell_apart(WALK, WALK.transform(), dataset, [0, 1]).values():
        assert not part.apart.any()


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_every_method_runs_on_a_pair_and_its_network_sees_graphs_one_by_one(method: Method) -> None:
    lacking = missing(method)
    if lacking is not None:
        pytest.skip(f"this version of gnnkit has no {lacking}")
    dataset = packed([matrix(nx.barbell_graph(4, 1))[None], HEXAGON[None], matrix(nx.star_graph(4))[None]])
    transform = method.transform()
    together = describe(method, transform, dataset.batch([0, 1, 2]))
    network = build(method.network, together, 0, torch.float64)
    outputs = network(Inputs(together, torch.float64))
    assert outputs.shape == (3, 16)
    assert bool(outputs.isfinite().all())
    outputs.sum().backward()
    alone = [network(Inputs(describe(method, transform, dataset.batch([place])), torch.float64)) for place in range(3)]
    assert torch.allclose(outputs, torch.cat(alone), atol=1e-6)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_no_method_tells_a_graph_from_its_copies(method: Method) -> None:
    lacking = missing(method)
    if lacking is not None:
        pytest.skip(f"this version of gnnkit has no {lacking}")
    dataset = packed([matrix(nx.circular_ladder_graph(5))[None]])
    for part in untrained.tell_apart(method, method.transform(), dataset, [0]).values():
        assert float(part.copies.max()) <= 1


def test_attributes_of_the_wrong_length_or_order_are_refused() -> None:
    batch = packed([np.stack([HEXAGON, TRIANGLES])]).batch([0, 1])
    with pytest.raises(ValueError, match=r"RandomWalk: attribute '\{\}' has 12 rows, expected 24"):
        describe(Method("RandomWalk", "RandomWalk", {"steps": 2}, edge=("{}",)), WALK.transform(), batch)
    with pytest.raises(ValueError, match="not in the order of the graphs"):
        columns_by_graph(torch.tensor([[7, 0], [8, 1]]), torch.tensor([0, 6, 12]))
    assert columns_by_graph(torch.tensor([[0, 8], [1, 9]]), torch.tensor([0, 3, 6, 12])).tolist() == [0, 1, 1, 2]


def test_pairs_that_are_done_are_not_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = packed([np.stack([OCTAGON, SQUARES])])
    protocol = Protocol(epochs=1)
    row = program.brec_row(WALK, dataset, [0], protocol, tmp_path)
    assert (row["counted"], row["distinguished"], row["unreliable"], row["pairs"]) == (1, 1, 0, 1)
    assert row["categories"]["basic"] == 1
    assert row["distinguished_pairs"] == "0"
    assert json.loads(json.dumps(row)) == row
    calls: list[int] = []

    def refuse(*arguments: Any) -> None:
        calls.append(arguments[4])
        raise RuntimeError("again")

    monkeypatch.setattr(program, "compare", refuse)
    assert program.brec_row(WALK, dataset, [0], protocol, tmp_path) == row
    assert calls == []
    # Other settings are another result, and so is what was damaged.
    other = program.brec_row(WALK, dataset, [0], Protocol(epochs=2), tmp_path)
    assert (other["failed"], other["failure"], other["pairs"]) == (1, "pair 0: RuntimeError: again", 0)
    (kept,) = tmp_path.glob("*/0000.json")
    kept.write_text("{")
    assert program.brec_row(WALK, dataset, [0], protocol, tmp_path)["failed"] == 1


def test_a_method_that_this_version_lacks_is_a_line_that_says_so(tmp_path: Path) -> None:
    dataset = packed([np.stack([HEXAGON, TRIANGLES])])
    absent = Method("absent", "NoSuchEncoding")
    assert "NoSuchEncoding" in program.untrained_row(absent, "tiny", dataset, 0)["failure"]
    assert "NoSuchEncoding" in program.untrained_brec_row(absent, dataset, 0)["failure"]
    row = program.brec_row(absent, dataset, [0], Protocol(), tmp_path)
    assert "NoSuchEncoding" in row["failure"]
    for line in (row, program.untrained_row(absent, "tiny", dataset, 0)):
        program.show(line)


def test_numbers_are_written_in_short_and_counted_by_category() -> None:
    assert program.ranges([5, 0, 1, 2, 9, 8]) == "0-2, 5, 8-9"
    assert program.ranges([]) == ""
    counts = program.by_category([0, 59, 60, 399, 380, 379])
    assert counts == {"basic": 2, "regular": 1, "str": 0, "extension": 0, "cfi": 0, "4vtx": 1, "dr": 2}
    assert sum(category.pairs for category in CATEGORIES) == 400


def test_the_page_shows_counts_mistakes_and_failures() -> None:
    environment = {"processor": "P", "threads": 1, "cores": 4, "torch": "9", "date": "2000-01-01"}
    by_category = {category.name: place for place, category in enumerate(CATEGORIES)}
    found = {"pairs": 105, "apart": 100, "mistaken_copies": 0}
    classes = {"pairs": 45, "apart": 44, "mistaken": 2, "same": 1050}
    base = {"method": "M", "settings": {"k": 2}, "network": "gin"}
    rows = [
        base | {"data": "csl", "features": found | {"classes": classes}, "network": found | {"classes": classes}},
        base | {"data": "sr25", "features": found, "network": found | {"mistaken_copies": 3}},
        base | {"data": "brec", "features": found | {"categories": by_category},
                "network": found | {"categories": by_category}},
        base | {"method": "N", "settings": {}, "data": "sr25", "failure": "ValueError: a|b"},
    ]  # fmt: skip
    common = {"environment": environment, "network": program.NETWORK}
    brec = base | {
        "tried": 400, "pairs": 399, "failed": 1, "failure": "pair 0: no", "counted": 21, "distinguished": 22,
        "unreliable": 1, "plain": {"counted": 19}, "categories": by_category, "seconds": 1234.5,
        "tried_categories": {category.name: category.pairs for category in CATEGORIES} | {"basic": 59},
    }  # fmt: skip
    page = render.render(
        render.MARK,
        {
            "a": common
            | {"kind": "expressivity-untrained", "framework": program.FRAMEWORK | {"seed": 0}, "rows": rows},
            "b": common | {"kind": "expressivity-brec", "protocol": Protocol().settings(), "rows": [brec]},
        },
    )
    assert "| method | sr25 (105) | csl, classes (45), graphs (10,125) | brec (105) |" in page
    assert "| M (k=2) | 100 / 100!(3) | 44, 100!(2) / 44, 100!(2) | 100 / 100 |" in page
    assert "| N | **failed**: ValueError: a\\|b |  |  |" in page
    assert "| M (k=2) | 0 / 0 | 1 / 1 | 2 / 2 | 3 / 3 | 4 / 4 | 5 / 5 | 6 / 6 | 100 / 100 |" in page
    assert (
        "| M (k=2) (**failed** on 1 of 400 pairs: pair 0: no) "
        "| 0 of 59 | 1 | 2 | 3 | 4 | 5 | 6 | 21 of 399 | 19 | 1 | 1,234 |" in page
    )
    for table in page.split("\n\n"):
        lines = [line.replace("\\|", "") for line in table.splitlines() if line.startswith("|")]
        assert len({line.count("|") for line in lines}) <= 1


@pytest.mark.data
def test_the_first_pair_of_brec_and_the_real_strongly_regular_graphs(
    raw_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("brec/basic.npy", "strongly-regular/sr16622.g6"):
        if not (raw_data / name).is_file():
            pytest.skip(f"GNNKIT_DATA has no {name}")
    monkeypatch.setenv("GNNKIT_DATA", str(raw_data))
    monkeypatch.setenv("GNNKIT_CACHE", str(tmp_path / "cache"))
    target, work = tmp_path / "out.json", str(tmp_path / "work")
    names = ["--methods", "none", "RandomWalk", "--json", str(target)]
    assert program.main(["brec", "--pairs", "0", "110", "--work", work, *names]) == 0
    content = json.loads(target.read_text())
    assert [row["counted"] for row in content["rows"]] == [0, 1]
    assert content["rows"][1]["distinguished_pairs"] == "0"
    assert len(content["checksums"]) == 7
    assert program.main(["untrained", "--data", "sr16622", *names]) == 0
    rows = json.loads(target.read_text())["rows"]
    assert [(row["features"]["apart"], row["network"]["apart"]) for row in rows] == [(0, 0), (0, 0)]
