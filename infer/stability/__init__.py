"""Stable videos: strokes of previous frames move along with the scene."""
