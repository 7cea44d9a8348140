"""Connections that break in the middle of an upload or a download."""

import socket
import struct
import urllib.parse

from harness import colour_rows, write_jsonl

from .world import ACCOUNT, Refused, world


def connect(url):
    """A connection that ends with a reset when it is closed, and the path of the URL."""
    parts = urllib.parse.urlsplit(url)
    connection = socket.create_connection((parts.hostname, parts.port), timeout=10)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    return connection, f"{parts.path}?{parts.query}"


def break_put(url, content, sent):
    connection, path = connect(url)
    head = f"PUT {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(content)}\r\n\r\n"
    connection.sendall(head.encode() + content[:sent])
    connection.close()


def break_get(url, taken):
    connection, path = connect(url)
    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    got = 0
    while got < taken:
        got += len(connection.recv(1 << 16))
    connection.close()


def broken(folder):
    with world(folder, "network") as it:
        rows = write_jsonl(folder / "network-rows.jsonl", colour_rows(20_000))
        content = rows.read_bytes()
        path = f"{ACCOUNT}/datasets/broken"
        it.ask("POST", f"{ACCOUNT}/datasets", {"datasetId": "broken", "dataset": {"userUploaded": {}}})
        sizes = {"filenameToSize": {rows.name: str(len(content))}}
        url = it.ask("POST", f"{path}:getUploadEndpoint", sizes)["filenameToSignedUrls"][rows.name]
        places = (0, 1, len(content) // 2, len(content) - 1)
        for sent in places:
            break_put(url, content, sent)
            try:
                it.ask("POST", f"{path}:validateUpload", {})
                raise AssertionError(f"a file of which {sent} bytes came is valid")
            except Refused as refused:
                assert refused.status == 400, refused
            assert it.ask("GET", path)["state"] == "UPLOADING"
        it.until("swept", lambda: not list((it.data_dir / "objects").rglob("network-rows*")))
        it.ask("PUT", url, raw=content)
        it.ask("POST", f"{path}:validateUpload", {})
        assert it.ask("GET", path)["state"] == "READY"
        url = it.ask("GET", f"{path}:getDownloadEndpoint")["filenameToSignedUrls"][rows.name]
        for taken in places:
            break_get(url, taken)
        assert it.ask("GET", url) == content, "a download is not what was uploaded"
    return f"{len(places)} uploads and {len(places)} downloads broke off; what was stored is whole"
