"""Webhooks arrive signed as the Standard Webhooks specification says, in order and at least once, through kills.

The reference library of the specification checks each signature. The receiver refuses some deliveries, and the server is
killed with SIGKILL while they wait and while they are on their way.
"""

import json
import random
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from harness import BASE_NAME, Server, colour_rows, scratch
from standardwebhooks import Webhook, WebhookVerificationError

ACCOUNT = "/v1/accounts/default"
JOBS = f"{ACCOUNT}/supervisedFineTuningJobs"
# Queued jobs whose state is changed by hand: no trainer runs.
CHANGES = ["cancel", "resume"] * 4
DELIVERY_TIMEOUT_S = 120


class Receiver:
    """Takes deliveries in and checks their signatures; the first is refused, and some at random."""

    def __init__(self, seed):
        self.random, self.lock = random.Random(seed), threading.Lock()
        self.secret, self.taken, self.refused, self.wrong = None, [], 0, []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *args):
                pass

            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                self.send_response(receiver.take(dict(self.headers), body))
                self.end_headers()

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{server.server_port}/hook"
        threading.Thread(target=server.serve_forever, daemon=True).start()

    def take(self, headers, body):
        with self.lock:
            try:
                event = Webhook(self.secret).verify(body, headers)
            except WebhookVerificationError as error:
                self.wrong.append((str(error), headers))
                return 400
            if self.refused == 0 or self.random.random() < 1 / 5:
                self.refused += 1
                return 503
            self.taken.append((headers["webhook-id"], event))
            return 200


def expected(changes):
    types = {"cancel": "fine_tuning.job.cancelled", "resume": "fine_tuning.job.queued"}
    return [types[change] for change in changes]


def told(receiver, job):
    """Types of a job's events in the order in which they came first."""
    first = {}
    with receiver.lock:
        for message, event in receiver.taken:
            if event["data"]["id"] == job:
                first.setdefault(message, event["type"])
    return list(first.values())


def main():
    seed = random.randrange(2**32)
    print(f"webhooks: seed {seed}")
    receiver = Receiver(seed)
    with scratch() as folder:
        server = Server(folder, "--webhook-allow-private", "--trainers", "0").start()
        try:
            made = server.request("POST", f"{ACCOUNT}/webhooks", {"webhookId": "w", "webhook": {"url": receiver.url}})
            receiver.secret = made["signingSecret"]
            forged = Webhook("whsec_" + "QUFB" * 8)
            rows = "".join(json.dumps(row) + "\n" for row in colour_rows(4)).encode()
            server.request("POST", f"{ACCOUNT}/datasets", {"datasetId": "colours", "dataset": {}})
            form = (b"--x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"rows.jsonl\"\r\n\r\n" + rows
                    + b"\r\n--x--\r\n")
            upload(server, f"{ACCOUNT}/datasets/colours:upload", form)
            jobs = ["one", "two", "three"]
            for job in jobs:
                server.request("POST", f"{JOBS}?supervisedFineTuningJobId={job}",
                               {"dataset": "colours", "baseModel": BASE_NAME})
            kills = 0
            for turn, change in enumerate(CHANGES):
                for job in jobs:
                    server.request("POST", f"{JOBS}/{job}:{change}", {})
                if turn % 3 == 0:
                    server.kill()
                    server.start()
                    kills += 1
            deadline = time.monotonic() + DELIVERY_TIMEOUT_S
            while not all(told(receiver, job) == expected(CHANGES) for job in jobs):
                assert time.monotonic() < deadline, [told(receiver, job) for job in jobs]
                time.sleep(0.1)
            assert receiver.wrong == [] and receiver.refused > 0, receiver.wrong
            message, event = receiver.taken[0]
            try:
                forged.verify(json.dumps(event), {"webhook-id": message, "webhook-timestamp": "1",
                                                  "webhook-signature": "v1,AAAA"})
                raise AssertionError("the library takes anything")
            except WebhookVerificationError:
                pass
        finally:
            server.stop()
    repeated = len(receiver.taken) - len({message for message, _ in receiver.taken})
    print(f"webhooks: {len(CHANGES)} changes of {len(jobs)} jobs arrived in order through {kills} kills; "
          f"{receiver.refused} deliveries were refused at first, {repeated} came again")


def upload(server, path, form):
    headers = {"Authorization": f"Bearer {server.key}", "Content-Type": "multipart/form-data; boundary=x"}
    request = urllib.request.Request(server.url + path, data=form, headers=headers, method="POST")
    with urllib.request.urlopen(request, timeout=60) as reply:
        reply.read()


if __name__ == "__main__":
    main()
