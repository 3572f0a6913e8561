"""Run folders to damage: a byte with another bit."""

from __future__ import annotations


def flipped(data: bytes, place: int, bit: int = 0) -> bytes:
    """The same bytes, but for one bit at a place."""
    return data[:place] + bytes([data[place] ^ (1 << bit)]) + data[place + 1 :]
