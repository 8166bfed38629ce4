"""Transports of camera frames to the studio and back, without stylizing: what each costs.

    pip install aiortc
    apt-get install chromium chromium-driver
    python benchmarks/web_transports.py --seconds 10

JPEG frames over a WebSocket, with at most one, two or three in flight, and WebRTC (aiortc, VP8);
640x480, 30 fps, browser and server on this machine. Measured with the time code of live_web.py; the
server decodes each frame and encodes it again.
"""

import argparse
import asyncio
import contextlib
import json
import multiprocessing
import socket
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import uvicorn
from live_web import browser, watch, write_camera
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

TRANSPORTS = {
    "websocket, 1 in flight": "websocket(1)",
    "websocket, 2": "websocket(2)",
    "websocket, 3": "websocket(3)",
    "webrtc, VP8": "webrtc()",
}

_PAGE = """<!doctype html><video id="live-camera" muted playsinline></video>
<canvas id="live-canvas" width="640" height="480"></canvas><script>
const video = document.getElementById("live-camera");
const screen = document.getElementById("live-canvas").getContext("2d");
async function camera() {
  video.srcObject = await navigator.mediaDevices.getUserMedia(
    {video: {width: 640, height: 480, frameRate: 30}});
  await video.play();
}
async function websocket(window) {
  await camera();
  const socket = new WebSocket(`ws://${location.host}/echo`);
  const taken = Object.assign(document.createElement("canvas"), {width: 640, height: 480});
  let sent = 0, fresh = false, busy = false;
  const pump = async () => {
    if (socket.readyState !== 1 || sent >= window || busy || !fresh) return;
    fresh = false;
    busy = true;
    taken.getContext("2d").drawImage(video, 0, 0);
    const image = await new Promise((resolve) => taken.toBlob(resolve, "image/jpeg", 0.8));
    busy = false;
    sent++;
    socket.send(image);
    pump();
  };
  video.requestVideoFrameCallback(function next() {
    fresh = true;
    pump();
    video.requestVideoFrameCallback(next);
  });
  socket.onmessage = async ({data}) => {
    sent--;
    pump();
    screen.drawImage(await createImageBitmap(data), 0, 0);
  };
}
async function webrtc() {
  await camera();
  const peer = new RTCPeerConnection();
  const back = document.createElement("video");
  peer.ontrack = ({track}) => {
    back.srcObject = new MediaStream([track]);
    back.muted = true;
    back.play();
    back.requestVideoFrameCallback(function next() {
      screen.drawImage(back, 0, 0, 640, 480);
      back.requestVideoFrameCallback(next);
    });
  };
  for (const track of video.srcObject.getTracks()) peer.addTrack(track, video.srcObject);
  await peer.setLocalDescription(await peer.createOffer());
  while (peer.iceGatheringState !== "complete") await new Promise((go) => setTimeout(go, 50));
  const body = JSON.stringify(peer.localDescription);
  const answer = await fetch("/offer", {method: "POST", body});
  await peer.setRemoteDescription(await answer.json());
}
</script>"""


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=10.0, help="duration of a measurement")
    parser.add_argument("--warm-up", type=float, default=5.0, help="seconds before it")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        camera = write_camera(Path(folder) / "camera.mjpeg")
        columns: list[str] = []
        for name, call in TRANSPORTS.items():
            figures = measure(call, camera, options)
            if not columns:
                columns = list(figures)
                print(f"| transport | {' | '.join(columns)} |\n|{' --- |' * (len(columns) + 1)}")
            print(f"| {name} | {' | '.join(f'{figures[each]:.3g}' for each in columns)} |")


def measure(call: str, camera: Path, options: argparse.Namespace) -> dict[str, float]:
    """Rate, round trip and processor time of one transport, opened in the page by `call`."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = multiprocessing.Process(target=serve, args=(listening,))
        server.start()
        driver = browser(camera)
        try:
            driver.get(f"http://127.0.0.1:{listening.getsockname()[1]}/")
            driver.execute_script(f"return {call}")
            time.sleep(options.warm_up)
            assert server.pid is not None
            return watch(driver, {"server": server.pid}, options.seconds)
        finally:
            driver.quit()
            server.terminate()
            server.join()


def serve(listening: socket.socket) -> None:
    """Echo frames over either transport."""
    routes = [
        Route("/", lambda request: HTMLResponse(_PAGE)),
        WebSocketRoute("/echo", echo),
        Route("/offer", offer, methods=["POST"]),
    ]
    config = uvicorn.Config(
        Starlette(routes=routes),
        ws="websockets-sansio",
        ws_per_message_deflate=False,
        log_level="warning",
    )
    uvicorn.Server(config).run(sockets=[listening])


async def echo(socket: WebSocket) -> None:
    """JPEG frames, decoded and encoded again."""
    await socket.accept()

    def reencoded(jpeg: bytes) -> bytes:
        frame = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
        assert frame is not None
        return cv2.imencode(".jpg", frame, (cv2.IMWRITE_JPEG_QUALITY, 85))[1].tobytes()

    with contextlib.suppress(WebSocketDisconnect):
        while True:
            jpeg = await socket.receive_bytes()
            await socket.send_bytes(await asyncio.to_thread(reencoded, jpeg))


async def offer(request: Request) -> Response:
    """A WebRTC peer that sends the video back, decoded and encoded again."""
    from aiortc import MediaStreamTrack, RTCPeerConnection, RTCSessionDescription
    from av import VideoFrame

    class Echo(MediaStreamTrack):
        kind = "video"

        def __init__(self, track: MediaStreamTrack) -> None:
            super().__init__()
            self._track = track

        async def recv(self) -> VideoFrame:
            taken = await self._track.recv()
            frame = VideoFrame.from_ndarray(taken.to_ndarray(format="bgr24"), format="bgr24")
            frame.pts, frame.time_base = taken.pts, taken.time_base
            return frame

    peer = RTCPeerConnection()
    peers.append(peer)
    peer.on("track", lambda track: peer.addTrack(Echo(track)))
    await peer.setRemoteDescription(RTCSessionDescription(**json.loads(await request.body())))
    await peer.setLocalDescription(await peer.createAnswer())
    described = peer.localDescription
    return JSONResponse({"sdp": described.sdp, "type": described.type})


peers: list[object] = []  # keeps them alive


if __name__ == "__main__":
    main()
