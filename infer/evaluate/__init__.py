"""Measurements of style models: on photos, on clips, and how fast they run."""
