"""The notebook's front end: forms made from the same declarations as the flags, with pictures.

>>> from bgremove.widgets import app
>>> app("photo.jpg")                                    # doctest: +SKIP

:func:`app` is everything in one; :func:`form` one group of settings; :func:`upload` asks for photos. All run
with ipywidgets 7.7.1 (Colab) and 8 (JupyterLab), and show what went wrong as one sentence.
"""

from __future__ import annotations

from bgremove.errors import MissingExtraError

try:
    import ipywidgets  # noqa: F401
except ImportError as error:
    raise MissingExtraError(
        'forms in a notebook need ipywidgets: pip install "bgremove[notebook]"'
    ) from error

from bgremove.widgets.app import App, app
from bgremove.widgets.fields import Form, form
from bgremove.widgets.photos import Photos, upload

__all__ = ["App", "Form", "Photos", "app", "form", "upload"]
