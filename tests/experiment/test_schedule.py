import math

import pytest
import torch

from gnnkit.experiment.config import ScheduleConfig
from gnnkit.experiment.schedule import Schedule, warmup, warmup_cosine


def test_cosine_with_warmup_in_closed_form():
    factors = [warmup_cosine(epoch, 250, 5) for epoch in range(250)]
    assert factors[:6] == pytest.approx([1e-6, 0.2, 0.4, 0.6, 0.8, 1.0])
    for epoch in range(5, 250):
        assert factors[epoch] == pytest.approx(math.cos(math.pi * (epoch - 5) / 490) ** 2)
    assert factors[-1] > 0
    assert warmup_cosine(250, 250, 5) == pytest.approx(0, abs=1e-15)


def test_cosine_without_warmup_equals_torch():
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=0.3)
    oracle = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=12)
    schedule = Schedule(ScheduleConfig(kind="cosine"), lr=0.3, epochs=12)
    for epoch in range(12):
        assert schedule.rate(epoch) == pytest.approx(oracle.get_last_lr()[0])
        optimizer.step()
        oracle.step()


def test_constant_with_warmup():
    schedule = Schedule(ScheduleConfig(warmup_epochs=4), lr=2.0, epochs=9)
    assert [schedule.rate(epoch) for epoch in range(6)] == pytest.approx([2e-6, 0.5, 1.0, 1.5, 2.0, 2.0])
    assert warmup(0, 0) == 1.0


@pytest.mark.parametrize("higher", [False, True])
@pytest.mark.parametrize("patience", [0, 2])
def test_plateau_equals_torch(higher, patience):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    mode = "max" if higher else "min"
    oracle = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, mode=mode, factor=0.3, patience=patience, min_lr=0.02, eps=0.0
    )
    config = ScheduleConfig(kind="plateau", factor=0.3, patience=patience, min_lr=0.02)
    schedule = Schedule(config, lr=1.0, epochs=60, higher_is_better=higher)
    generator = torch.Generator().manual_seed(patience)
    for epoch in range(60):
        assert schedule.rate(epoch) == pytest.approx(optimizer.param_groups[0]["lr"])
        value = 1.0 + torch.rand((), generator=generator).item()
        oracle.step(value)
        schedule.observe(epoch, value)
    assert schedule.rate(60) == pytest.approx(0.02)


def test_state_goes_on_where_it_was():
    config = ScheduleConfig(kind="plateau", patience=1)
    values = [1.0, 1.2, 1.3, 0.9, 0.95, 0.96, 0.97, 0.8, 0.9]
    whole, first = Schedule(config, lr=1.0, epochs=9), Schedule(config, lr=1.0, epochs=9)
    for epoch, value in enumerate(values):
        whole.observe(epoch, value)
    for epoch, value in enumerate(values[:5]):
        first.observe(epoch, value)
    second = Schedule(config, lr=1.0, epochs=9)
    second.load_state_dict(first.state_dict())
    for epoch, value in enumerate(values[5:], start=5):
        second.observe(epoch, value)
    assert second.state_dict() == whole.state_dict()
    assert whole.rate(9) < 1.0


def test_warmup_epochs_do_not_count_for_the_plateau():
    schedule = Schedule(ScheduleConfig(kind="plateau", patience=0, warmup_epochs=3), lr=1.0, epochs=9)
    for epoch, value in enumerate([1.0, 2.0, 3.0, 4.0]):
        schedule.observe(epoch, value)
    assert schedule.rate(4) == 1.0
    schedule.observe(4, 5.0)
    assert schedule.rate(5) == 0.5
