"""The App's private key, read and tried before anything is signed with it."""

from __future__ import annotations

from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from bot.failures import BadSettings


def usable_key(given: str) -> str:
    """The key as PEM text; `given` is that text or the path of a file with it. Raises BadSettings."""
    text = given.strip().strip("\"'").replace("\\n", "\n")
    if "-----BEGIN" not in text:
        try:
            text = Path(given.strip()).read_text(encoding="ascii")
        except (OSError, ValueError):
            raise BadSettings(
                "GITHUB_APP_PRIVATE_KEY is neither a key in PEM form nor the path of a readable one. "
                "Download the key from the App's settings."
            ) from None
    try:
        load_pem_private_key(text.encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise BadSettings(
            "GITHUB_APP_PRIVATE_KEY is not a private key that can be read. "
            "Download a new one from the App's settings."
        ) from None
    return text
