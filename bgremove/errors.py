"""Everything that bgremove raises or warns of.

::

    BGRemoveError
    ├── DataError             a folder of pictures and masks cannot be used   (also ValueError)
    ├── ImageError            unreadable picture, wrong shape, dtype or range (also ValueError)
    ├── OptionError           a setting that is unknown or out of range       (also ValueError)
    ├── UnknownRemoverError   no remover of that name; lists the known ones   (also ValueError)
    ├── OutputError           a picture that cannot or must not be written    (also OSError)
    ├── VideoError            a video that cannot be read or written          (also ValueError)
    ├── WeightsError          a download or a digest that failed
    ├── DeviceError           the device asked for cannot be used
    └── MissingExtraError     an optional package is needed                   (also ImportError)

    BGRemoveWarning           the work went on, but not quite as asked

Every message is one sentence a user can act on: what was wrong, what was expected, what came,
and what to do next.
"""


class BGRemoveError(Exception):
    """Base of every error that bgremove raises on purpose."""


class ImageError(BGRemoveError, ValueError):
    """A picture or an array cannot be used."""


class DataError(BGRemoveError, ValueError):
    """A data set, a folder of pictures and their masks, cannot be used."""


class OptionError(BGRemoveError, ValueError):
    """A setting is unknown, out of range, or contradicts another."""


class UnknownRemoverError(BGRemoveError, ValueError):
    """No remover has that name."""


class OutputError(BGRemoveError, OSError):
    """A picture cannot be written, or writing it would destroy something."""


class VideoError(BGRemoveError, ValueError):
    """A video cannot be read to its end, or not be written."""


class WeightsError(BGRemoveError):
    """A model file could not be downloaded, or is not the file it should be."""


class DeviceError(BGRemoveError):
    """The device asked for is not there, or does not work."""


class MissingExtraError(BGRemoveError, ImportError):
    """A package that only some features need is not installed."""


class BGRemoveWarning(UserWarning):
    """Something a user should know about a result that was delivered all the same."""
