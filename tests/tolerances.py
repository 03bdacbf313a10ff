"""The one table of tolerances, relative and absolute, per dtype of the values compared."""

import torch

TOLERANCE = {
    torch.float64: {"rtol": 1e-10, "atol": 1e-12},
    torch.float32: {"rtol": 1e-5, "atol": 1e-5},
    torch.float16: {"rtol": 2e-3, "atol": 2e-3},
    torch.bfloat16: {"rtol": 1.6e-2, "atol": 2e-2},
}


def assert_close(actual: torch.Tensor, expected: torch.Tensor, dtype: torch.dtype | None = None) -> None:
    """Compares in float64 with the tolerance of ``dtype`` (default: that of ``actual``)."""
    torch.testing.assert_close(
        actual.double().cpu(), expected.double().cpu(), **TOLERANCE[dtype or actual.dtype], equal_nan=True
    )
