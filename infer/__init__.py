"""Fast inference: frames through a trained network, from and to images, video files and cameras."""

import sys

# Before PyAV, always: both wheels bundle X11 libraries of the same names, and with PyAV's loaded
# first, OpenCV's windows wait for ever (OpenCV 5.0, PyAV 18).
import cv2  # noqa: F401

# Before OpenVINO, always: it tells Intel over the network that it is used, from processes that it
# forks beside the threads of this one. Nothing leaves the machine here; without this package, which
# it then takes to be missing, OpenVINO does not try.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
