"""What the suites of datasets in S3 and Azure share: a proxy that makes trouble, jobs, and a search for what must be
nowhere."""

import contextlib
import http.client
import json
import signal
import ssl
import subprocess
import threading
import time
import urllib.error
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import tiny
from harness import HEARTH, free_port

WAIT_S = 180
BASE = "tiny"
JOBS = "/v1/accounts/default/supervisedFineTuningJobs"
RANGE = 8 << 20
PIECE = 64 << 10
# Codes of google.rpc that jobs end with.
FINAL = ("JOB_STATE_COMPLETED", "JOB_STATE_FAILED", "JOB_STATE_CANCELLED")


class Proxy:
    """Passes requests on, and makes the trouble that it is told to. `tls` is a context for its own side."""

    def __init__(self, target_port, target_tls=None, tls=None):
        self.target_port, self.target_tls = target_port, target_tls
        self.lock, self.seen, self.count = threading.Lock(), [], 0
        self.go, self.held = threading.Event(), threading.Event()
        self.calm()
        # Answers a request itself: gets the handler and its body, says whether it did.
        self.answer = lambda handler, body: False
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):  # noqa: N802
                proxy.handle(self)

            do_HEAD = do_POST = do_PUT = do_GET  # noqa: N815

            def log_message(self, *_):
                pass

        class Quiet(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_):
                pass  # Clients that were killed.

        self.port = free_port()
        self.http = Quiet(("127.0.0.1", self.port), Handler)
        if tls:
            self.http.socket = tls.wrap_socket(self.http.socket, server_side=True)
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def calm(self):
        """No trouble from now on."""
        self.fail_every = 0
        self.piece_pause_s = 0
        self.down_until = 0
        self.hold = None

    def hold_at(self, part, first=0):
        """Requests whose path has this part wait, from this byte of a file on, until `go` is set."""
        self.go.clear()
        self.held.clear()
        self.hold = (part, first)

    def handle(self, handler):
        body = handler.rfile.read(int(handler.headers.get("content-length", 0)))
        span = handler.headers.get("range") or handler.headers.get("x-ms-range")
        first = int(span.removeprefix("bytes=").split("-")[0]) if span else None
        with self.lock:
            self.seen.append((handler.command, handler.path, first, "authorization" in handler.headers))
            self.count += 1
            fails = self.fail_every and self.count % self.fail_every == 0
            kind = self.count // self.fail_every % 3 if fails else None
        if time.monotonic() < self.down_until or kind == 0:
            handler.close_connection = True
            handler.connection.close()
            return
        if kind == 1:
            handler.send_response(503)
            handler.send_header("content-length", "0")
            handler.end_headers()
            return
        hold = self.hold
        if hold and hold[0] in handler.path and (first or 0) >= hold[1] and handler.command != "HEAD":
            self.held.set()
            self.go.wait(WAIT_S)
        if not self.answer(handler, body):
            self.pass_on(handler, handler.headers.items(), body, cut=kind == 2)

    def pass_on(self, handler, headers, body, cut=False):
        if self.target_tls:
            target = http.client.HTTPSConnection("127.0.0.1", self.target_port, context=self.target_tls)
        else:
            target = http.client.HTTPConnection("127.0.0.1", self.target_port)
        with contextlib.closing(target):
            target.putrequest(handler.command, handler.path, skip_host=True, skip_accept_encoding=True)
            for name, value in headers:
                target.putheader(name, value)
            target.endheaders(body)
            reply = target.getresponse()
            content = b"" if handler.command == "HEAD" else reply.read()
            handler.send_response(reply.status)
            for name, value in reply.getheaders():
                if name.lower() not in ("transfer-encoding", "connection", "content-length", "server", "date"):
                    handler.send_header(name, value)
            length = reply.getheader("content-length") if handler.command == "HEAD" else len(content)
            handler.send_header("content-length", str(length or 0))
            handler.end_headers()
            if cut:
                content = content[:len(content) // 2]
            for start in range(0, len(content), PIECE):
                handler.wfile.write(content[start:start + PIECE])
                time.sleep(self.piece_pause_s)
            if cut:
                handler.close_connection = True
                handler.connection.shutdown(2)


def wait(what, check):
    deadline = time.monotonic() + WAIT_S
    while not (found := check()):
        assert time.monotonic() < deadline, what() if callable(what) else what
        time.sleep(0.05)
    return found


def wait_for_port(port, process, log):
    import socket

    def answers():
        assert process.poll() is None, Path(log).read_text()[-2000:]
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
        return False

    wait(f"nothing listens on {port}", answers)


def install_base(folder):
    """The tiny base in a data directory, without a server."""
    (folder / "made").mkdir()
    tiny.install_base(folder / "data", folder / "made", BASE)


def error_of(call):
    """Code and message of a call that must be refused."""
    try:
        done = call()
    except urllib.error.HTTPError as error:
        reply = json.loads(error.read())
        return reply["code"], reply["message"]
    raise AssertionError(f"it was not refused: {done}")


class Jobs:
    """Datasets and jobs of a running server."""

    def __init__(self, server):
        self.server = server

    def secret(self, name, value):
        body = {"name": f"accounts/default/secrets/{name}", "keyName": "KEY",
                "value": value if isinstance(value, str) else json.dumps(value)}
        self.server.request("POST", "/v1/accounts/default/secrets", body)
        return body["name"]

    def dataset(self, name, url):
        body = {"datasetId": name, "dataset": {"externalUrl": url}}
        made = self.server.request("POST", "/v1/accounts/default/datasets", body)
        assert made["state"] == "READY" and made["externalUrl"] == url, made
        return name

    def create(self, name, dataset, **fields):
        job = {"dataset": dataset, "baseModel": f"accounts/fireworks/models/{BASE}", "epochs": 1, "loraRank": 4,
               "learningRate": 0.001, "batchSizeSamples": 8, "maxContextLength": 256} | fields
        return self.server.request("POST", f"{JOBS}?supervisedFineTuningJobId={name}", job)

    def get(self, name):
        return self.server.request("GET", f"{JOBS}/{name}")

    def state(self, name):
        return self.get(name)["state"].removeprefix("JOB_STATE_")

    def ended(self, name):
        return wait(lambda: f"{name} does not end: {self.get(name)}",
                    lambda: (job := self.get(name))["state"] in FINAL and job)

    def completed(self, name):
        job = self.ended(name)
        assert job["state"] == "JOB_STATE_COMPLETED", job
        # Counted when the rows were here, before the training began.
        assert "estimatedCost" in job and int(job["resourceEstimate"]["memoryBytesHigh"]) > 0, job
        return job

    def fetching(self):
        """Ids of the processes that fetch rows for this server."""
        found = []
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                words = (entry / "cmdline").read_bytes().split(b"\0") if entry.name.isdigit() else []
                if b"fetch-rows" in words and any(word.startswith(bytes(self.server.data_dir)) for word in words):
                    found.append(int(entry.name))
        return found

    def failed(self, name, code, *parts):
        job = self.ended(name)
        assert job["state"] == "JOB_STATE_FAILED" and job["status"]["code"] == code, job
        assert all(part in job["status"]["message"] for part in parts), job
        return job

    def verb(self, name, verb):
        return self.server.request("POST", f"{JOBS}/{name}:{verb}", {})

    def run_dir(self, name):
        return self.server.data_dir / "runs/default" / name

    def rows(self, name, part="train"):
        """What the run has of its rows."""
        return b"".join(path.read_bytes() for path in sorted((self.run_dir(name) / "data").glob(f"{part}-*.jsonl")))




def must_be_nowhere(secrets, *folders, but=()):
    """In no file below the folders, and in no command line or environment of any process but those."""
    secrets = [secret.encode() for secret in secrets]
    for folder in folders:
        for path in folder.rglob("*"):
            with contextlib.suppress(FileNotFoundError):
                if path.is_file():
                    content = path.read_bytes()
                    assert not any(secret in content for secret in secrets), path
    looked = 0
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) in but:
            continue
        for name in ("cmdline", "environ"):
            with contextlib.suppress(OSError):
                content = (entry / name).read_bytes()
                assert not any(secret in content for secret in secrets), entry / name
                looked += str(HEARTH).encode() in content
    assert looked, "no process of hearth was looked at"


class Fetcher:
    """`hearth fetch-rows` without a server, as that starts it."""

    def __init__(self, run_dir, request):
        run_dir.mkdir(exist_ok=True)
        self.run_dir, self.request = run_dir, json.dumps(request).encode()

    def start(self):
        log = open(self.run_dir / "trainer.log", "ab")
        self.process = subprocess.Popen([HEARTH, "fetch-rows", self.run_dir], stdin=subprocess.PIPE, stdout=log,
                                        stderr=log)
        self.process.stdin.write(self.request)
        self.process.stdin.close()
        return self

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def finish(self):
        code = self.process.wait(timeout=WAIT_S)
        assert code == 0, f"{code}: {(self.run_dir / 'trainer.log').read_text()[-2000:]}"
        return b"".join(path.read_bytes() for path in sorted((self.run_dir / "data").glob("train-*.jsonl")))


def rows_text(rows):
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def client_tls(authority):
    return ssl.create_default_context(cafile=str(authority))
