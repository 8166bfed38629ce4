"""Fast inference: frames through a trained network, from and to images, video files and cameras."""

# Before PyAV, always: both wheels bundle X11 libraries of the same names, and with PyAV's loaded
# first, OpenCV's windows wait for ever (OpenCV 5.0, PyAV 18).
import cv2  # noqa: F401
