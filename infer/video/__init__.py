"""Video files: decoded and encoded by PyAV, in parts that survive whatever interrupts the work.

`stylize_video` checks a `request` and runs a `job`, which takes frames from `reading` (or
`pictures`) through the painter to `sinks` (or `picture_sinks`). `segments` lie between, `assemble`
puts them together; `tracks` and `copying` are about all that is not picture.
"""

from nst_rt.infer.video.convert import VideoResult, stylize_video
from nst_rt.infer.video.encoder import CODECS, VIDEO_SUFFIXES
from nst_rt.infer.video.probe import TimedFrame, VideoInfo, probe
from nst_rt.infer.video.reader import VideoReader
from nst_rt.infer.video.request import Settings, check_conversion
from nst_rt.infer.video.segments import work_path

__all__ = [
    "CODECS",
    "VIDEO_SUFFIXES",
    "Settings",
    "TimedFrame",
    "VideoInfo",
    "VideoReader",
    "VideoResult",
    "check_conversion",
    "probe",
    "stylize_video",
    "work_path",
]
