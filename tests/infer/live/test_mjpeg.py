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
from nst_rt.images.io import Frame
from nst_rt.infer.live.mjpeg import VIEWERS, MjpegServer, parsed_address

COLORS = np.array([(200, 60, 20), (20, 180, 240)])


def picture(number: int) -> Frame:
    return np.full((48, 64, 3), COLORS[number], np.uint8)


@pytest.fixture
def server() -> Iterator[MjpegServer]:
    with closing(MjpegServer(0)) as running:
        running.write(picture(0), 0.0)
        yield running


def get(url: str, path: str, host: str | None = None) -> tuple[int, bytes]:
    """Status and, but for a stream, body."""
    place = urlsplit(url)
    connection = http.client.HTTPConnection(place.hostname or "", place.port)
    connection.request("GET", path, headers={} if host is None else {"Host": host})
    answer = connection.getresponse()
    stream = (answer.getheader("Content-Type") or "").startswith("multipart")
    with closing(connection):
        return answer.status, b"" if stream else answer.read()


def test_opencv_watches_the_newest_picture(server: MjpegServer) -> None:
    shown = [0]
    ended = threading.Event()

    def feed() -> None:
        while not ended.wait(0.01):
            server.write(picture(shown[0]), 0.0)

    feeding = threading.Thread(target=feed)
    feeding.start()
    try:
        captures = [cv2.VideoCapture(server.url) for _ in range(2)]  # two viewers
        for number in (1, 0):
            shown[0] = number
            for capture in captures:
                # A few pictures are on their way.
                frames = (capture.read()[1] for _ in range(500))
                assert any(
                    np.abs(frame[24, 32].astype(int) - COLORS[number]).max() < 12
                    for frame in frames
                )
        for capture in captures:
            capture.release()
    finally:
        ended.set()
        feeding.join()


def test_there_is_a_page_with_the_stream(server: MjpegServer) -> None:
    status, page = get(server.url, "/")
    assert status == 200
    assert b'<img src="stream.mjpg" ' in page
    assert get(server.url, "/nothing")[0] == 404


def test_a_foreign_name_for_this_machine_is_refused(server: MjpegServer) -> None:
    assert get(server.url, "/", host="localhost:80")[0] == 200
    assert get(server.url, "/stream.mjpg", host="evil.example")[0] == 403


def test_a_token_is_needed_where_there_is_one() -> None:
    with closing(MjpegServer("0.0.0.0:0", token="se&cret")) as server:
        server.write(picture(0), 0.0)
        assert server.url.endswith("/stream.mjpg?token=se%26cret")
        place = urlsplit(server.url)
        url = f"http://127.0.0.1:{place.port}"
        for query in ("", "?token=", "?token=secret"):
            assert get(url, f"/stream.mjpg{query}")[0] == 403
            assert get(url, f"/{query}")[0] == 403
        assert get(url, f"/stream.mjpg?{place.query}")[0] == 200
        assert b'src="stream.mjpg?token=se%26cret"' in get(url, f"/?{place.query}")[1]


NO_IPV6 = pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="no IPv6 here")


@pytest.mark.parametrize("host", ["0.0.0.0", "0", pytest.param("[::]", marks=NO_IPV6)])
def test_links_to_all_networks_can_be_opened(host: str) -> None:
    with closing(MjpegServer(f"{host}:0", token="secret")) as server:
        server.write(picture(0), 0.0)
        places = [urlsplit(link) for link in server.links]
        assert places[-1].hostname == "localhost"
        assert server.url == server.links[0]
        for place in places:
            assert place.hostname not in ("0.0.0.0", "0", "::")
            assert get(place.geturl(), f"{place.path}?{place.query}")[0] == 200


def test_a_link_to_one_address_is_that_address(server: MjpegServer) -> None:
    assert [urlsplit(link).hostname for link in server.links] == ["127.0.0.1"]


@NO_IPV6
def test_all_networks_of_ipv6_are_those_of_ipv4_too() -> None:
    with closing(MjpegServer("[::]:0", token="secret")) as server:
        port = urlsplit(server.url).port
        for here in ("127.0.0.1", "[::1]"):
            assert get(f"http://{here}:{port}", "/?token=secret")[0] == 200


def test_other_machines_need_a_token() -> None:
    for address in ("0.0.0.0:0", "192.168.1.2:8080", "[::]:0", "somewhere:80"):
        with pytest.raises(InputError, match="--token"):
            MjpegServer(address)
    with pytest.raises(InputError, match="empty token"):
        MjpegServer("0.0.0.0:0", token="")


def test_a_port_that_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(InputError, match=f"127.0.0.1:{port}: cannot listen there"):
            MjpegServer(port)


def test_viewers_over_the_limit_are_told(server: MjpegServer) -> None:
    viewers = [urlopen(server.url) for _ in range(VIEWERS)]
    status, body = get(server.url, "/stream.mjpg")
    assert status == 503
    assert b"too many viewers" in body
    for viewer in viewers:
        viewer.close()


def test_addresses() -> None:
    assert parsed_address(8080) == ("127.0.0.1", 8080)
    assert parsed_address("[::1]:80") == ("::1", 80)
    for wrong in ("", "tv", "host:", "host:99999", "1.2.3.4"):
        with pytest.raises(InputError, match="not an address"):
            parsed_address(wrong)
