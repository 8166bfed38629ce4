"""Styles that are learned from a style image on the images that are to be stylized."""
