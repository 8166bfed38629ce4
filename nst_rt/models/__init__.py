"""Networks, the features of VGG19, and style model files."""
