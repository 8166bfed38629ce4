"""Video files: decoded and encoded by PyAV, in parts that survive whatever interrupts the work.

`convert` reads top down; it puts `reading` (and `pictures`), the painter and `sinks` together.
`segments` and `assemble` are the files between, `tracks` is all that is not picture.
"""

from nst_rt.infer.video.convert import (
    Conversion,
    Settings,
    check_conversion,
    convert_video,
)
from nst_rt.infer.video.encoding import CODECS, VIDEO_SUFFIXES
from nst_rt.infer.video.info import TimedFrame, VideoInfo, probe
from nst_rt.infer.video.reading import VideoReader
from nst_rt.infer.video.segments import work_path

__all__ = [
    "CODECS",
    "VIDEO_SUFFIXES",
    "Conversion",
    "Settings",
    "TimedFrame",
    "VideoInfo",
    "VideoReader",
    "check_conversion",
    "convert_video",
    "probe",
    "work_path",
]
