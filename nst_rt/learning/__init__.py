"""Styles that are learned from a style image within minutes, on the images that they are for.

Training (`nst_rt.train.learning`) does the work in a process of its own, inference
(`nst_rt.infer.learning`) starts it; what they send one another, and where the results are kept, is
here.
"""
