"""Numbers about a graph: curvature, effective resistance, spectra, diagnostics."""

from gnnkit.geometry.resistance import (
    commute_time,
    effective_resistance,
    node_resistance_curvature,
    resistance_curvature,
    total_resistance,
)
from gnnkit.geometry.sparsify import spectral_sparsify
from gnnkit.geometry.spectrum import cheeger_bounds, laplacian_spectrum, spectral_gap

__all__ = [
    "cheeger_bounds",
    "commute_time",
    "effective_resistance",
    "laplacian_spectrum",
    "node_resistance_curvature",
    "resistance_curvature",
    "spectral_gap",
    "spectral_sparsify",
    "total_resistance",
]
