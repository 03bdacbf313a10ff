import json

import pytest

from gnnkit.errors import DataError
from gnnkit.experiment.record import read_record, record_name, schedule_facts, write_record
from gnnkit.experiment.run import train


@pytest.fixture
def record(dataset, config, tmp_path):
    return train(config, tmp_path / "run", progress=False)


def test_round_trip(record, tmp_path):
    write_record(tmp_path / "a" / "record.json", record)
    assert read_record(tmp_path / "a" / "record.json") == json.loads(json.dumps(record))


def test_damaged_records_are_refused(record, tmp_path):
    path = tmp_path / "record.json"
    with pytest.raises(DataError, match="there is no file"):
        read_record(path)
    for content, words in [
        ("{", "not JSON"),
        ("[]", "one JSON object"),
        (json.dumps({**record, "format": 99}), "format is 99"),
        (json.dumps({key: value for key, value in record.items() if key != "final"}), "lacks final"),
    ]:
        path.write_text(content)
        with pytest.raises(DataError, match=words):
            read_record(path)


def test_names_of_committed_records(config):
    assert record_name(config, "gcn") == "gcn-seed3.json"
    assert record_name(config.override(seed=1, epochs=2), "gcn") == "gcn-epochs2-seed1.json"


def test_schedule_facts(config):
    facts = schedule_facts(config.override(epochs=2), 1, stopped_early=True)
    assert facts["schedule"] == "short (2 of 4 epochs)"
    assert facts["short_schedule"]
    assert facts["stopped_early"]
    assert facts["epochs_run"] == 1
