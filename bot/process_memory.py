"""Keeps the interpreter's search for unused memory from stopping thousands of watches for half a second at a time."""

from __future__ import annotations

import gc

THRESHOLDS = (50_000, 20, 100)
"""Objects before the young are looked through (700 by default), and how often the older ones beside. Of all that
thousands of guards hold, next to nothing is a ring of its own, and looking through it took a fifth of a core."""


def settle() -> None:
    """Call once a process, when all is built and before the work begins: what is there by then (200,000 objects of
    modules and tables) stays and is not looked through again. May be repeated."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
