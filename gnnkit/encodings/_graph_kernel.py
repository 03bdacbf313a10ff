"""Kernels on the nodes of a graph that are power series of a matrix, and the series whose square they are."""

from collections.abc import Sequence

import numpy as np

from gnnkit.errors import ConfigError
from gnnkit.ops._checks import check_number

KERNELS = ("diffusion", "regularized_laplacian", "random_walk", "inverse_cosine")
_TERMS = 10_000


def check_kernel(kernel: object) -> str | tuple[float, ...]:
    """The name of a kernel, or coefficients as a tuple of floats.

    Raises:
        ConfigError: If the name is unknown, a coefficient is not finite, or the first of them not positive.
    """
    if isinstance(kernel, str):
        if kernel not in KERNELS:
            raise ConfigError(f"kernel must be coefficients or one of {', '.join(KERNELS)}, got {kernel!r}")
        return kernel
    if not isinstance(kernel, Sequence) or len(kernel) == 0:
        raise ConfigError(f"kernel must be a name or a sequence of coefficients, got {kernel!r}")
    coefficients = tuple(check_number("every coefficient of kernel", value) for value in kernel)
    if not np.isfinite(coefficients).all() or coefficients[0] <= 0:
        raise ConfigError(
            f"the coefficients of kernel must be finite and the first one positive, since the series needs a square "
            f"root, got {coefficients}; add a multiple of the identity"
        )
    return coefficients


def check_positive(name: str, value: object, *, least: float = 0.0) -> float:
    """``value`` itself; raises ConfigError where it is no finite number above 0 and of at least ``least``."""
    number = check_number(name, value)
    if not 0 < number < np.inf or number < least:
        bound = f"of at least {least:g}" if least else "above 0"
        raise ConfigError(f"{name} must be a finite number {bound}, got {value!r}")
    return number


def series(kernel: str | tuple[float, ...], scale: float, power: float, terms: int) -> np.ndarray:
    r"""Coefficients of :math:`K^p` as a series in ``S``, where the Laplacian is ``I - S``, float64 ``[terms]``."""
    order = np.arange(1, terms)
    if kernel == "diffusion":
        # exp(-t (1 - x)).
        time = scale * power
        return np.exp(-time) * np.cumprod(np.concatenate([[1.0], time / order]))
    if kernel == "regularized_laplacian":
        # (1 + s (1 - x))^-p.
        return _power(np.array([1 + scale, -scale]), -power, terms)
    if kernel == "random_walk":
        # (a - (1 - x))^p.
        return _power(np.array([scale - 1, 1.0]), power, terms)
    if kernel == "inverse_cosine":
        # cos(y (1 - x)) with y = pi / 4, where sine and cosine are equal: signs + + - - + + - - ...
        sign = np.array([1.0, 1.0, -1.0, -1.0])[np.arange(terms) % 4]
        base = np.sqrt(0.5) * sign * np.cumprod(np.concatenate([[1.0], np.pi / 4 / order]))
        return _power(base, power, terms)
    return _power(np.array(kernel), power, terms)


def truncation_bound(kernel: str | tuple[float, ...], scale: float, power: float, root: np.ndarray) -> float:
    r"""Largest error in spectral norm of the square of ``root`` as a series, for :math:`\|S\|_2 \le 1`."""
    square = np.convolve(root, root)
    exact = series(kernel, scale, power, max(_TERMS, len(square)))
    exact[: len(square)] -= square
    return float(np.abs(exact).sum())


def _power(base: np.ndarray, exponent: float, terms: int) -> np.ndarray:
    """A series to some power, by the recurrence that follows from ``h' g = exponent * h g'`` for ``h = g^exponent``."""
    base = base[: np.flatnonzero(base)[-1] + 1]
    out = np.zeros(terms)
    out[0] = base[0] ** exponent
    for r in range(1, terms):
        k = np.arange(1, min(r, len(base) - 1) + 1)
        out[r] = ((exponent + 1) * k - r) @ (base[k] * out[r - k]) / (r * base[0])
    return out
