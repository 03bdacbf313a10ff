"""What the README shows works as shown."""

import json
import re
import statistics
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
RESULTS = ROOT / "benchmarks/results"


def recorded(name: str) -> Any:
    return json.loads((RESULTS / name).read_text())


def test_python_blocks_run_in_order():
    blocks = [block for block in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if "peptides" not in block]
    assert len(blocks) >= 3
    namespace: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), namespace)
    assert "out" in namespace


@pytest.mark.data
def test_data_block_runs(raw_data):
    (block,) = [block for block in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if "peptides" in block]
    namespace: dict[str, object] = {}
    exec(compile(block, "README.md", "exec"), namespace)
    assert namespace["batch"].num_graphs == 200  # type: ignore[attr-defined]


def test_commands_and_files_exist():
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"^make (\w+)", README, re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)
    for path in re.findall(r"(benchmarks/tables/\S+\.toml)", README):
        assert (ROOT / path).exists()
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for names in re.findall(r'"\.\[([\w,]+)\]"', README):
        assert set(names.split(",")) <= set(extras)


def test_figures_are_those_of_the_committed_results():
    contents = [json.loads(path.read_text()) for path in sorted((RESULTS / "speed").glob("*.json"))]
    timed = [part for content in contents for part in content.get("cells", [content]) if "times" in part]
    medians = [times["median_ms"] for part in timed for times in part["times"].values()]
    shown = [float(value.replace(",", "")) for value in re.findall(r"([\d,]+(?:\.\d+)?) ms", README)]
    assert shown
    for value in shown:
        # To the digits shown: three significant ones.
        assert any(float(f"{median:.3g}") == value or round(median) == value for median in medians), value


@pytest.mark.parametrize("name", ["gcn-epochs25-seed0", "graph-mamba-epochs15-seed0", "gmn-epochs15-seed0"])
def test_short_rows_are_those_of_the_records(name: str):
    record = recorded(f"peptides-func/{name}.json")
    results = f"{record['final']['test']:.4f} | {record['final']['val']:.4f} | 1"
    cost = f"{record['parameters']['total']:,} | {record['epochs']} of {record['protocol_epochs']}"
    (row,) = [line for line in README.splitlines() if results in line]
    assert f"**short schedule** | {results} | {cost} |" in row
    assert row.startswith(f"| {record['method'].split()[0]}, ")
    assert record["short_schedule"]
    assert record.get("eval_orders", 1) == 1


def test_figures_of_ogbl_ddi_are_those_of_the_records():
    (line,) = [part for part in README.split("\n\n") if part.startswith("ogbl-ddi by **short schedules**, one seed")]
    line = " ".join(line.split())
    for name in ("gcn", "sage", "ncn"):
        record = recorded(f"ogbl-ddi/{name}-epochs5-seed0.json")
        assert record["short_schedule"]
        epochs = f"{record['epochs_run']} of {record['protocol_epochs']}"
        assert re.search(rf"{record['final']['test']:.4f} \({record['method']}, {epochs}(?: epochs)?\)", line)


def test_figures_of_the_graph_on_disk_are_those_of_the_record():
    record = recorded("scale/out_of_core.json")
    assert (record["options"]["nodes"], record["options"]["edges"], record["options"]["memory"]) == (
        str(10**7), str(10**8), "8",
    )  # fmt: skip
    peak = max(step["peak_memory_mb"] for step in record["steps"].values())
    text = " ".join(README.split())
    assert f"took at most {peak / 1000:.1f} GB of memory besides mapped files" in text
    assert f"200,000 seeds, {record['training']['batches']} batches" in text


def test_published_row_of_graph_mamba_is_that_of_the_source():
    published = tomllib.loads((ROOT / "benchmarks/published.toml").read_text())["result"]
    (row,) = [row for row in published if (row["dataset"], row["method"]) == ("Peptides-func", "Graph-Mamba")]
    assert row["verified"] == "read"
    assert "5 random orders" in row["protocol"]
    (line,) = [line for line in README.splitlines() if line.startswith("| Graph-Mamba, published")]
    assert f"| {row['value']:.4f} ± {row['spread']:.4f} |" in line


def test_accuracies_over_folds_are_those_of_the_record():
    record = recorded("hypergraph/edge-learning.json")["classification"]
    table = {(row["dataset"], row["model"]): row for row in record["table"]}
    data, models = (list(dict.fromkeys(key[place] for key in table)) for place in (0, 1))
    assert f"| | {' | '.join(models)} |" in README
    for name in data:
        shown = []
        for model in models:
            tests = [
                row["test"]["accuracy"] for row in record["rows"] if (row["dataset"], row["model"]) == (name, model)
            ]
            assert len(tests) == table[name, model]["folds"] == 10
            mean, deviation = statistics.mean(tests), statistics.pstdev(tests)
            assert (round(mean, 4), round(deviation, 4)) == tuple(
                table[name, model][key] for key in ("mean_accuracy", "std_accuracy")
            )
            shown.append(f"{mean:.3f} ± {deviation:.3f}")
        assert f"| {name.upper()} | {' | '.join(shown)} |" in README
    epochs = {row["protocol"]["epochs"] for row in record["rows"]}
    assert epochs == {50}
    assert record["schedule"].startswith("short schedule: 50 epochs, the authors' is 500")
    assert "**short schedule** of 50 of 500 epochs" in README


def test_accuracy_of_reconstructed_edges_is_that_of_the_record():
    section = recorded("hypergraph/edge-learning.json")["reconstruction"]
    (row,) = section["rows"]
    assert section["schedule"] == "500 epochs"
    assert row["protocol"]["epochs"] == row["epochs_run"] == 500
    text = " ".join(README.split())
    assert f"into {row['clusters']} clusters ({row['ratio']:.0%}".replace("%", " %") in text
    assert f"a test accuracy of {row['test']['accuracy']:.4f} (500 epochs" in text
    assert f"the most frequent type alone: {row['majority_accuracy']:.4f})" in text


def test_accuracies_on_co_citations_are_those_of_the_record():
    text = " ".join(README.split())
    rows = recorded("hypergraph/nodes.json")["rows"]
    for method in dict.fromkeys(row["method"] for row in rows):
        found = {row["data"]: row for row in rows if row["method"] == method}
        cora, citeseer = (found[f"cocitation-{name}"] for name in ("cora", "citeseer"))
        assert [len(row["runs"]) for row in (cora, citeseer)] == [10, 10]
        assert cora["settings"]["epochs"] == citeseer["settings"]["epochs"] == cora["epochs_of_the_protocol"]
        a, b = (
            f"{100 * row['test_accuracy_mean']:.2f} ± {100 * row['test_accuracy_std']:.2f} %"
            for row in (cora, citeseer)
        )
        start = f"{method}, {cora['settings']['epochs']} epochs, "
        assert f"{start}Cora {a}, CiteSeer {b}" in text or f"{start}{a} and {b}" in text


def test_figures_of_state_tracking_are_those_of_the_record():
    record = recorded("state_tracking.json")
    mean = {
        (model, length): statistics.mean(run["accuracy"][length]["all"] for run in found["runs"])
        for model, found in record["models"].items()
        for length in ("128", "256")
    }
    two, mamba = "DeltaProduct, 2 steps", "Mamba (diagonal), 2 layers"
    text = " ".join(README.split())
    assert f"words of up to {record['settings']['longest']} random permutations" in text
    assert f"{mean[two, '128']:.4f} of all beginnings of words of 128" in text
    assert f"of {mean[two, '256']:.3f} of those of words of 256" in text
    assert f"two layers of Mamba reach {mean[mamba, '128']:.2f} and {mean[mamba, '256']:.2f}" in text
    assert f"guessing gives {1 / 6:.2f} (means over three seeds" in text
    assert len(record["settings"]["seeds"]) == 3
