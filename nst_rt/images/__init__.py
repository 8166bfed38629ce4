"""Images: files, arrays and tensors, colors, and collections of photos."""
