"""Training with all photos resident on the device, for a GPU that one has for minutes."""
