"""Starts the built binary the way a user would, on a scratch data directory and a free loopback port."""

import contextlib
import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HEARTH = ROOT / "target/release/hearth"
BASE = "smollm2-135m-instruct"
BASE_NAME = f"accounts/fireworks/models/{BASE}"
BASE_DIR = ROOT / "target/test-data/models/fireworks" / BASE
START_TIMEOUT_S = 60


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def scratch():
    """A directory that is removed afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="hearth-conformance-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def link_base(data_dir, name=BASE, template=None):
    """Puts the test model into a data directory without copying its bytes, perhaps with another chat template."""
    target = data_dir / "models/fireworks" / name
    if not target.exists():
        shutil.copytree(BASE_DIR, target, copy_function=os.link)
    if template is not None:
        manifest = json.loads((target / "hearth-model.json").read_text())
        content = template.encode()
        manifest["files"]["chat_template.jinja"] = {"size_bytes": len(content),
                                                    "sha256": hashlib.sha256(content).hexdigest()}
        for file, content in (("chat_template.jinja", content), ("hearth-model.json", json.dumps(manifest).encode())):
            (target / file).unlink()
            (target / file).write_bytes(content)


class Server:
    """One `hearth serve` process; it can be killed and started again on the same data."""

    def __init__(self, data_dir, *options, base=True, env=None):
        self.data_dir = data_dir
        self.options = options
        self.env = {**os.environ, **(env or {})}
        self.port = free_port()
        scheme = "https" if "--tls-self-signed" in options else "http"
        self.url = f"{scheme}://127.0.0.1:{self.port}"
        self.authority = data_dir / "tls/authority.pem"
        if base:
            link_base(data_dir)

    def start(self):
        self.log = open(self.data_dir / "serve.log", "ab")
        command = [HEARTH, "serve", "--data-dir", self.data_dir, "--listen", f"127.0.0.1:{self.port}",
                   *self.options]
        self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log, env=self.env)
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            assert self.process.poll() is None, f"the server ended: {(self.data_dir / 'serve.log').read_text()}"
            assert time.monotonic() < deadline, "the server did not start in time"
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
                break
            time.sleep(0.05)
        self.key = (self.data_dir / "api-key").read_text().strip()
        return self

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self):
        self.process.terminate()
        self.process.wait(timeout=60)

    def request(self, method, path, body=None, raw=None):
        data = raw if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"}
        request = urllib.request.Request(self.url + path, data=data, headers=headers, method=method)
        with urllib.request.urlopen(request, timeout=60) as reply:
            text = reply.read()
        return json.loads(text) if text else None


@contextlib.contextmanager
def server(*options, base=True, prepare=None):
    """A running server; `prepare` is called with its data directory before it starts."""
    with scratch() as folder:
        if prepare is not None:
            prepare(folder)
        running = Server(folder, *options, base=base).start()
        try:
            yield running
        finally:
            running.stop()


def colour_rows(count, seed=0):
    """Chat rows of a tiny made-up code: a colour and a shape become one word."""
    colours = ["red", "green", "blue", "white", "black", "yellow"]
    shapes = ["ring", "cube", "star", "cone"]
    rows = []
    for i in range(count):
        colour, shape = colours[(i + seed) % 6], shapes[(i // 6 + seed) % 4]
        question = f"I have {2 + i % 7} pieces: each is a {colour} {shape}."
        rows.append({"messages": [{"role": "user", "content": question},
                                  {"role": "assistant", "content": f"{shape.upper()}-{colour[0].upper()}"}]})
    return rows


def write_jsonl(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path
