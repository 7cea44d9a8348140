"""A server that records what a client of Weights & Biases sends, and answers what the official client asks.

It knows the calls that the official client makes (GraphQL `Viewer`, `RunResumeStatus`, `UpsertBucket`, `CreateRunFiles`,
the file stream)
and those with which `wandb.Api` reads a run. Rows of a file stand at the places that the client's offsets say. It can
be away, answer with an error, or refuse keys.
"""

import base64
import contextlib
import gzip
import json
import socket
import threading
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Run:
    """One run: what it was made with, and its files by their rows."""

    def __init__(self, number, entity, project, name):
        self.id = base64.b64encode(f"Run:{number}".encode()).decode()
        self.entity, self.project, self.name = entity, project, name
        self.display_name, self.config, self.job_type = name, {}, None
        self.files = {}
        self.state, self.exit_code = "running", None
        self.rewritten = 0

    def rows(self, file):
        """The rows of a file, which has no gaps."""
        lines = self.files.get(file, {})
        assert sorted(lines) == list(range(len(lines))), f"{file} has gaps: {sorted(lines)}"
        return [json.loads(lines[at]) for at in sorted(lines)]

    def take(self, body):
        for file, chunk in body.get("files", {}).items():
            lines = self.files.setdefault(file, {})
            for at, line in enumerate(chunk["content"], chunk["offset"]):
                self.rewritten += at in lines and file == "wandb-history.jsonl"
                lines[at] = line
        if body.get("complete"):
            self.exit_code = body["exitcode"]
            self.state = "finished" if self.exit_code == 0 else "failed"

    def summary(self):
        rows = self.rows("wandb-summary.json")
        return rows[-1] if rows else {}


class Recorder:
    """The server. `requests` holds what came: method, path, key and body."""

    def __init__(self, port=0, keys=None):
        self.keys, self.answer = keys, None
        # Called with the name of a run when rows of its history were taken in, before that is answered, under the lock.
        self.after_history = None
        self.runs, self.requests = {}, []
        self.lock, self.connections = threading.Lock(), []
        self.port = port
        self.server = None

    def start(self):
        recorder = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *args):
                pass

            def setup(self):
                super().setup()
                recorder.connections.append(self.connection)

            def handle_any(self):
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                if self.headers.get("content-encoding") == "gzip":
                    body = gzip.decompress(body)
                status, reply = recorder.respond(self.command, self.path, self.headers, body)
                content = json.dumps(reply).encode()
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = do_PUT = handle_any

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            # A port that was just left is taken again.
            allow_reuse_address = True

            def handle_error(self, request, client_address):
                """A client that goes away is nothing to tell of."""

        self.server = Server(("127.0.0.1", self.port), Handler)
        self.port = self.server.server_port
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def stop(self):
        self.server.shutdown()
        self.server.server_close()
        # Those that clients keep open as well.
        for connection in self.connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self.connections.clear()
        self.server = None

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def respond(self, method, path, headers, body):
        scheme, _, basic = headers.get("authorization", "").partition(" ")
        user, _, key = base64.b64decode(basic).decode().partition(":") if scheme == "Basic" else ("", "", "")
        with self.lock:
            if path.startswith(("/sdk/", "/storage/")):
                return 200, {}
            text = json.loads(body) if body else None
            self.requests.append({"method": method, "path": path, "user": user, "key": key, "body": text,
                                  "type": headers.get("content-type"), "status": self.answer or 200})
            if self.answer is not None:
                return self.answer, {"error": "this is a test"}
            if self.keys is not None and key not in self.keys:
                self.requests[-1]["status"] = 401
                return 401, {"errors": [{"message": f"no such key: {key}"}]}
            if path == "/graphql":
                return 200, {"data": self.graphql(text["query"], text.get("variables") or {})}
            parts = [urllib.parse.unquote(part) for part in path.split("/")[1:]]
            if parts[0] == "files" and parts[-1] == "file_stream":
                self.runs[tuple(parts[1:4])].take(text)
                if "wandb-history.jsonl" in text.get("files", {}) and self.after_history is not None:
                    self.after_history(parts[3])
                return 200, {}
        return 404, {"error": f"this server has no {path}"}

    def graphql(self, query, variables):
        if "upsertBucket" in query:
            return self.upsert(variables)
        if "RunResumeStatus" in query:
            run = self.runs.get((variables.get("entity") or "team", variables["project"], variables["name"]))
            return {"model": run and {"bucket": {"id": run.id, "name": run.name, "historyLineCount":
                                                 len(run.files.get("wandb-history.jsonl", {}))}}}
        if "createRunFiles" in query:
            files = [{"name": name, "uploadUrl": f"{self.url}/storage/{name}"} for name in variables["files"]]
            return {"createRunFiles": {"runID": "", "uploadHeaders": [], "files": files}}
        if "viewer" in query or "serverInfo" in query:
            viewer = {"id": "VXNlcjox", "entity": "team", "username": "u", "email": "u@example.org", "name": "U",
                      "flags": "{}", "admin": False, "deletedAt": None, "teams": {"edges": []},
                      "apiKeys": {"edges": []}}
            return {"viewer": viewer, "serverInfo": {"features": [], "cliVersionInfo": {}}}
        if "__type" in query or "__schema" in query:
            return {}
        key = (variables.get("entity") or variables.get("entityName"),
               variables.get("project") or variables.get("projectName"), variables.get("name") or variables.get("runName") or variables.get("run"))
        run = self.runs.get(key)
        return {"project": {"id": "UHJvamVjdDox", "internalId": "UHJvamVjdDox",
                            "run": run and self.shown(run, query, variables)}}

    def upsert(self, variables):
        entity = variables.get("entity") or "team"
        key = (entity, variables["project"], variables["name"])
        inserted = key not in self.runs
        run = self.runs.setdefault(key, Run(len(self.runs), *key))
        run.display_name = variables.get("displayName") or run.display_name
        run.config = json.loads(variables.get("config") or "null") or run.config
        run.job_type = variables.get("jobType") or run.job_type
        project = {"id": "UHJvamVjdDox", "name": run.project, "entity": {"id": "RW50aXR5OjE=", "name": run.entity}}
        bucket = {"id": run.id, "name": run.name, "displayName": run.display_name, "description": "",
                  "config": json.dumps(run.config), "sweepName": None, "project": project,
                  "historyLineCount": len(run.files.get("wandb-history.jsonl", {}))}
        return {"upsertBucket": {"bucket": bucket, "inserted": inserted}}

    def shown(self, run, query, variables):
        """A run, as the official client reads it."""
        history = run.rows("wandb-history.jsonl")
        shown = {
            "id": run.id, "tags": [], "name": run.name, "displayName": run.display_name, "sweepName": None,
            "state": run.state, "config": json.dumps(run.config), "group": None, "jobType": run.job_type,
            "commit": None, "readOnly": False, "createdAt": "2026-01-01T00:00:00", "heartbeatAt": "2026-01-01T00:00:00",
            "description": "", "notes": None, "systemMetrics": "{}", "summaryMetrics": json.dumps(run.summary()),
            "historyLineCount": len(history), "projectId": "1", "internalId": "1", "stopped": False,
            "user": {"name": "U", "username": "u"}, "historyKeys": self.history_keys(history),
            "events": [json.dumps(row) for row in run.rows("wandb-events.jsonl")],
        }
        if "history(" in query or "history (" in query:
            low, high = variables.get("minStep") or 0, variables.get("maxStep")
            shown["history"] = [json.dumps(row) for row in history
                                if low <= row["_step"] and (high is None or row["_step"] < high)]
        if "sampledHistory" in query:
            shown["sampledHistory"] = [history for _ in variables.get("specs", [None])]
        if "parquetHistory" in query:
            shown["parquetHistory"] = {"parquetUrls": [], "liveData": history}
        return shown

    @staticmethod
    def history_keys(history):
        names = {name for row in history for name in row}
        return {"sets": [], "lastStep": history[-1]["_step"] if history else -1,
                "keys": {name: {"typeCounts": [{"type": "number", "count": len(history)}]} for name in names}}
