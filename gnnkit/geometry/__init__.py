"""Numbers about a graph: curvature, effective resistance, spectra, diagnostics."""

from gnnkit.geometry.resistance import (
    commute_time,
    effective_resistance,
    node_resistance_curvature,
    resistance_curvature,
    total_resistance,
)

__all__ = [
    "commute_time",
    "effective_resistance",
    "node_resistance_curvature",
    "resistance_curvature",
    "total_resistance",
]
