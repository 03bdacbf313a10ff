import copy
import dataclasses
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gnnkit.errors import ConfigError, DataError
from gnnkit.experiment import metrics
from gnnkit.experiment.config import config_from_dict
from gnnkit.experiment.schedule import warmup_cosine
from gnnkit.experiment.tasks import epoch_order
from gnnkit.experiment.trainer import DivergenceError, Trainer, parameter_count, parameter_groups

CPU = torch.device("cpu")


class Recorder:
    """Keeps what an observer is told; stops after ``stop_after`` steps."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.steps: list[dict[str, Any]] = []
        self.epochs: list[dict[str, Any]] = []
        self.improved: list[bool] = []
        self.stop_after = stop_after

    def on_step(self, trainer, values):
        self.steps.append(values)
        if len(self.steps) == self.stop_after:
            raise StopIteration

    def on_pause(self, trainer):
        assert not trainer.model.training

    def on_epoch(self, trainer, values, *, improved):
        self.epochs.append(values)
        self.improved.append(improved)


@pytest.fixture
def make(dataset, config):
    """Makes a trainer on the small data set, its weights drawn from a fixed seed."""
    from gnnkit.experiment import run

    def make(config=config, model=None, recorder=None):
        torch.manual_seed(config.train.seed)
        model = model or run.build_model(config, dataset)
        return Trainer(config, dataset, model, recorder or Recorder(), CPU)

    return make


def change(config, **sections):
    table = config.to_dict()
    for section, values in sections.items():
        table[section] = {**table.get(section, {}), **values}
    return config_from_dict(table)


def test_equals_a_loop_written_out(make, dataset, config):
    # No batch norm: the bias before one has a gradient of pure rounding, which Adam would blow up.
    torch.manual_seed(5)
    layers = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 3))
    trainer, oracle = make(model=Rows(layers)), Rows(copy.deepcopy(layers))
    torch.manual_seed(0)
    trainer.fit()

    torch.manual_seed(0)
    optimizer = torch.optim.AdamW(oracle.parameters(), weight_decay=0.0)
    for epoch in range(4):
        optimizer.param_groups[0]["lr"] = 0.01 * warmup_cosine(epoch, 4, 1)
        oracle.train()
        for ids in epoch_order(dataset.split["train"], 3, epoch).split(8):
            optimizer.zero_grad()
            labels = dataset.graph["y"][ids]
            known = ~labels.isnan()
            logits = oracle(dataset.batch(ids))
            nn.functional.binary_cross_entropy_with_logits(logits[known], labels[known]).backward()
            nn.utils.clip_grad_norm_(oracle.parameters(), 1.0)
            optimizer.step()
    for own, other in zip(trainer.model.parameters(), oracle.parameters(), strict=True):
        torch.testing.assert_close(own, other, rtol=1e-5, atol=1e-6)
    oracle.eval()
    scores = oracle(dataset.batch(dataset.split["test"])).detach()
    expected = metrics.average_precision(dataset.graph["y"][dataset.split["test"]], scores)
    assert trainer.state.history[-1]["test"] == pytest.approx(expected, abs=1e-6)


def test_training_learns(make):
    trainer = make(change(make().config, train={"epochs": 30}))
    trainer.fit()
    history = trainer.state.history
    assert history[-1]["train_loss"] < 0.8 * history[0]["train_loss"]
    assert trainer.state.best is not None
    assert trainer.state.best > 0.8


PLATEAU = {"kind": "plateau", "patience": 0, "warmup_epochs": 0, "monitor": "metric"}


@pytest.mark.parametrize("schedule", [{"kind": "cosine"}, PLATEAU], ids=lambda schedule: schedule["kind"])
def test_any_step_can_be_resumed_bitwise(make, schedule):
    config = change(make().config, schedule=schedule, optim={"lr": 0.1}, train={"epochs": 8})
    whole = make(config)
    torch.manual_seed(1)
    whole.fit()
    for stop in (1, 6, 7, 14, 15, 29, 55):
        first = make(config, recorder=Recorder(stop))
        torch.manual_seed(1)
        with pytest.raises(StopIteration):
            first.fit()
        saved = first.state_dict()
        torch.manual_seed(99)
        second = make(config)
        second.load_state_dict(saved)
        second.fit()
        for name, value in whole.model.state_dict().items():
            assert torch.equal(second.model.state_dict()[name], value), (stop, name)
        assert second.state.history == whole.state.history


def test_the_order_is_a_permutation_that_changes_from_epoch_to_epoch():
    ids = torch.arange(100, 140)
    orders = [epoch_order(ids, seed, epoch) for seed in (0, 1) for epoch in (0, 1)]
    for order in orders:
        assert torch.equal(order.sort().values, ids)
    assert len({tuple(order.tolist()) for order in orders}) == 4
    assert torch.equal(epoch_order(ids, 1, 1), orders[3])


def test_what_is_logged(make):
    recorder = Recorder()
    make(recorder=recorder).fit()
    assert len(recorder.steps) == 4 * 7
    assert {"loss", "lr", "grad_norm", "seconds"} == set(recorder.steps[0])
    assert [values["epoch"] for values in recorder.epochs] == [1, 2, 3, 4]
    assert recorder.improved[0]
    assert recorder.epochs[1]["lr"] == pytest.approx(0.01)
    assert make().steps_per_epoch == 7


def test_train_loss_is_the_mean_over_labels_and_not_over_batches(make, dataset):
    config = change(make().config, optim={"lr": 1e-30}, schedule={"kind": "constant", "warmup_epochs": 0})
    model = nn.Linear(8, 3)
    trainer = make(config, model=Rows(model))
    trainer.fit()
    labels, rows = dataset.graph["y"][:50], dataset.node["x"][:50]
    known = ~labels.isnan()
    expected = nn.functional.binary_cross_entropy_with_logits(model(rows)[known], labels[known])
    assert trainer.state.history[0]["train_loss"] == pytest.approx(expected.item(), rel=1e-6)


class Rows(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, batch: Any) -> Tensor:
        return self.inner(batch.x)


def test_early_stopping_keeps_the_best(make):
    config = change(make().config, train={"epochs": 50, "early_stopping": 3}, schedule={"kind": "constant"})
    trainer = make(config)
    trainer.fit()
    state = trainer.state
    assert trainer.stopped_early
    assert state.epoch == state.best_epoch + 3 < 50
    assert state.best == max(values["val"] for values in state.history)


def test_plateau_lowers_the_rate(make):
    config = change(make().config, schedule={"kind": "plateau", "patience": 0, "warmup_epochs": 0}, optim={"lr": 0.3})
    config = change(config, train={"epochs": 12})
    recorder = Recorder()
    make(config, recorder=recorder).fit()
    rates = [values["lr"] for values in recorder.epochs]
    assert rates[0] == 0.3
    assert rates[-1] < 0.3


def test_bfloat16_runs_the_model_in_low_precision(make):
    seen = []

    class Spy(Rows):
        def forward(self, batch):
            out = super().forward(batch)
            seen.append(out.dtype)
            return out

    model = Spy(nn.Linear(8, 3))
    trainer = make(change(make().config, train={"precision": "bfloat16", "epochs": 2}), model=model)
    trainer.fit()
    assert set(seen) == {torch.bfloat16}
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


class Broken(Rows):
    """Gives a bad value from the n-th training step on, or at evaluation only."""

    def __init__(self, value: float, step: int = 0, *, only_eval: bool = False) -> None:
        super().__init__(nn.Linear(8, 3))
        self.value, self.step, self.only_eval, self.seen = value, step, only_eval, 0

    def forward(self, batch):
        out = super().forward(batch)
        self.seen += self.training
        bad = not self.training if self.only_eval else self.seen > self.step
        return out * self.value if bad else out


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_names_epoch_and_step(make, value):
    model = Broken(value, step=9)
    trainer = make(model=model)
    with pytest.raises(DivergenceError, match=r"epoch 2, step 3 \(step 10 in all\): the loss is (nan|inf)"):
        trainer.fit()
    assert all(parameter.isfinite().all() for parameter in model.parameters())
    assert trainer.state.global_step == 9


def test_predictions_that_are_not_finite_are_noticed_at_evaluation(make):
    with pytest.raises(DivergenceError, match="epoch 1: on the val split the model predicts NaN"):
        make(model=Broken(math.nan, only_eval=True)).fit()


def test_a_gradient_that_is_not_finite_is_noticed(make):
    class Root(Rows):
        def forward(self, batch):
            return (self.inner(batch.x) * 0).abs().sqrt()

    model = Root(nn.Linear(8, 3))
    with pytest.raises(DivergenceError, match="norm of the gradient is nan"):
        make(model=model).fit()
    assert all(parameter.isfinite().all() for parameter in model.parameters())


def test_a_loss_that_does_not_fit_the_task(make):
    with pytest.raises(ConfigError, match="does not fit a multilabel task"):
        make(change(make().config, train={"loss": "l1"}))


def test_a_validation_split_with_one_class(make, dataset):
    dataset.graph["y"][50:70] = 1.0
    with pytest.raises(DataError, match="is undefined"):
        make().fit()


def test_parameter_count():
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    model[0].requires_grad_(False)
    assert parameter_count(model) == {"total": 26, "trainable": 10}


class Marked(Rows):
    """A layer whose bias must not decay."""

    def __init__(self) -> None:
        super().__init__(nn.Linear(8, 3))
        self.inner.bias.no_weight_decay = True


def test_marked_parameters_do_not_decay(make):
    config = change(make().config, optim={"weight_decay": 0.5, "lr": 0.1})
    model = Marked()
    plain, undecayed = parameter_groups(model, 0.5)
    assert plain == {"params": [model.inner.weight], "weight_decay": 0.5}
    assert undecayed == {"params": [model.inner.bias], "weight_decay": 0.0}
    # With gradients of zero, decay is all that happens.
    trainer = make(config, model=model)
    before = copy.deepcopy(model.inner.state_dict())
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    trainer.optimizer.step()
    torch.testing.assert_close(model.inner.weight.detach(), before["weight"] * (1 - 0.1 * 0.5))
    assert torch.equal(model.inner.bias, before["bias"])


def test_rates_of_all_groups_follow_the_schedule_and_a_run_with_groups_resumes_bitwise(make):
    config = change(make().config, optim={"weight_decay": 0.1}, train={"epochs": 3})
    whole = make(config, model=Marked())
    initial = copy.deepcopy(whole.model.state_dict())
    whole.fit()
    assert len({group["lr"] for group in whole.optimizer.param_groups}) == 1
    first = make(config, model=Marked(), recorder=Recorder(9))
    first.model.load_state_dict(initial)
    with pytest.raises(StopIteration):
        first.fit()
    second = make(config, model=Marked())
    second.load_state_dict(first.state_dict())
    second.fit()
    for name, value in whole.model.state_dict().items():
        assert torch.equal(second.model.state_dict()[name], value), name


def test_a_model_without_marks_has_the_optimizer_state_that_there_was_before_there_were_groups(make):
    trainer = make()
    former = torch.optim.AdamW(trainer.model.parameters(), lr=0.01, weight_decay=0.0)
    state = former.state_dict()
    assert trainer.optimizer.state_dict() == state
    trainer.load_state_dict({**trainer.state_dict(), "optimizer": state})
    shared = nn.Linear(2, 2)
    (group,) = parameter_groups(nn.Sequential(shared, shared), 0.1)
    assert group["params"] == [shared.weight, shared.bias]


def test_state_survives_the_dataclass_round_trip(make):
    trainer = make()
    trainer.fit()
    saved = trainer.state_dict()["state"]
    assert dataclasses.asdict(trainer.state) == saved
    assert saved["epoch"] == 4
