"""Training of style models with Lightning."""
