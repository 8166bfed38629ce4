"""What the eye sees, as numbers, each with its one definition.

They take images, or functions from frames to frames, so that every network, backend and other tool
is measured by the same code.
"""
