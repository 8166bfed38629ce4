import http.client
import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from urllib.parse import urlsplit
from urllib.request import urlopen

import cv2
import numpy as np
import pytest

from nst_rt.errors import InputError
from nst_rt.infer.frames import TimedFrame
from nst_rt.infer.live.mjpeg import MAX_VIEWERS, MjpegServer, parsed_address

COLORS = np.array([(200, 60, 20), (20, 180, 240)])
NO_IPV6 = pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="no IPv6 here")


def frame(color: int) -> TimedFrame:
    return TimedFrame(np.full((48, 64, 3), COLORS[color], np.uint8), 0)


@pytest.fixture
def server() -> Iterator[MjpegServer]:
    with closing(MjpegServer(0)) as running:
        running.write(frame(0))
        yield running


def get(url: str, path: str, host: str | None = None) -> tuple[int, bytes]:
    """Status and body; the body of a stream is left out."""
    place = urlsplit(url)
    connection = http.client.HTTPConnection(place.hostname or "", place.port)
    connection.request("GET", path, headers={} if host is None else {"Host": host})
    answer = connection.getresponse()
    is_stream = (answer.getheader("Content-Type") or "").startswith("multipart")
    with closing(connection):
        return answer.status, b"" if is_stream else answer.read()


def test_viewers_get_the_newest_frame(server: MjpegServer) -> None:
    newest = [0]
    ended = threading.Event()

    def feed() -> None:
        while not ended.wait(0.01):
            server.write(frame(newest[0]))

    feeding = threading.Thread(target=feed)
    feeding.start()
    try:
        captures = [cv2.VideoCapture(server.links[0]) for _ in range(2)]
        for color in (1, 0):
            newest[0] = color
            for capture in captures:
                # A few frames are on their way.
                images = (capture.read()[1] for _ in range(500))
                assert any(np.abs(image[24, 32] - COLORS[color]).max() < 12 for image in images)
        for capture in captures:
            capture.release()
    finally:
        ended.set()
        feeding.join()


def test_page_shows_the_stream(server: MjpegServer) -> None:
    assert [urlsplit(link).hostname for link in server.links] == ["127.0.0.1"]
    status, page = get(server.links[0], "/")
    assert status == 200
    assert b'<img src="stream.mjpg" ' in page
    assert get(server.links[0], "/nothing")[0] == 404


def test_foreign_host_names_are_refused(server: MjpegServer) -> None:
    assert get(server.links[0], "/", host="localhost:80")[0] == 200
    assert get(server.links[0], "/stream.mjpg", host="evil.example")[0] == 403


def test_token_is_required() -> None:
    with closing(MjpegServer("0.0.0.0:0", token="se&cret")) as server:
        server.write(frame(0))
        assert server.links[0].endswith("/stream.mjpg?token=se%26cret")
        place = urlsplit(server.links[0])
        url = f"http://127.0.0.1:{place.port}"
        for query in ("", "?token=", "?token=secret"):
            assert get(url, f"/stream.mjpg{query}")[0] == 403
            assert get(url, f"/{query}")[0] == 403
        assert get(url, f"/stream.mjpg?{place.query}")[0] == 200
        assert b'src="stream.mjpg?token=se%26cret"' in get(url, f"/?{place.query}")[1]


@pytest.mark.parametrize("host", ["0.0.0.0", "0", pytest.param("[::]", marks=NO_IPV6)])
def test_links_to_all_networks_work(host: str) -> None:
    with closing(MjpegServer(f"{host}:0", token="secret")) as server:
        server.write(frame(0))
        places = [urlsplit(link) for link in server.links]
        assert places[-1].hostname == "localhost"
        for place in places:
            assert place.hostname not in ("0.0.0.0", "0", "::")
            assert get(place.geturl(), f"{place.path}?{place.query}")[0] == 200
        # All networks of IPv6 include those of IPv4.
        assert get(f"http://127.0.0.1:{places[0].port}", "/?token=secret")[0] == 200


@pytest.mark.parametrize("address", ["0.0.0.0:0", "192.168.1.2:8080", "[::]:0", "somewhere:80"])
@pytest.mark.parametrize("token", [None, ""])
def test_other_machines_need_a_token(address: str, token: str | None) -> None:
    with pytest.raises(InputError, match="`token`"):
        MjpegServer(address, token=token)


def test_port_in_use() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(InputError, match=str(port)):
            MjpegServer(port)


def test_too_many_viewers_are_refused(server: MjpegServer) -> None:
    viewers = [urlopen(server.links[0]) for _ in range(MAX_VIEWERS)]
    assert get(server.links[0], "/stream.mjpg")[0] == 503
    for viewer in viewers:
        viewer.close()


def test_addresses() -> None:
    assert parsed_address(8080) == ("127.0.0.1", 8080)
    assert parsed_address("[::1]:80") == ("::1", 80)
    for wrong in ("", "tv", "host:", "host:99999", "1.2.3.4"):
        with pytest.raises(InputError, match="PORT"):
            parsed_address(wrong)
