"""An import from S3 that is killed in the middle goes on where it was: the server, the network and the kill are real, the
S3 service is a small one of this file."""

import hashlib
import re
import threading
import time
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from xml.sax.saxutils import escape

from harness import BASE_DIR, Server, free_port, scratch

WAIT_S = 300
BUCKET = "models.example"
# Bytes that are asked for at once, and the range that waits until the server has been killed.
RANGE = 8 << 20
HELD = 4
KEY_ID, SECRET = "AKIDEXAMPLE", "hush/hush+EXAMPLEKEY"


class S3:
    """The files of the test model in the folder `base` of one bucket. Answers signed requests for lists and ranges."""

    def __init__(self):
        self.files = {path.name: path for path in BASE_DIR.iterdir() if path.name != "hearth-model.json"}
        self.tags = {name: f'"{hashlib.sha256(path.read_bytes()).hexdigest()[:32]}"' for name, path in self.files.items()}
        self.largest = max(self.files, key=lambda name: self.files[name].stat().st_size)
        self.go, self.held, self.asked = threading.Event(), threading.Event(), []
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):  # noqa: N802
                service.answer(self)

            def log_message(self, *_):
                pass

        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.http = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def answer(self, request):
        signed = re.fullmatch(rf"AWS4-HMAC-SHA256 Credential={KEY_ID}/.*Signature=[0-9a-f]{{64}}",
                              request.headers.get("authorization", ""))
        if not signed:
            return self.reply(request, 403, b"<Error><Code>AccessDenied</Code></Error>")
        url = urllib.parse.urlparse(request.path)
        if "list-type=2" in url.query:
            rows = "".join(f"<Contents><Key>base/{escape(name)}</Key><LastModified>2026-11-02T10:00:00.000Z</LastModified>"
                           f"<ETag>{escape(self.tags[name])}</ETag><Size>{path.stat().st_size}</Size></Contents>"
                           for name, path in sorted(self.files.items()))
            text = f"<ListBucketResult><IsTruncated>false</IsTruncated>{rows}</ListBucketResult>"
            return self.reply(request, 200, text.encode())
        name = urllib.parse.unquote(url.path).removeprefix(f"/{BUCKET}/base/")
        first, last = map(int, request.headers["range"].removeprefix("bytes=").split("-"))
        self.asked.append((name, first))
        assert request.headers["if-match"] == self.tags[name]
        if name == self.largest and first == HELD * RANGE:
            self.held.set()
            self.go.wait(WAIT_S)
        size = self.files[name].stat().st_size
        with open(self.files[name], "rb") as file:
            file.seek(first)
            body = file.read(last - first + 1)
        headers = {"content-range": f"bytes {first}-{first + len(body) - 1}/{size}", "etag": self.tags[name],
                   "last-modified": "Mon, 02 Nov 2026 10:00:00 GMT"}
        return self.reply(request, 206, body, headers)

    @staticmethod
    def reply(request, status, body, headers=None):
        try:
            request.send_response(status)
            for name, value in {"content-length": str(len(body)), **(headers or {})}.items():
                request.send_header(name, value)
            request.end_headers()
            request.wfile.write(body)
        except OSError:
            pass  # The server was killed.


def main():
    s3 = S3()
    with scratch() as folder:
        running = Server(folder, "--s3-endpoint", s3.url, base=False).start()
        try:
            models = "/v1/accounts/default/models"
            running.request("POST", models, {"modelId": "copied", "model": {"kind": "HF_BASE_MODEL"}})
            source = {"s3Bucket": BUCKET, "s3Path": "base", "accessKeyId": KEY_ID, "accessSecret": SECRET}
            operation = running.request("POST", f"{models}/copied:import", {"awsS3Source": source})
            assert not operation["done"], operation
            assert s3.held.wait(WAIT_S), "the range that waits was never asked for"
            small = [name for name in s3.files if name != s3.largest]
            files = folder / "uploads/default/copied/files"
            deadline = time.monotonic() + WAIT_S
            while not all((files / name).exists() for name in small):
                assert time.monotonic() < deadline, s3.asked
                time.sleep(0.1)
            running.kill()
            s3.go.set()
            s3.asked.clear()
            for path in folder.rglob("*"):
                assert not path.is_file() or SECRET.encode() not in path.read_bytes(), path
            running.start()
            deadline = time.monotonic() + WAIT_S
            while not (operation := running.request("GET", f"/v1/{operation['name']}"))["done"]:
                assert time.monotonic() < deadline, operation
                time.sleep(0.2)
            assert operation["response"]["state"] == "READY", operation
            # Nothing is copied twice, but for what was not on disk yet.
            assert min(s3.asked) == (s3.largest, HELD * RANGE) and len(set(s3.asked)) == len(s3.asked), s3.asked
            for name, path in s3.files.items():
                copied = folder / "models/default/copied" / name
                assert not copied.exists() or name.endswith(".json") or copied.read_bytes() == path.read_bytes(), name
            question = {"model": "accounts/default/models/copied", "max_tokens": 4, "temperature": 0,
                        "messages": [{"role": "user", "content": "Say hello."}]}
            reply = running.request("POST", "/v1/chat/completions", question)
            assert reply["choices"][0]["message"]["content"], reply
        finally:
            running.stop()
    print("import_s3: an import that was killed went on behind its last range, and the model answers")


if __name__ == "__main__":
    main()
