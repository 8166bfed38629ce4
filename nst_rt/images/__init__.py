"""Images: files, arrays and tensors, their colors, and collections of photos."""
