import dataclasses
import json
from pathlib import Path

import pytest

from gnnkit.errors import ConfigError
from gnnkit.experiment.config import config_differences, config_from_dict, load_config
from gnnkit.experiment.published import load_published
from gnnkit.experiment.trainer import parameter_count
from gnnkit.nn import GraphModel

TABLES = Path(__file__).resolve().parents[2] / "benchmarks" / "tables"


@pytest.mark.parametrize("path", sorted(TABLES.glob("*/*.toml")), ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_committed_configurations_are_valid_and_resolve_exactly(path):
    config = load_config(path)
    assert config.table == path.parent.name
    assert config_from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_the_committed_configurations_are_found():
    for table, stems in (
        ("peptides-func", {"gcn", "gatedgcn", "gine", "gcn-plus", "graph-mamba", "gmn"}),
        ("ring-transfer", {"gcn", "gatedgcn", "gcn-k-hop", "graph-mamba"}),
        ("tree-neighbors-match", {"gcn-depth5", "delta-net-depth5", "attention-depth5", "hybrid-depth5"}),
    ):
        assert stems <= {path.stem for path in (TABLES / table).glob("*.toml")}


@pytest.mark.parametrize(
    ("section", "key", "value", "words"),
    [
        (None, "tabel", "x", 'did you mean "table"?'),
        (None, "table", "../x", "table must be a name"),
        ("train", "epoch", 3, 'did you mean "epochs"?'),
        ("train", "epochs", "ten", "expected an integer, got 'ten' (str)"),
        ("train", "epochs", 0, "epochs must be 1 or more"),
        ("train", "batch_size", 0, "batch_size must be 1 or more"),
        ("train", "seed", -1, "seed must be"),
        ("train", "precision", "float16", "'bfloat16'"),
        ("train", "loss", "hinge", "'cross_entropy'"),
        ("train", "early_stopping", 0, "early_stopping must be 1 or more"),
        ("train", "checkpoint_every_steps", 0, "checkpoint_every_steps must be 1 or more"),
        ("train", "num_threads", 0, "num_threads must be 1 or more"),
        ("optim", "lr", 0.0, "lr must be a finite number above 0"),
        ("optim", "lr", float("nan"), "lr must be a finite number above 0"),
        ("optim", "weight_decay", -0.1, "weight_decay must be 0 or more"),
        ("optim", "betas", [0.9, 1.0], "betas must be two numbers in [0, 1)"),
        ("optim", "clip_norm", 0.0, "clip_norm must be a number above 0"),
        ("schedule", "kind", "cosin", "'cosine'"),
        ("schedule", "factor", 1.0, "factor must be"),
        ("schedule", "patience", -1, "patience must be"),
        ("schedule", "warmup_epochs", 4, "all epochs would be warm-up"),
        ("model", "dropout", 1.0, "dropout"),
        ("model", "hiden_dim", 8, 'did you mean "hidden_dim"?'),
        ("data", "transforms", [{"kind": "random_wlak"}], 'did you mean "random_walk"?'),
        ("data", "transforms", [{"steps": 3}], 'needs a key "kind"'),
    ],
)
def test_bad_values_are_refused(table, section, key, value, words):
    (table if section is None else table[section])[key] = value
    with pytest.raises(ConfigError) as error:
        config_from_dict(table)
    assert words in str(error.value)


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(ConfigError, match="there is no configuration file"):
        load_config(tmp_path / "none.toml")
    with pytest.raises(ConfigError, match="there is no configuration file"):
        load_config(tmp_path)
    broken = tmp_path / "broken.toml"
    broken.write_text("table = ")
    with pytest.raises(ConfigError, match=r"broken\.toml is not valid TOML"):
        load_config(broken)
    broken.write_bytes(b"table = '\xff'")
    with pytest.raises(ConfigError, match="not valid TOML"):
        load_config(broken)
    broken.write_text('table = "t"\ncolour = 1\n')
    with pytest.raises(ConfigError, match=r"broken\.toml: .*colour"):
        load_config(broken)


def test_overrides_keep_what_the_protocol_asks_for(config):
    short = config.override(seed=9, epochs=2)
    assert (short.train.seed, short.train.epochs, short.protocol_epochs) == (9, 2, 4)
    assert config_from_dict(short.to_dict()) == short
    assert short.override(epochs=4) == config.override(seed=9)
    assert short.override(epochs=3).protocol_epochs == 4
    assert config.override() == config


def test_a_short_override_shortens_the_warm_up_and_says_so(config, caplog):
    schedule = dataclasses.replace(config.schedule, kind="cosine", warmup_epochs=3)
    config = dataclasses.replace(config, schedule=schedule)
    assert config.override(epochs=4).schedule.warmup_epochs == 3
    assert not caplog.records
    assert config.override(epochs=2).schedule.warmup_epochs == 1
    assert config.override(epochs=1).schedule.warmup_epochs == 0
    assert "3 warm-up epochs do not fit into 2: shortened to 1" in caplog.text


def test_an_override_is_checked_like_a_file(config):
    with pytest.raises(ConfigError, match="epochs must be 1 or more"):
        config.override(epochs=0)


def test_differences_name_dotted_keys():
    lines = config_differences({"a": 1, "b": {"c": 2, "d": 3}}, {"a": 1, "b": {"c": 4}})
    assert lines == ["b.c: 2 and 4", "b.d: 3 and None"]


@pytest.mark.parametrize(
    ("stem", "method"),
    [
        ("gcn", "GCN (re-tuned, Toenshoff)"),
        ("gine", "GINE (re-tuned, Toenshoff)"),
        ("gatedgcn", "GatedGCN (re-tuned, Toenshoff)"),
    ],
)
def test_models_have_the_published_number_of_parameters(stem, method):
    config = load_config(TABLES / "peptides-func" / f"{stem}.toml")
    model = GraphModel(config.model, num_outputs=10)
    published = {
        row.params
        for row in load_published(TABLES.parent / "published.toml")
        if row.dataset == "Peptides-func" and row.method == method
    }
    assert {round(parameter_count(model)["total"], -3)} == published
