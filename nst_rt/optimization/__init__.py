"""The reference path: the perceptual loss minimized over the pixels of one image."""
