"""Interlaced video: two half pictures, taken one after the other, made one whole picture."""

from fractions import Fraction

import av
from av.filter import Graph


class Deinterlacer:
    """Frames pass as they are until one is interlaced; from there on through FFmpeg's bwdif.

    It gives one frame for each, with its time, and leaves those alone that are not interlaced.
    It looks at the frames before and after, so that it lags one frame behind.

    Args:
        time_base: seconds per tick of the frames.
    """

    def __init__(self, time_base: Fraction) -> None:
        self._time_base = time_base
        self._graph: Graph | None = None
        self._before: av.VideoFrame | None = None
        self._shape: tuple[int, int, str] | None = None  # of the frames that the graph takes

    @property
    def is_running(self) -> bool:
        """An interlaced frame of the size that frames have now has come."""
        return self._graph is not None

    def __call__(self, frame: av.VideoFrame) -> list[av.VideoFrame]:
        """Take a frame in; returns those that are ready."""
        shape = frame.width, frame.height, frame.format.name
        if shape == self._shape:
            return self._taken(frame)
        ready = self.flush()
        self._graph, self._before, self._shape = None, None, shape
        return ready + self._taken(frame)

    def flush(self) -> list[av.VideoFrame]:
        """Give the frame that waits for its successor."""
        return [] if self._graph is None else self._filtered(None)

    def _taken(self, frame: av.VideoFrame) -> list[av.VideoFrame]:
        if self._graph is None and frame.interlaced_frame:
            self._graph = self._new_graph(frame)
            if self._before is not None:  # has been given already, but is looked at
                self._graph.vpush(self._before)
                given = self._before.pts
                return [one for one in self._filtered(frame) if one.pts != given]
        if self._graph is None:
            self._before = frame
            return [frame]
        return self._filtered(frame)

    def _filtered(self, frame: av.VideoFrame | None) -> list[av.VideoFrame]:
        assert self._graph is not None
        self._graph.vpush(frame)
        ready: list[av.VideoFrame] = []
        while True:
            try:
                done = self._graph.vpull()
            except (av.error.BlockingIOError, av.error.EOFError):
                return ready
            if done.pts is not None and done.time_base:
                done.pts = round(done.pts * done.time_base / self._time_base)
                done.time_base = self._time_base
            ready.append(done)

    def _new_graph(self, frame: av.VideoFrame) -> Graph:
        graph = Graph()
        source = graph.add_buffer(
            width=frame.width,
            height=frame.height,
            format=frame.format,
            time_base=self._time_base,
        )
        bwdif = graph.add("bwdif", "mode=send_frame:deint=interlaced")
        graph.link_nodes(source, bwdif, graph.add("buffersink"))
        graph.configure()
        return graph
