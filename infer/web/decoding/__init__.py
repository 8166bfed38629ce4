"""Decoding the files that visitors send."""
