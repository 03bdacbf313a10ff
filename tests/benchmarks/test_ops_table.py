"""The table of operators is well formed, chooses what it is asked for, and times nothing that is wrong."""

import dataclasses
import json

import pytest
import torch

from benchmarks.ops import __main__ as command
from benchmarks.ops import peers
from benchmarks.ops.cell import Settings, Topologies, measure_cell
from benchmarks.ops.entry import OURS, Call, Peer
from benchmarks.ops.table import OPS, Cell, Selection
from benchmarks.ops.workload import Workload

TINY = Workload("uniform", 800, 8)
# Batch norm takes so much of the gradients of a tiny graph away that what is left is rounding: one of its own cells.
LARGER = {"GatedGCNConv": Workload("power-law", 10_000, 16)}
SETTINGS = Settings(seconds=0.001)


def cell(name: str, **changes) -> Cell:
    op = dataclasses.replace(next(op for op in OPS if op.name == name), **changes)
    return Cell(op, LARGER.get(name, TINY), op.main)


def test_names_are_unique_and_every_operator_is_measured_somewhere():
    assert len({op.name for op in OPS}) == len(OPS)
    for op in OPS:
        assert op.workloads
        assert op.missing() is None
        assert len({peer.name for peer in op.peers}) == len(op.peers)


def test_choices_narrow_the_table():
    cells = Selection(ops=["spmm*"], edges=[100_000], widths=[64]).cells()
    assert {chosen.op.name.split("_")[0] for chosen in cells} == {"spmm"}
    assert {(chosen.workload.edges, chosen.workload.width) for chosen in cells} == {(100_000, 64)}
    assert all(chosen.workload.edges <= 100_000 for chosen in Selection(quick=True).cells())
    with pytest.raises(ValueError, match="There are the operators"):
        Selection(ops=["nonsense"]).cells()


@pytest.mark.parametrize("name", [op.name for op in OPS])
def test_every_operator_and_its_peers_agree_on_a_tiny_graph(name):
    chosen = cell(name)
    with torch.random.fork_rng():
        records = list(measure_cell(chosen, Topologies().get(chosen.workload), peers.find_all(), SETTINGS))
    assert len(records) == len(chosen.passes)
    for record in records:
        assert "failure" not in record, record
        assert record["times"][OURS]["median_ms"] > 0


def test_a_wrong_peer_is_named_and_nothing_is_timed():
    def wrong(data):
        x = data.node_rows("x")
        return Call(lambda: x * 0, {"x": x})

    chosen = cell("spmm_sum", peers=(Peer("wrong peer", "torch", wrong),))
    (record,) = measure_cell(chosen, Topologies().get(chosen.workload), peers.find_all(), SETTINGS)
    assert "wrong peer" in record["failure"]
    assert "times" not in record


def test_absent_and_disguised_peers_are_told_apart(monkeypatch):
    found = peers.find_all()
    assert found["torch"].version == str(torch.__version__)
    import sys

    from gnnkit.compat import torch_scatter

    monkeypatch.setitem(sys.modules, "torch_scatter", torch_scatter)
    assert peers.find_all()["torch_scatter"].version is None


def test_the_command_lists_and_refuses(capsys):
    assert command.main(["--list", "--op", "sddmm", "--quick"]) == 0
    assert "sddmm" in capsys.readouterr().out
    assert command.main(["--op", "nonsense"]) == 2


def test_the_command_writes_results(tmp_path, monkeypatch):
    monkeypatch.setattr(command, "set_threads", lambda threads: None)
    monkeypatch.setattr(Selection, "cells", lambda self: [cell("sddmm")])
    assert command.main(["--json", str(tmp_path / "ops.json")]) == 0
    content = json.loads((tmp_path / "ops.json").read_text())
    assert content["cells"][0]["op"] == "sddmm"
    assert content["environment"]["torch"]
