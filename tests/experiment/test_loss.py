import pytest
import torch
from torch.nn import functional

from gnnkit.errors import ConfigError, DataError, ShapeError
from gnnkit.experiment.loss import loss_for_task, masked_loss, row_losses

PLAIN = {"bce": functional.binary_cross_entropy_with_logits, "l1": functional.l1_loss, "mse": functional.mse_loss}


@pytest.mark.parametrize("name", PLAIN)
def test_equals_torch_on_the_labels_that_are_there(name):
    generator = torch.Generator().manual_seed(0)
    outputs = torch.randn(30, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    labels = (torch.rand(30, 4, generator=generator) > 0.5).double()
    missing = torch.rand(30, 4, generator=generator) < 0.3
    loss, count = masked_loss(name, outputs, labels.masked_fill(missing, torch.nan))
    expected = PLAIN[name](outputs[~missing], labels[~missing])
    assert count == int((~missing).sum())
    torch.testing.assert_close(loss, expected)
    gradient = torch.autograd.grad(loss, outputs)[0]
    torch.testing.assert_close(gradient, torch.autograd.grad(expected, outputs)[0])
    assert (gradient[missing] == 0).all()


@pytest.mark.parametrize("name", [*PLAIN, "cross_entropy"])
def test_the_losses_of_rows_add_up_to_the_mean_and_a_row_alone_has_its_own(name):
    generator = torch.Generator().manual_seed(0)
    outputs = torch.randn(30, 4, generator=generator, dtype=torch.float64)
    if name == "cross_entropy":
        labels = torch.randint(4, (30,), generator=generator)
    else:
        labels = (torch.rand(30, 4, generator=generator) > 0.5).double()
        labels[torch.rand(30, 4, generator=generator) < 0.3] = torch.nan
        labels[7] = torch.nan
    rows = row_losses(name, outputs, labels)
    mean, count = masked_loss(name, outputs, labels)
    assert rows.shape == (30,)
    torch.testing.assert_close(rows.sum() / count, mean)
    for row in (0, 7):
        alone, known = masked_loss(name, outputs[row : row + 1], labels[row : row + 1])
        torch.testing.assert_close(rows[row], alone * known)


def test_no_class_at_all_is_zero_with_zero_gradient():
    outputs = torch.randn(0, 3, requires_grad=True)
    loss, count = masked_loss("cross_entropy", outputs, torch.zeros(0, dtype=torch.int64))
    loss.backward()
    assert (loss.item(), count) == (0.0, 0)


@pytest.mark.parametrize("name", PLAIN)
def test_no_label_at_all_is_zero_with_zero_gradient(name):
    outputs = torch.randn(3, 2, requires_grad=True)
    loss, count = masked_loss(name, outputs, torch.full((3, 2), torch.nan))
    loss.backward()
    assert (loss.item(), count) == (0.0, 0)
    assert outputs.grad is not None
    assert (outputs.grad == 0).all()


def test_cross_entropy_equals_torch():
    outputs, labels = torch.randn(9, 4), torch.randint(0, 4, (9,))
    loss, count = masked_loss("cross_entropy", outputs, labels)
    torch.testing.assert_close(loss, functional.cross_entropy(outputs, labels))
    assert count == 9


def test_low_precision_outputs_are_summed_in_float32():
    loss, _ = masked_loss("mse", torch.ones(5, 1, dtype=torch.bfloat16), torch.zeros(5, 1))
    assert loss.dtype == torch.float32


def test_bad_shapes_and_labels_are_refused():
    with pytest.raises(ShapeError, match="bce"):
        masked_loss("bce", torch.zeros(3, 2), torch.zeros(3, 1))
    with pytest.raises(ShapeError, match="cross_entropy"):
        masked_loss("cross_entropy", torch.zeros(3, 2), torch.zeros(3, 1, dtype=torch.long))
    with pytest.raises(DataError, match="missing"):
        masked_loss("cross_entropy", torch.zeros(3, 2), torch.tensor([0.0, torch.nan, 1.0]))


@pytest.mark.parametrize(
    ("task", "auto"),
    [("multilabel", "bce"), ("binary", "bce"), ("regression", "l1"), ("multiclass", "cross_entropy")],
)
def test_loss_of_a_task(task, auto):
    assert loss_for_task("auto", task) == auto
    assert loss_for_task(auto, task) == auto


def test_a_loss_that_does_not_fit_is_refused():
    assert loss_for_task("mse", "regression") == "mse"
    with pytest.raises(ConfigError, match="choose auto, l1 or mse"):
        loss_for_task("bce", "regression")
    with pytest.raises(ConfigError, match="ranking"):
        loss_for_task("auto", "ranking")
