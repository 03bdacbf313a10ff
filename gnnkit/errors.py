"""Every error gnnkit raises on purpose.

A message says what was expected, what was given, and how to mend it.
"""


class GnnkitError(Exception):
    """Base of all errors that gnnkit raises."""


class ShapeError(GnnkitError, ValueError):
    """A tensor argument does not fit: wrong shape, or (as a subclass) wrong dtype or device."""


class DtypeError(ShapeError, TypeError):
    """A tensor argument has a dtype the operation does not take."""


class DeviceError(ShapeError):
    """Tensor arguments live on different devices, or on one the operation does not serve."""


class IndexRangeError(GnnkitError, IndexError):
    """An index points outside of what it indexes."""


class ConfigError(GnnkitError, ValueError):
    """A configuration key or value is not valid."""


class DataError(GnnkitError, ValueError):
    """A data file, or the data in it, is missing, damaged, or not what was promised."""


class BackendError(GnnkitError, RuntimeError):
    """A native library that was required could not be loaded."""
