"""Runs that were made before a key of the configuration existed."""

import json

import pytest

from gnnkit.errors import ConfigError
from gnnkit.experiment.config import config_from_dict
from gnnkit.experiment.run import train

pytestmark = pytest.mark.usefixtures("dataset")


def test_a_record_without_a_newer_key_is_that_of_the_default(config, table, tmp_path):
    folder = tmp_path / "run"
    record = train(config, folder, progress=False)
    older = json.loads((folder / "record.json").read_text())
    del older["config"]["model"]["global_layer"], older["config"]["model"]["num_heads"]
    (folder / "record.json").write_text(json.dumps(older))
    assert train(config, folder, progress=False)["weights_sha256"] == record["weights_sha256"]
    table["model"]["global_layer"] = "attention"
    with pytest.raises(ConfigError, match=r"another configuration(.|\n)*model\.global_layer: 'attention' and 'none'"):
        train(config_from_dict(table), folder, progress=False)


def test_a_record_that_cannot_be_read_any_more_names_its_keys(config, tmp_path):
    folder = tmp_path / "run"
    train(config, folder, progress=False)
    other = json.loads((folder / "record.json").read_text())
    other["config"]["model"]["colour"] = "red"
    (folder / "record.json").write_text(json.dumps(other))
    with pytest.raises(ConfigError, match=r"model\.colour: None and 'red'"):
        train(config, folder, progress=False)
