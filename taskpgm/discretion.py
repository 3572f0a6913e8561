"""What must not be told: access tokens, and passwords in web addresses, wherever a text goes that others may read.

without_secrets("cannot load https://me:hf_AbCdEfGhIjKl@hub")       # "cannot load https://***@hub"
"""

from __future__ import annotations

import os
import re

_TOKEN = re.compile(r"\b(hf|api_org|sk|ghp|gho|github_pat)([_-])[A-Za-z0-9_-]{8,}")
_CREDENTIALS = re.compile(r"([a-z]:/{1,2})[^/\s@'\"]+@")
_VARIABLES = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HUGGINGFACE_HUB_TOKEN", "WANDB_API_KEY")


def without_secrets(text: str) -> str:
    """The text with stars for what looks like a token or a password, or is one that the environment holds."""
    for secret in filter(None, map(os.environ.get, _VARIABLES)):
        text = text.replace(secret, "***")
    return _TOKEN.sub(r"\1\2***", _CREDENTIALS.sub(r"\1***@", text))
