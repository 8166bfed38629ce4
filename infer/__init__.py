"""Fast inference: frames through a trained network, from and to images, video files and cameras."""

import os

# FFmpeg and Qt inside OpenCV write to stderr on their own (Qt misses the fonts that the wheel does
# not have); what matters is raised as an error instead.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
os.environ.setdefault("QT_LOGGING_RULES", "default.warning=false")

# Before PyAV, always: both wheels bundle X11 libraries of the same names, and with PyAV's loaded
# first, OpenCV's windows wait for ever (OpenCV 5.0, PyAV 18).
import cv2  # noqa: F401
