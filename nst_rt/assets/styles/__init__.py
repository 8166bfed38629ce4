"""Paintings of our own (CC0), written by scripts/paintings.py."""
