"""Hears: verifies what arrives over HTTP, translates it and stores it."""
