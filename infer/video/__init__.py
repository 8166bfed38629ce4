"""Video files: decoded and encoded by PyAV, in segments that survive any interruption.

`stylize_video` (`convert`) checks a `request`, then takes frames from a `reader` (or
`picture_reader`) through the frame stylizer to one of the `writers`. `segments` keeps what is
finished, `mux` joins it, and `tracks` and `audio` are about everything beside the video.
"""

from nst_rt.infer.video.convert import VideoResult, stylize_video
from nst_rt.infer.video.encoder import VIDEO_SUFFIXES
from nst_rt.infer.video.probe import probe
from nst_rt.infer.video.reader import VideoReader
from nst_rt.infer.video.request import ConversionSettings, check_conversion, default_output
from nst_rt.infer.video.segments import has_conversion, work_path

__all__ = [
    "VIDEO_SUFFIXES",
    "ConversionSettings",
    "VideoReader",
    "VideoResult",
    "check_conversion",
    "default_output",
    "has_conversion",
    "probe",
    "stylize_video",
    "work_path",
]
