"""Training on samples of one graph: losses without bias, agreement with the whole graph, and resumed runs."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from gnnkit.errors import ConfigError
from gnnkit.experiment import build, run
from gnnkit.experiment.config import config_from_dict
from gnnkit.experiment.node_task import NodeTask, training_subgraph
from gnnkit.experiment.run import train
from gnnkit.experiment.sampled_node_task import SampledNodeTask
from gnnkit.experiment.samplers import SAINT, SAMPLERS
from gnnkit.experiment.tasks import make_task
from tests.experiment.one_graph_cases import LINKS, NODES, config_of, interrupted_run, link_dataset, node_dataset

CPU = torch.device("cpu")
SMALL: dict[str, dict[str, Any]] = {
    "saint_node": {"num_nodes": 20},
    "saint_edge": {"num_edges": 10},
    "saint_walk": {"num_roots": 8, "walk_length": 2},
    "saint_frontier": {"num_nodes": 25, "frontier": 5},
    "shadow": {"depth": 2, "fanout": 3, "batch_size": 7},
    "neighbor": {"fanout": [4, 4], "batch_size": 7},
    "cluster": {"num_parts": 4},
}
PPR = {"kind": "shadow", "ppr": 6, "batch_size": 7}
every_kind = pytest.mark.parametrize("kind", SAMPLERS)


def sampled(kind: str, base: dict[str, Any] = NODES, *, sections: dict[str, Any] | None = None, **options: Any) -> Any:
    return config_of(base, sampler={"kind": kind, **options}, **(sections or {}))


def task_of(config: Any, dataset: Any) -> SampledNodeTask:
    task = make_task(config, dataset, CPU)
    assert isinstance(task, SampledNodeTask)
    return task


def gradient(task: Any, config: Any, dataset: Any) -> tuple[float, Tensor]:
    """Loss and gradient, those of the steps of an epoch added up."""
    torch.manual_seed(0)
    model = build.build_model(config, dataset).train()
    losses = [task.loss(model, step)[0] for step in task.steps(0, 0)]
    torch.stack(losses).sum().backward()
    gradients = [parameter.grad.flatten() for parameter in model.parameters() if parameter.grad is not None]
    return torch.stack(losses).sum().item(), torch.cat(gradients)


@every_kind
def test_every_kind_learns_and_is_recorded(kind, tmp_path, monkeypatch):
    dataset = node_dataset()
    monkeypatch.setattr(run, "build_dataset", lambda config, **_: dataset)
    sections = {"train": {"epochs": 16}}
    record = train(sampled(kind, sections=sections, **SMALL[kind]), tmp_path, progress=False)
    assert record["final"]["test"] > 0.7
    assert record["config"]["sampler"] == {"kind": kind, **SMALL[kind], "batches_per_step": 1}
    assert record["data"]["nodes"] == {"train": 32, "val": 16, "test": 32}
    assert config_from_dict(record["config"]).to_dict() == record["config"]


@pytest.mark.parametrize(
    ("options", "model"),
    [
        ({"kind": "saint_node", "num_nodes": 5000, "num_steps": 1}, {}),
        ({"kind": "saint_node", "num_nodes": 5000, "num_steps": 1}, {"conv": "sage"}),
        ({"kind": "saint_walk", "num_roots": 5000, "walk_length": 1, "num_steps": 1}, {"norm": "batch"}),
        ({"kind": "shadow", "depth": 80, "fanout": -1, "batch_size": 32}, {}),
        ({"kind": "shadow", "depth": 80, "fanout": -1, "batch_size": 32}, {"conv": "gatedgcn", "norm": "none"}),
        ({"kind": "neighbor", "fanout": [1000, 1000], "batch_size": 32}, {"conv": "sage"}),
        # One hop more, so that the degrees of the outermost nodes that matter are whole as well.
        ({"kind": "neighbor", "fanout": [-1, -1, -1], "batch_size": 32}, {}),
        ({"kind": "cluster", "num_parts": 1}, {}),
        ({"kind": "cluster", "num_parts": 4, "batch_size": 4}, {"conv": "gin"}),
    ],
)
@pytest.mark.parametrize("inductive", [False, True])
@pytest.mark.parametrize("task_name", ["multiclass", "binary"])
def test_a_sampler_that_leaves_nothing_out_has_loss_and_gradient_of_the_whole_graph(
    options, model, inductive, task_name
):
    dataset = node_dataset(task_name)
    if model.get("conv") == "gatedgcn":
        dataset.data.edge_attr = torch.ones(dataset.data.num_edges, 1)
        model = {**model, "edge_encoder": "linear"}
    sections = {"model": {"dropout": 0.0, **model}, "nodes": {"inductive": inductive}}
    whole, part = config_of(NODES, **sections), config_of(NODES, sampler=options, **sections)
    expected = gradient(NodeTask(whole, dataset, CPU), whole, dataset)
    found = gradient(task_of(part, dataset), part, dataset)
    assert found[0] == pytest.approx(expected[0], rel=1e-5)
    assert torch.allclose(found[1], expected[1], rtol=1e-3, atol=1e-6)


def fixed_loss(task: SampledNodeTask, outputs: Tensor, step: Any) -> float:
    """Loss of a step where the model says the same of a node in every subgraph."""
    return task.loss(lambda data: outputs[data.n_id], step)[0].item()


@pytest.mark.parametrize("kind", SAINT)
@pytest.mark.parametrize("inductive", [False, True])
def test_the_loss_of_a_step_of_graphsaint_estimates_the_mean_over_training_nodes(kind, inductive):
    dataset: Any = node_dataset()
    sections = {"nodes": {"inductive": inductive}}
    options = {**SMALL[kind], "coverage": 1000, "num_steps": 401, "batches_per_step": 2}
    task = task_of(sampled(kind, sections=sections, **options), dataset)
    data: Any = training_subgraph(dataset.data) if inductive else dataset.data
    outputs = torch.randn(data.num_nodes, 2, generator=torch.Generator().manual_seed(1))
    expected = functional.cross_entropy(outputs[data.train_mask], data.y[data.train_mask]).item()
    losses = torch.tensor([fixed_loss(task, outputs, step) for step in task.steps(0, 0)])
    assert len(losses) == 201
    error = losses.std() / len(losses) ** 0.5
    # Four standard errors, and what the counts behind the norms are off by.
    assert losses.mean().item() == pytest.approx(expected, abs=4 * error.item() + 0.01 * expected)
    assert losses.std() > 0


def test_over_the_very_subgraphs_that_were_counted_the_estimate_is_exact():
    dataset: Any = node_dataset("binary")
    dataset.data.y[::6] = torch.nan  # labels that are missing
    task = task_of(sampled("saint_walk", num_roots=8, walk_length=2, coverage=20), dataset)
    sampler: Any = task.sampler
    count = sampler._norms().counts.num_subgraphs
    outputs = torch.randn(80, 1, generator=torch.Generator().manual_seed(1))
    wanted = dataset.data.train_mask & ~dataset.data.y.isnan().squeeze(1)
    expected = functional.binary_cross_entropy_with_logits(outputs[wanted], dataset.data.y[wanted]).item()
    losses = []
    for number in range(count):
        step = sampler.make(-1, number)  # pre-sampling has the random numbers before those of epoch 0
        step.loss_nodes, step.num_batches = step.train_mask.nonzero().flatten(), 1
        losses.append(fixed_loss(task, outputs, step))
    assert int(sampler._norms().counts.node[dataset.data.train_mask].min()) > 0
    assert sum(losses) / count == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("kind", ["shadow", "neighbor"])
def test_each_training_node_is_a_target_once_in_an_epoch(kind):
    dataset: Any = node_dataset()
    task = task_of(sampled(kind, batches_per_step=2, **SMALL[kind]), dataset)
    orders = []
    for epoch in (0, 1):
        nodes = [step.n_id[step.loss_nodes] for step in task.steps(epoch, 0)]
        assert [len(part) for part in nodes] == [14, 14, 4]
        orders.append(torch.cat(nodes))
        assert torch.equal(orders[-1].sort().values, dataset.split["train"])
    assert not torch.equal(*orders)


@every_kind
def test_a_step_of_several_batches_is_their_disjoint_union(kind):
    dataset: Any = node_dataset()
    apart = task_of(sampled(kind, **SMALL[kind]), dataset)
    together = task_of(sampled(kind, batches_per_step=3, **SMALL[kind]), dataset)
    torch.manual_seed(0)
    config = sampled(kind, sections={"model": {"dropout": 0.0}}, **SMALL[kind])
    model = build.build_model(config, dataset)
    (first, *_), parts = together.steps(0, 0), list(apart.steps(0, 0))[:3]
    assert together.numbers_of(0) == range(len(parts))
    outputs = torch.cat([model(part) for part in parts])
    assert torch.allclose(model(first), outputs, atol=1e-6)
    assert torch.equal(first.n_id, torch.cat([part.n_id for part in parts]))
    assert torch.equal(first.y, dataset.data.y[first.n_id])
    losses, counts = zip(*(apart.loss(model, part) for part in parts), strict=True)
    expected = torch.stack([loss * count for loss, count in zip(losses, counts, strict=True)]).sum() / sum(counts)
    assert together.loss(model, first)[0].item() == pytest.approx(expected.item(), rel=1e-5)
    assert first.ptr.tolist()[0] == 0
    assert first.ptr.tolist()[-1] == first.num_nodes
    assert len(first.ptr) == 1 + (sum(counts) if kind == "shadow" else len(parts))


def test_global_attention_does_not_cross_the_batches_of_a_step():
    dataset: Any = node_dataset()
    sections = {"model": {"dropout": 0.0, "global_layer": "attention", "num_heads": 2}}
    config = sampled("cluster", sections=sections, batches_per_step=4, num_parts=4)
    torch.manual_seed(0)
    model = build.build_model(config, dataset).eval()
    (step,) = task_of(config, dataset).steps(0, 0)
    apart = task_of(sampled("cluster", sections=sections, num_parts=4), dataset).steps(0, 0)
    assert torch.allclose(model(step), torch.cat([model(part) for part in apart]), atol=1e-5)


def test_global_attention_of_shadow_stays_within_the_subgraph_of_a_target():
    dataset: Any = node_dataset()
    sections = {"model": {"dropout": 0.0, "global_layer": "attention", "num_heads": 2}}
    config = sampled("shadow", sections=sections, batches_per_step=2, **SMALL["shadow"])
    task = task_of(config, dataset)
    torch.manual_seed(0)
    model = build.build_model(config, dataset).eval()
    step = next(iter(task.steps(0, 0)))
    outputs = model(step)[step.loss_nodes]
    begin, end = step.ptr[9:11].tolist()
    alone = training_part(step, begin, end)
    assert torch.allclose(model(alone)[0], outputs[9], atol=1e-5)


def training_part(step: Any, begin: int, end: int) -> Any:
    part = copy.copy(step)
    inside = (step.edge_index[0] >= begin) & (step.edge_index[0] < end)
    part.edge_index = step.edge_index[:, inside] - begin
    part.x, part.num_nodes, part.ptr = step.x[begin:end], end - begin, torch.tensor([0, end - begin])
    return part


@pytest.mark.parametrize("options", [*({"kind": kind, **SMALL[kind]} for kind in SAMPLERS), PPR])
def test_a_resumed_run_has_the_same_bits(options, tmp_path, monkeypatch):
    dataset = node_dataset()
    monkeypatch.setattr(run, "build_dataset", lambda config, **_: dataset)
    config = config_of(NODES, sampler=options, train={"epochs": 2})
    steps = task_of(config, dataset).steps_per_epoch
    assert steps > 2
    whole = train(config, tmp_path / "whole", progress=False)
    interrupted_run(config, tmp_path / "cut", monkeypatch, step=steps + 2)  # in the middle of the second epoch
    resumed = train(config, tmp_path / "cut", resume=True, progress=False)
    for key in ("final", "history", "weights_sha256"):
        assert resumed[key] == whole[key]
    other = train(config.override(seed=4), tmp_path / "other", progress=False)
    assert other["weights_sha256"] != whole["weights_sha256"]


@pytest.mark.parametrize("options", [*({"kind": kind, **SMALL[kind]} for kind in SAMPLERS), PPR])
def test_neither_steps_nor_evaluation_draw_from_the_global_generator(options):
    dataset = node_dataset()
    config = config_of(NODES, sampler=options, model={"dropout": 0.0})
    task = task_of(config, dataset)
    model = build.build_model(config, dataset).eval()
    before = torch.get_rng_state()
    first = [part.outputs for part in task.predict(model, ("val", "test"))]
    later = [task.loss(model, step)[0] for step in task.steps(2, 1)]
    assert torch.equal(torch.get_rng_state(), before)
    assert all(map(torch.equal, first, (part.outputs for part in task.predict(model, ("val", "test")))))
    assert torch.equal(torch.stack(later), torch.stack([task.loss(model, step)[0] for step in task.steps(2, 0)][1:]))


def test_shadow_is_evaluated_on_the_subgraphs_of_the_nodes_of_a_split():
    dataset: Any = node_dataset()
    sections = {"train": {"eval_batch_size": 9}, "nodes": {"inductive": True}, "model": {"dropout": 0.0}}
    config = sampled("shadow", sections=sections, depth=80, fanout=-1, batch_size=7)
    task = task_of(config, dataset)
    torch.manual_seed(0)
    model = build.build_model(config, dataset).eval()
    found = list(task.predict(model, ("val", "test")))
    assert [len(part.outputs) for part in found] == [9, 7, 9, 9, 9, 5]
    for split in ("val", "test"):
        parts = [part for part in found if part.split == split]
        nodes = dataset.split[split]
        # Of a connected graph the unlimited subgraph is the graph: evaluation sees all of it, not the training nodes.
        assert torch.allclose(torch.cat([part.outputs for part in parts]), model(dataset.data)[nodes], atol=1e-5)
        assert torch.equal(torch.cat([part.labels for part in parts]), dataset.labels[nodes])


def test_a_part_without_training_nodes_has_no_loss_and_no_gradient():
    dataset: Any = node_dataset()
    dataset.data.train_mask = torch.arange(80) < 2
    config = sampled("cluster", num_parts=8)
    task = task_of(config, dataset)
    model = build.build_model(config, dataset)
    empty = next(step for step in task.steps(0, 0) if not step.train_mask.any())
    loss, count = task.loss(model, empty)
    loss.backward()
    assert (loss.item(), count) == (0.0, 0)
    assert all(not parameter.grad.any() for parameter in model.parameters() if parameter.grad is not None)


def test_without_coverage_the_loss_is_the_mean_over_the_training_nodes_of_the_subgraph():
    dataset: Any = node_dataset()
    task = task_of(sampled("saint_walk", coverage=0, aggregator_norm=False, **SMALL["saint_walk"]), dataset)
    outputs = torch.randn(80, 2, generator=torch.Generator().manual_seed(1))
    for step in task.steps(0, 0):
        nodes = step.n_id[step.train_mask]
        expected = functional.cross_entropy(outputs[nodes], dataset.data.y[nodes]).item()
        assert fixed_loss(task, outputs, step) == pytest.approx(expected, rel=1e-5)
        assert "aggregator_norm" not in step


def test_aggregator_norm_can_be_left_out():
    dataset: Any = node_dataset()
    options = {**SMALL["saint_walk"], "aggregator_norm": False}
    (first, *_) = task_of(sampled("saint_walk", **options), dataset).steps(0, 0)
    assert "aggregator_norm" not in first
    (first, *_) = task_of(sampled("saint_walk", **SMALL["saint_walk"]), dataset).steps(0, 0)
    assert torch.equal(first.aggregator_norm.edge_norm, first.edge_norm)


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"kind": "saint_wlak"}, r'\[sampler\]: unknown kind "saint_wlak"; did you mean "saint_walk"\? Valid: cluster'),
        ({"num_roots": 3}, r'\[sampler\] needs a key "kind", one of cluster, neighbor'),
        ({"kind": "shadow", "batches_per_step": 0}, "sampler.batches_per_step must be an integer of at least 1, got 0"),
        ({"kind": "shadow", "batches_per_step": True}, "sampler.batches_per_step must be an integer"),
        ({"kind": "saint_edge", "num_edges": 3, "aggregator_norm": 1}, "aggregator_norm must be true or false, got 1"),
        ({"kind": "cluster", "aggregator_norm": False}, 'it is of GraphSAINT, not of "cluster"'),
    ],
)
def test_tables_that_are_wrong_in_themselves(table, words):
    with pytest.raises(ConfigError, match=words):
        config_from_dict({**NODES, "sampler": table})


@pytest.mark.parametrize(
    ("options", "sections", "words"),
    [
        (
            {"kind": "saint_walk", "num_roots": 3, "walk_length": 1, "num_root": 2}, {},
            r'\[sampler saint_walk\]: unknown key "num_root"; did you mean "num_roots"\? Valid: aggregator_norm, batch',
        ),
        ({"kind": "saint_walk", "num_roots": 3}, {}, r'\[sampler saint_walk\] needs a key "walk_length"'),
        ({"kind": "saint_walk", "num_roots": 0, "walk_length": 1}, {}, "num_roots must be"),
        ({"kind": "saint_edge", "num_edges": 3, "seed": 3}, {}, 'unknown key "seed"'),
        ({"kind": "shadow", "targets": [1]}, {}, 'unknown key "targets"'),
        ({"kind": "shadow", "ppr": 3, "fanout": 2}, {}, "not both"),
        ({"kind": "neighbor", "fanout": 3}, {}, "fanout must be a list of integers"),
        ({"kind": "cluster", "num_parts": 3}, {"train": {"batch_size": 8}}, r"train.batch_size cannot be set: \[sampl"),
        ({"kind": "cluster", "num_parts": 3}, {"train": {"eval_batch_size": 8}}, "train.eval_batch_size cannot be set"),
        ({"kind": "shadow"}, {"train": {"batch_size": 8}}, r"train.batch_size cannot be set: \[sampler\] says"),
        (
            {"kind": "saint_edge", "num_edges": 3},
            {"model": {"conv": "gatedgcn", "edge_encoder": "linear"}},
            'the convolution "gatedgcn" takes no weights of edges; set aggregator_norm = false',
        ),
        (
            {"kind": "saint_edge", "num_edges": 3}, {"model": {"global_layer": "attention", "num_heads": 2}},
            "a global layer takes no weights of edges; set aggregator_norm = false",
        ),
        ({"kind": "saint_edge", "num_edges": 3, "coverage": 0}, {}, "with coverage = 0; raise it, or set aggregator_"),
    ],
)  # fmt: skip
def test_samplers_that_do_not_fit_are_refused(options, sections, words):
    with pytest.raises(ConfigError, match=words):
        make_task(config_of(NODES, sampler=options, **sections), node_dataset(), CPU)


def test_models_of_sequences_take_no_weights_of_edges():
    table = {**NODES, "model": {"kind": "graph_mamba", "hidden_dim": 8, "num_layers": 1, "pool": "none"}}
    with pytest.raises(ConfigError, match="models of sequences take no weights of edges; set aggregator_norm = false"):
        make_task(sampled("saint_edge", table, num_edges=3), node_dataset(), CPU)


def test_samplers_are_for_graphs_with_labelled_nodes():
    config = sampled("shadow", LINKS)
    with pytest.raises(ConfigError, match=r"\[sampler\] cannot be set: made-up is about links, and samplers are for"):
        make_task(config, link_dataset(), CPU)


def test_configurations_from_before_there_were_samplers_are_read():
    table = config_of(NODES).to_dict()
    assert "sampler" not in table
    assert config_from_dict(table).sampler is None
