"""What a form says, as a line of Python and as a command, to be copied: both give the same picture."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any


def python_line(photo: str, model: str, values: Mapping[str, Any], to: str = "") -> str:
    """``bgremove.remove('photo.jpg', 'contour', canny_low=15)``.

    Args:
        photo: the file's name.
        model: the remover's.
        values: settings that differ from the defaults, and ``device``.
        to: where the result goes, if not beside the photo.
    """
    arguments = [repr(photo)] + ([] if model == "auto" else [repr(model)])
    arguments += [f"{name}={_shown(value)!r}" for name, value in values.items()]
    arguments += [f"to={to!r}"] if to else []
    return f"bgremove.remove({', '.join(arguments)})"


def command_line(photo: str, model: str, values: Mapping[str, Any], to: str = "") -> str:
    """``bgremove remove photo.jpg --model contour --canny-low 15``, for a POSIX shell."""
    words = ["bgremove", "remove", f"./{photo}" if photo.startswith("-") else photo]
    words += ["--out", to] if to else []
    words += [] if model == "auto" else ["--model", model]
    for name, value in values.items():
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{flag}" if value else f"--no-{flag}")
        else:
            text = _text(value)
            # -5 would be taken for a flag.
            words += [f"--{flag}={text}"] if text.startswith("-") else [f"--{flag}", text]
    return shlex.join(words)


def _shown(value: Any) -> Any:
    """A tuple of one name as the name."""
    return value[0] if isinstance(value, tuple) and len(value) == 1 and isinstance(value[0], str) else value


def _text(value: Any) -> str:
    return ",".join(map(_text, value)) if isinstance(value, tuple) else str(value)
