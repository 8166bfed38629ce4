"""Inference: images, videos and live cameras through trained networks."""

import sys

# Always before PyAV: both wheels bundle X11 libraries of the same names, and if PyAV's are loaded
# first, OpenCV's windows hang (OpenCV 5.0, PyAV 18).
import cv2  # noqa: F401

# Always before OpenVINO: it reports its use to Intel over the network, from processes that it forks
# beside our threads. Nothing may leave the machine; without this package OpenVINO does not try.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
