import dataclasses

import pytest
import torch

from gnnkit.errors import BackendError, ConfigError, DataError
from gnnkit.experiment import build
from gnnkit.experiment.config import config_from_dict

RING = {
    "table": "ring",
    "method": "GCN",
    "protocol": "p",
    "data": {"name": "ring-transfer", "options": {"ring_size": 6, "num_train": 20, "num_val": 10, "num_test": 10}},
    "model": {"conv": "gcn", "num_layers": 3, "hidden_dim": 8, "pool": "root"},
    "train": {"epochs": 1, "batch_size": 8},
}


def ring(**model):
    return config_from_dict({**RING, "model": {**RING["model"], **model}})


def test_data_and_model_come_from_the_configuration():
    config = ring()
    dataset = build.build_dataset(config, progress=False)
    assert dataset.name == "ring-transfer"
    model = build.build_model(config, dataset)
    batch = dataset.batch(dataset.split["train"][:4])
    assert model(batch).shape == (4, dataset.num_outputs)


def test_unknown_data_and_options_are_refused():
    for data, words in [
        ({"name": "ring-transfre"}, "ring-transfer"),
        ({"name": "ring-transfer", "options": {"ring_sise": 6}}, "ring_size"),
        ({"name": "ring-transfer", "options": {"root": "x"}}, "root cannot be set here"),
    ]:
        with pytest.raises(ConfigError, match=words):
            build.build_dataset(config_from_dict({**RING, "data": data}), progress=False)


def test_encodings_must_be_in_the_data_and_of_the_stated_width():
    dataset = build.build_dataset(ring(), progress=False)
    missing = ring(encodings=[{"attr": "random_walk_pe", "in_dim": 4, "dim": 2}])
    with pytest.raises(ConfigError, match='no node attribute "random_walk_pe"'):
        build.build_model(missing, dataset)
    wide = ring(encodings=[{"attr": "x", "in_dim": 4, "dim": 2}])
    with pytest.raises(ConfigError, match='"x" is 5 wide in the data, but in_dim is 4'):
        build.build_model(wide, dataset)


def test_encoders_must_find_what_they_read():
    dataset = build.build_dataset(ring(), progress=False)
    with pytest.raises(ConfigError, match='reads "edge_attr"'):
        build.build_model(ring(edge_encoder="linear"), dataset)
    with pytest.raises(ConfigError, match="needs categories"):
        build.build_model(ring(node_encoder="embedding"), dataset)


def test_splits_must_be_there(dataset):
    build.check_dataset(dataset)
    dataset.split["val"] = dataset.split["val"][:0]
    with pytest.raises(DataError, match="no graphs in its val split"):
        build.check_dataset(dataset)
    del dataset.split["val"]
    with pytest.raises(DataError, match="no graphs in its val split"):
        build.check_dataset(dataset)


@pytest.mark.parametrize(
    ("rows", "value", "words"),
    [
        (slice(50, 70), float("nan"), "val split: average precision is undefined"),
        (slice(70, 90), 0.0, "test split: average precision is undefined"),
        (slice(70, 71), 2.0, "labels 0, 1 or NaN"),
    ],
)
def test_a_metric_that_is_undefined_is_noticed_before_training(dataset, rows, value, words):
    dataset.graph["y"][rows] = value
    with pytest.raises(DataError, match=words):
        build.check_dataset(dataset)


def test_labels_must_fit_the_task(dataset):
    dataset.graph["y"] = dataset.graph["y"][:, :2]
    with pytest.raises(DataError, match=r"expected labels \[graphs, 3\]"):
        build.check_dataset(dataset)
    dataset.task, dataset.metric = "multiclass", "accuracy"
    for labels, words in [
        (torch.full((90,), torch.nan), "classes must be integers"),
        (torch.full((90,), 3), "classes must lie in 0 to 2, got 3 to 3"),
    ]:
        dataset.graph["y"] = labels
        with pytest.raises(DataError, match=words):
            build.check_dataset(dataset)


def test_devices():
    assert build.select_device("cpu").type == "cpu"
    for name in ("gpu", "meta", "cuda:x"):
        with pytest.raises(ConfigError, match=r"train\.device"):
            build.select_device(name)
    with pytest.raises(BackendError, match="GPU"):
        build.select_device("cuda:99")


def test_ids_are_cut_in_order(dataset):
    pieces = build.graphs_of(dataset, "val", 8)
    assert [len(piece) for piece in pieces] == [8, 8, 4]
    assert torch.equal(torch.cat(list(pieces)), dataset.split["val"])
    assert dataclasses.is_dataclass(dataset.batch(pieces[0]))
