"""Secrets: those in ``secrets.json``, which a test may write."""

from __future__ import annotations

import json

from google.colab import place  # type: ignore[import-untyped, import-not-found, unused-ignore]


class SecretNotFoundError(Exception):
    """As Colab's."""


def get(key: str) -> str:
    """The secret of that name."""
    file = place() / "secrets.json"
    secrets = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    if key not in secrets:
        raise SecretNotFoundError(f"Secret {key} does not exist.")
    return str(secrets[key])
