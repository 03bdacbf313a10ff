"""What the page says of RingTransfer and TreeNeighborsMatch is what the committed records show."""

from collections import defaultdict

import pytest

from benchmarks import render
from benchmarks.long_range_page import long_range_results, long_range_section

RECORDS = long_range_results(render.RESULTS)["long-range"]["records"]


def _accuracies(table, option, size):
    """Test accuracies by method on one task, and how many epochs each method was given."""
    accuracies, budgets = defaultdict(list), defaultdict(set)
    for record in RECORDS:
        if record["table"] == table and record["config"]["data"]["options"][option] == size:
            accuracies[record["method"]].append(record["final"]["test"])
            budgets[record["method"]].add(record["epochs"])
            assert not record["short_schedule"]
    return accuracies, budgets


@pytest.mark.parametrize(
    ("table", "option", "size", "solver", "other"),
    [("ring-transfer", "ring_size", 20, "Graph-Mamba", "GCN, batch normalisation and residuals")]
    + [("tree-neighbors-match", "depth", depth, "DeltaNet", "GCN") for depth in (2, 4, 5)],
)
def test_a_sequence_model_solves_each_task_on_which_gcn_fails(table, option, size, solver, other):
    accuracies, budgets = _accuracies(table, option, size)
    assert min(accuracies[solver]) >= 0.99
    assert max(accuracies[other]) <= 0.7
    assert budgets[solver] == budgets[other]


def test_both_solve_trees_of_depth_three():
    accuracies, _ = _accuracies("tree-neighbors-match", "depth", 3)
    assert min(accuracies["DeltaNet"] + accuracies["GCN"]) >= 0.99


def test_gcn_trains_for_all_epochs():
    for record in RECORDS:
        assert record["method"] != "GCN" or record["epochs_run"] == record["epochs"]


def _record(method, depth, test, *, epochs=30, run=30, short=False, cpu="P"):
    return {
        "table": "tree-neighbors-match",
        "method": method,
        "final": {"test": test},
        "history": [{"train_loss": 9.0}, {"train_loss": 0.25}],
        "epochs_run": run,
        "protocol_epochs": epochs,
        "short_schedule": short,
        "seed": 3,
        "parameters": {"total": 1234},
        "timing": {"wall_seconds": 90.0},
        "data": {"graphs": {"train": 2000, "test": 100}},
        "config": {"data": {"options": {"depth": depth}}},
        "environment": {"machine": {"cpu": cpu, "cores": 4, "torch_threads": 1}, "versions": {"torch": "9"}},
    }


def test_rows_are_sorted_by_task_and_the_best_method_comes_first():
    records = [
        _record("worse", 3, 0.5, epochs=40),
        _record("better", 3, 1.0, run=12, cpu="Q"),
        _record("shallow", 2, 0.25, short=True),
    ]
    lines = list(long_range_section({"records": records}))
    assert "P, 1 thread of 4 cores, torch 9. Q, 1 thread of 4 cores, torch 9." in lines
    task = "TreeNeighborsMatch, depth {} (2,000 graphs to train on, 100 to test on)"
    assert lines[-3:] == [
        f"| {task.format(2)} | 0.250 | shallow | 0.250 | 0.250 | 30, **short schedule** | 1,234 | 1.5 | 3 |",
        f"| {task.format(3)} | 0.125 | better | 1.000 | 0.250 | 12 of 30 | 1,234 | 1.5 | 3 |",
        f"| {task.format(3)} | 0.125 | worse | 0.500 | 0.250 | 30 of 40 | 1,234 | 1.5 | 3 |",
    ]
