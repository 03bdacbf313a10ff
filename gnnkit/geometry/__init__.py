"""Numbers about a graph: curvatures, resistances, spectra."""

from gnnkit.geometry.balanced_forman import balanced_forman
from gnnkit.geometry.forman import augmented_forman, forman

__all__ = ["augmented_forman", "balanced_forman", "forman"]
