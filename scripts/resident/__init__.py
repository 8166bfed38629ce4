"""Training with all photos in device memory, for a GPU that is available for minutes."""
