"""Fast inference: frames through a trained network, from and to images, video files and cameras."""

import os

# FFmpeg inside OpenCV writes to stderr on its own; what matters is raised as an error instead.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")

# Before PyAV, always: both wheels bundle X11 libraries of the same names, and with PyAV's loaded
# first, OpenCV's windows wait for ever (OpenCV 5.0, PyAV 18).
import cv2  # noqa: F401
