"""The page of benchmarks is what the committed results say."""

from benchmarks import render

ENVIRONMENT = {"processor": "P", "threads": 2, "cores": 4, "torch": "9", "date": "2000-01-01", "commit": "abc"}
TIMES = {"median_ms": 2.0, "quartile_low_ms": 1.5, "quartile_high_ms": 3.0, "extra_mb": 4.0}


def test_committed_page_is_rendered_from_committed_results():
    template = (render.FOLDER / "README.template.md").read_text(encoding="utf-8")
    page = (render.FOLDER / "README.md").read_text(encoding="utf-8")
    assert page == render.render(template, render.committed_results())


def test_a_cell_shows_ratios_memory_and_failures():
    good = {"op": "o", "pass": "forward", "graph": "uniform", "edges": 10_000, "width": 4}
    good["times"] = {"gnnkit": TIMES, "peer": TIMES | {"median_ms": 5.0, "extra_mb": None}}
    (row,) = render.cell_rows(good, "title")
    assert "| 10,000 | 4 | 2.00 (1.50 to 3.00) | peer | 5.00 (1.50 to 3.00) | 2.50 | 4.0 / ? |" in row
    bad = {key: value for key, value in good.items() if key != "times"} | {"failure": "peer is wrong"}
    (row,) = render.cell_rows(bad, "title")
    assert "**failed**: peer is wrong" in row


def test_sections_name_what_was_absent_and_when_it_was_measured():
    table = {
        "kind": "ops", "environment": ENVIRONMENT, "peers": {"torch": "9", "dgl": "absent: not installed"},
        "settings": "s", "memory": "m", "titles": {}, "cells": [],
        "linearity": [{"op": "o", "pass": "forward", "width": 64, "ns_per_edge": {"100000": 1.5}, "growth": None}],
    }  # fmt: skip
    page = render.render(f"# Title\n{render.MARK}\n", {"ops": table})
    assert "dgl (absent: not installed)" in page
    assert "2000-01-01: P, 2 threads of 4 cores, torch 9, commit abc" in page
    assert "| o, forward | 64 | 1.5 |  |  |  |  |" in page
    plain = {"title": "other", "environment": ENVIRONMENT, "times": {"a": TIMES}, "ratios": {"a / b": 2.0}}
    page = render.render(render.MARK, {"other": plain})
    assert "## Other" in page
    assert "| a / b | 2.00 |" in page


def test_records_of_nodes_become_one_row_for_all_seeds():
    machine = {"cpu": "P", "torch_threads": 1, "cores": 4}
    environment = {"machine": machine, "versions": {"torch": "9"}, "git": {"commit": "abc", "dirty": False}}
    common = {
        "dataset": "d", "method": "m", "protocol": "p", "metric": "accuracy", "epochs": 5, "protocol_epochs": 9,
        "short_schedule": True, "steps_per_epoch": 3, "parameters": {"total": 1234}, "environment": environment,
    }  # fmt: skip
    runs = [
        {
            "final": {"test": 0.5, "best_epoch": 5},
            "stopped_early": False,
            "epochs_run": 5,
            "timing": {"epoch_seconds": [9.0, 1.0, 2.0]},
        },
        {
            "final": {"test": 0.7, "best_epoch": 2},
            "stopped_early": True,
            "epochs_run": 4,
            "timing": {"epoch_seconds": [3.0, 0.5]},
        },
    ]
    memory = [{"training_memory_bytes": 5_000_000}, {"training_memory_bytes": 7_000_000}]
    records = [common | run | used for run, used in zip(runs, memory, strict=True)]
    page = render.render(render.MARK, {"nodes": {"kind": "nodes", "records": records}})
    assert "P, 1 thread of 4 cores, torch 9, commit abc." in page
    assert (
        "| d | m | p | accuracy | 0.6000 ± 0.1414 | 2 | 5 of 9, **short schedule**, 1 stopped early, after 4 at the "
        "least, the last one best for 1 | 3 | 2.00 | 6 (5 to 7) | 1,234 |" in page
    )
