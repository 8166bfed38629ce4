"""Stable videos: what was stylized before moves along with the scene."""
