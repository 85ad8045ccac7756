"""Decides: pure functions over frozen facts, without clock, network or logger."""
