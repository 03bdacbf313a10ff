"""What rewirings and encodings share: many graphs at once with a cache on disk, graphs in files, and their options."""

from gnnkit.transforms.apply import apply
from gnnkit.transforms.base import Transform

__all__ = ["Transform", "apply"]
