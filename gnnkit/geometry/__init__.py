"""Numbers about a graph, and pictures of it: curvature, effective resistance, spectra, diagnostics."""

from gnnkit.geometry.balanced_forman import balanced_forman
from gnnkit.geometry.diagnostics import commute_time_bound, dirichlet_energy, jacobian_sensitivity
from gnnkit.geometry.forman import augmented_forman, forman
from gnnkit.geometry.plot import plot

__all__ = [
    "augmented_forman",
    "balanced_forman",
    "commute_time_bound",
    "dirichlet_energy",
    "forman",
    "jacobian_sensitivity",
    "plot",
]
