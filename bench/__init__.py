"""Measures: figures that are printed and compared, never asserted against a clock in tests."""
