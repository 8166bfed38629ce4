"""Evaluation of style models: on photos, and on clips."""
