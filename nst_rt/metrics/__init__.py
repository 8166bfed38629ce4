"""What the eye sees, in numbers: boldness, stability and quality, each defined once.

All metrics take images, or functions from frame to frame, so that every network, backend and other
tool is measured by the same code.
"""
