"""Numbers about a graph: curvature, effective resistance, spectra, diagnostics."""

from gnnkit.geometry.diagnostics import commute_time_bound, dirichlet_energy, jacobian_sensitivity

__all__ = ["commute_time_bound", "dirichlet_energy", "jacobian_sensitivity"]
