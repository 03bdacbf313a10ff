import copy
import json
import statistics
from pathlib import Path

import pytest

from gnnkit.errors import ConfigError, DataError
from gnnkit.experiment.run import train
from gnnkit.experiment.table import make_tables

PUBLISHED = Path(__file__).resolve().parents[2] / "benchmarks" / "published.toml"


@pytest.fixture
def record(dataset, config, tmp_path):
    return train(config, tmp_path / "run", progress=False)


@pytest.fixture
def results(tmp_path):
    folder = tmp_path / "results"
    folder.mkdir()
    return folder


def put(results, record, name, *, table="small", **changes):
    record = copy.deepcopy(record)
    for key, value in changes.items():
        if key == "test":
            record["final"]["test"] = value
        elif key == "seed":
            record["seed"] = record["config"]["train"]["seed"] = value
        elif key == "options":
            record["config"]["data"]["options"] = value
        else:
            record[key] = value
    path = results / table / f"{name}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(record))


def cells(table):
    """The body of a rendered Markdown table."""
    lines = [line for line in table.render("md").splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line[2:-2].split(" | ")] for line in lines[2:]]


def test_peptides_func_has_the_published_rows_and_no_unverified_one(results):
    (table,) = make_tables("peptides-func", results=results, published=PUBLISHED)
    rows = {row[0]: row for row in cells(table)}
    assert table.title == "Peptides-func: AP (higher is better)"
    assert rows["ECFP+LightGBM"][1] == "0.7460"
    assert rows["ECFP+LightGBM"][-1].startswith("quoted:")
    assert rows["GCN (re-tuned, Toenshoff)"][1] == "0.6860 ± 0.0050"
    assert rows["GCN (re-tuned, Toenshoff)"][4] == "486,000"
    assert rows["GCN (re-tuned, Toenshoff)"][-1].startswith("read:")
    assert rows["GCN+BORF"][-1].startswith("quoted, transcribed:")
    values = [row.value for row in table.rows]
    assert values == sorted(values, reverse=True)
    assert "no gnnkit record" in table.render()
    everything = PUBLISHED.read_text(encoding="utf-8")
    assert 'verified = "unverified"' in everything
    assert all(": " in row[-1] and not row[-1].startswith("unverified") for row in rows.values())


def test_errors_are_sorted_from_the_least(results):
    (table,) = make_tables("PEPTIDES-STRUCT", results=results, published=PUBLISHED)
    values = [row.value for row in table.rows]
    assert values == sorted(values)
    assert "lower is better" in table.title


def test_a_data_set_with_several_metrics_has_several_tables(results):
    tables = make_tables("pcqm-contact", results=results, published=PUBLISHED)
    assert len({table.title for table in tables}) == len(tables) >= 4


def test_a_single_record_is_printed_as_recorded(results, record):
    put(results, record, "mlp")
    (table,) = make_tables("small", results=results, published=PUBLISHED)
    (row,) = cells(table)
    assert row == [
        "**MLP**",
        f"**{record['final']['test']:.4f}**",
        f"{record['final']['val']:.4f}",
        "1 (3)",
        "227",
        "4",
        "made up",
        "gnnkit, measured",
    ]
    assert "Environment: gnnkit" in table.render()
    assert "torch" in table.render()


def test_seeds_make_a_mean_and_configurations_do_not(results, record):
    for seed, test in [(0, 0.5), (1, 0.6), (2, 0.9)]:
        put(results, record, f"mlp-seed{seed}", seed=seed, test=test)
    put(results, record, "other", method="Other", config={**record["config"], "method": "Other"}, test=0.1)
    (table,) = make_tables("small", results=results, published=PUBLISHED)
    first, second = cells(table)
    assert first[1] == f"**{statistics.fmean([0.5, 0.6, 0.9]):.4f} ± {statistics.stdev([0.5, 0.6, 0.9]):.4f}**"
    assert first[3] == "3 (0, 1, 2)"
    assert second[:2] == ["**Other**", "**0.1000**"]


def test_the_same_seed_twice_is_an_error(results, record):
    put(results, record, "a")
    put(results, record, "b")
    with pytest.raises(DataError, match="same configuration and seed"):
        make_tables("small", results=results, published=PUBLISHED)


def test_short_schedules_and_unofficial_data_are_told(dataset, config, tmp_path, results):
    dataset.official, dataset.notes = False, ("node features are rebuilt",)
    put(results, train(config.override(epochs=2), tmp_path / "short", progress=False), "mlp-epochs2")
    (table,) = make_tables("small", results=results, published=PUBLISHED)
    (row,) = cells(table)
    assert row[5] == "2, short schedule"
    assert row[6] == "made up; short (2 of 4 epochs)"
    assert "no reproduction" in table.render()
    assert "not the official files: node features are rebuilt" in table.render()


def test_options_of_the_data_tell_rows_apart(results, record):
    for size in (5, 10):
        put(results, record, f"ring{size}", options={"ring_size": size, "classes": 5}, test=size / 100)
    (table,) = make_tables("small", results=results, published=PUBLISHED)
    assert [row[0] for row in cells(table)] == ["**MLP (ring_size = 10)**", "**MLP (ring_size = 5)**"]


def test_records_stand_beside_the_published_rows_of_their_data(results, record):
    put(results, record, "gcn", table="peptides-func", dataset="peptides-func", test=0.7)
    (table,) = make_tables("peptides-func", results=results, published=PUBLISHED, methods="toenshoff")
    names = [row[0] for row in cells(table)]
    assert names[0] == "**MLP**"
    assert len(names) == 5
    assert "left out by --published" in table.render()


def test_latex(results, record):
    put(results, record, "mlp", method="A_B & 50%")
    (table,) = make_tables("small", results=results, published=PUBLISHED)
    text = table.render("tex")
    assert "\\textbf{A\\_B \\& 50\\%}" in text
    assert text.count("\\\\") == 2
    assert text.index("\\begin{tabular}{llllllll}") < text.index("\\toprule") < text.index("\\end{tabular}")


def test_unknown_names_name_the_nearest(results, record):
    put(results, record, "mlp")
    for name, near in [("peptides-fun", "peptides-func"), ("smal", "small")]:
        with pytest.raises(ConfigError, match=f'did you mean "{near}"'):
            make_tables(name, results=results, published=PUBLISHED)
    (results / "empty").mkdir()
    with pytest.raises(ConfigError, match="is empty"):
        make_tables("empty", results=results, published=PUBLISHED)


def test_a_damaged_record_is_an_error(results):
    (results / "small").mkdir()
    (results / "small" / "a.json").write_text("{")
    with pytest.raises(DataError, match="damaged"):
        make_tables("small", results=results, published=PUBLISHED)
