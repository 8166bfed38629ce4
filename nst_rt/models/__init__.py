"""Transformer networks, style model files, and VGG19 features."""
