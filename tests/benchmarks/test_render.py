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
