"""Training of style models."""
