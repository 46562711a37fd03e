from __future__ import annotations

import hashlib
import http.server
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from elman.data import download as module
from elman.data.download import download
from elman.errors import DownloadError

CONTENT = bytes(range(256)) * 1200  # several chunks
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Mirror(http.server.ThreadingHTTPServer):
    """A loopback mirror whose paths misbehave in one way each; remembers (path, Range) of every request."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.seen: list[tuple[str, str | None]] = []
        self.cuts = 1_000_000

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_port}/{path}"


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Mirror

    def log_message(self, *args):
        pass

    def do_GET(self):
        path, wanted = self.path.strip("/"), self.headers.get("Range")
        self.server.seen.append((path, wanted))
        self.close_connection = True
        if path == "missing":
            return self.send_error(404)
        if path == "busy" and len(self.server.seen) < 3:
            return self.send_error(503)
        if path == "silent":
            return time.sleep(1)
        content = {"wrong": b"x" * len(CONTENT), "short": CONTENT[:-1], "page": b"<html>login</html>"}.get(
            path, CONTENT
        )
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and path != "no-ranges" else 0
        if start >= len(content):
            return self.send_error(416)
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        if path != "endless":
            self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        if path == "endless":
            try:
                for _ in range(1000):
                    self.wfile.write(CONTENT)
            except OSError:
                return None
        body = content[start:]
        if path == "cut" and self.server.cuts > 0:
            self.server.cuts -= 1
            body = body[: len(body) // 2]
        self.wfile.write(body)
        return None


@pytest.fixture
def mirror(monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with Mirror() as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def dead_url():
    with socket.socket() as held:  # bound, but nobody listens
        held.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{held.getsockname()[1]}/file"


def get(urls, path, **options):
    return download(urls, path, sha256=SHA256, size=len(CONTENT), **{"pause": 0, "timeout": 5} | options)


def test_brings_the_file_and_reports_progress(mirror, tmp_path):
    reports = []
    path = get(
        [mirror.url("good")], tmp_path / "new" / "file", progress=lambda done, total: reports.append((done, total))
    )
    assert path.read_bytes() == CONTENT
    assert [done for done, _ in reports] == sorted(done for done, _ in reports)
    assert reports[0][0] < len(CONTENT)
    assert reports[-1] == (len(CONTENT), len(CONTENT))
    assert not path.with_name("file.part").exists()


def test_a_right_file_is_not_fetched_again_and_a_wrong_one_is_replaced(mirror, tmp_path):
    (tmp_path / "file").write_bytes(CONTENT)
    get([mirror.url("good")], tmp_path / "file")
    assert mirror.seen == []
    (tmp_path / "file").write_bytes(CONTENT[:-1] + b"?")
    get([mirror.url("good")], tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_goes_on_from_a_part_of_an_earlier_call(mirror, tmp_path):
    (tmp_path / "file.part").write_bytes(CONTENT[:1000])
    get([mirror.url("good")], tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == CONTENT
    assert mirror.seen == [("good", "bytes=1000-")]


def test_a_connection_that_is_cut_is_resumed(mirror, tmp_path):
    mirror.cuts = 2
    get([mirror.url("cut")], tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == CONTENT
    half, more = len(CONTENT) // 2, len(CONTENT) * 3 // 4
    assert mirror.seen == [("cut", None), ("cut", f"bytes={half}-"), ("cut", f"bytes={more}-")]


def test_the_next_mirror_goes_on_where_the_last_one_died(mirror, tmp_path):
    get([mirror.url("cut"), mirror.url("good")], tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == CONTENT
    assert mirror.seen[-1] == ("good", f"bytes={len(CONTENT) * 7 // 8}-")


def test_a_server_without_ranges_begins_again(mirror, tmp_path):
    (tmp_path / "file.part").write_bytes(CONTENT[:1000])
    get([mirror.url("no-ranges")], tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == CONTENT


@pytest.mark.parametrize("part", [b"rubbish" * 100, b"y" * len(CONTENT), b"z" * (len(CONTENT) + 5)])
def test_a_part_of_wrong_bytes_costs_one_more_try(mirror, tmp_path, part):
    (tmp_path / "file.part").write_bytes(part)
    get([mirror.url("good")], tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_a_complete_part_needs_no_network(tmp_path, dead_url):
    (tmp_path / "file.part").write_bytes(CONTENT)
    get([dead_url], tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("path", "reason", "requests"),
    [
        ("missing", "HTTP 404 Not Found", 1),
        ("wrong", "wrong SHA-256", 1),
        ("short", "307,199 bytes where 307,200 are expected", 1),
        ("page", "18 bytes where 307,200 are expected", 1),
        ("cut", "broke off after 268,800 of 307,200 bytes", 3),
        ("endless", "", 1),
    ],
)
def test_a_bad_mirror_is_left_for_the_next(mirror, tmp_path, path, reason, requests):
    get([mirror.url(path), mirror.url("good")], tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == CONTENT
    if path == "endless":  # its first bytes are the right ones, and no more are taken
        assert mirror.seen == [("endless", None)]
        return
    assert [seen for seen, _ in mirror.seen] == [path] * requests + ["good"]
    with pytest.raises(DownloadError, match=reason):
        get([mirror.url(path)], tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_a_busy_mirror_is_asked_again(mirror, tmp_path):
    get([mirror.url("busy")], tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == CONTENT
    assert len(mirror.seen) == 3


def test_a_silent_mirror_is_given_up(mirror, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_ATTEMPTS", 1)
    with pytest.raises(DownloadError, match="no answer in time"):
        get([mirror.url("silent")], tmp_path / "file", timeout=0.1)


def test_without_a_network_one_line_says_why_and_what_to_do(mirror, tmp_path, dead_url):
    with pytest.raises(DownloadError) as caught:
        get([dead_url, mirror.url("missing"), "http://mirror.invalid/file", "file:///etc/passwd"], tmp_path / "file")
    message = str(caught.value)
    assert "\n" not in message
    assert "Connection refused" in message
    assert f"127.0.0.1:{mirror.server_port}: HTTP 404 Not Found" in message
    assert "mirror.invalid: " in message
    assert "not an http address" in message
    assert f"copy the file by hand into {tmp_path}, or pass --data DIR" in message


def test_what_has_come_is_kept_for_the_next_call(mirror, tmp_path):
    with pytest.raises(DownloadError):
        get([mirror.url("cut")], tmp_path / "file")
    assert (tmp_path / "file.part").read_bytes() == CONTENT[: len(CONTENT) * 7 // 8]


def test_a_place_that_cannot_be_written_is_clear(tmp_path):
    (tmp_path / "blocker").write_text("a file, not a folder")
    with pytest.raises(DownloadError, match=r"blocker.file cannot be written"):
        get([], tmp_path / "blocker" / "file")


def test_a_full_disk_is_clear_and_leaves_no_file(mirror, tmp_path, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "_copy", full)
    with pytest.raises(DownloadError, match="cannot be written: No space left on device"):
        get([mirror.url("good")], tmp_path / "file")
    assert not (tmp_path / "file").exists()


def test_two_at_once_fetch_it_once(mirror, tmp_path):
    with ThreadPoolExecutor(4) as pool:
        paths = list(pool.map(lambda _: get([mirror.url("good")], tmp_path / "file"), range(4)))
    assert {path.read_bytes() for path in paths} == {CONTENT}
    assert len(mirror.seen) == 1
