"""What the control plane does under load: latencies and rates of the built server on this machine.

    python3 bench/load.py [--jobs 100000] [--seconds 20] [--save]

One server process with SQLite, and the load from this process on the same machine. Requests are sent on time, whether
earlier ones have been answered or not, so a slow answer is counted with all that it holds up.
"""

import argparse
import asyncio
import csv
import datetime
import json
import os
import random
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "conformance"))
from harness import BASE_NAME, Server, colour_rows, scratch, write_jsonl  # noqa: E402

JOBS = "/v1/accounts/default/supervisedFineTuningJobs"
LISTS = [
    'filter=state%3DJOB_STATE_COMPLETED&orderBy=createTime%20desc',
    'filter=baseModel%3D%22accounts/fireworks/models/base-1%22&orderBy=createTime%20desc',
    'filter=epochs%3E4%20AND%20createdBy:localhost&orderBy=name',
    'filter=displayName%3D%22name%2077%22&orderBy=createTime',
    'filter=epochs%3E4&orderBy=learningRate%20desc,name',
    'orderBy=createTime%20desc',
]


class Client(asyncio.Protocol):
    """One connection that is kept. Answers come in the order of the requests."""

    def __init__(self):
        self.waiting, self.buffer = [], b""

    def connection_made(self, transport):
        self.transport = transport

    def connection_lost(self, error):
        for reply in self.waiting:
            if not reply.done():
                reply.set_exception(ConnectionError("the server closed the connection"))

    def data_received(self, data):
        self.buffer += data
        while True:
            head_end = self.buffer.find(b"\r\n\r\n")
            if head_end < 0:
                return
            head = self.buffer[:head_end].lower()
            at = head.find(b"content-length:")
            length = int(head[at + 15:].split(b"\r\n", 1)[0]) if at >= 0 else 0
            end = head_end + 4 + length
            if len(self.buffer) < end:
                return
            body, self.buffer = self.buffer[head_end + 4:end], self.buffer[end:]
            self.waiting.pop(0).set_result((int(head[9:12]), body))

    def send(self, request):
        if self.transport.is_closing():
            raise ConnectionError("the server closed the connection")
        reply = asyncio.get_running_loop().create_future()
        self.waiting.append(reply)
        self.transport.write(request)
        return reply


class Load:
    def __init__(self, server):
        self.server = server

    def request(self, method, path, body=None):
        body = b"" if body is None else json.dumps(body).encode()
        head = (f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{self.server.port}\r\n"
                f"Authorization: Bearer {self.server.key}\r\nContent-Type: application/json\r\n"
                f"Content-Length: {len(body)}\r\n\r\n")
        return head.encode() + body

    async def connect(self, count):
        loop = asyncio.get_running_loop()
        made = [loop.create_connection(Client, "127.0.0.1", self.server.port) for _ in range(count)]
        return [client for _, client in await asyncio.gather(*made)]

    async def on_time(self, clients, requests, rate):
        """Sends each request when it is due; returns the latencies in ms, counted from then."""
        start, latencies, failures = time.perf_counter() + 0.1, [], []

        async def one(client, request, due):
            try:
                status, _ = await client.send(request)
                if status != 200:
                    failures.append(status)
            except ConnectionError as error:
                failures.append(str(error))
            latencies.append((time.perf_counter() - due) * 1e3)

        tasks = []
        for i, request in enumerate(requests):
            due = start + i / rate
            wait = due - time.perf_counter()
            if wait > 0:
                await asyncio.sleep(wait)
            tasks.append(asyncio.create_task(one(clients[i % len(clients)], request, due)))
        await asyncio.gather(*tasks)
        seconds = time.perf_counter() - start
        assert not failures, (len(failures), failures[:3])
        return latencies, len(requests) / seconds

    async def in_turn(self, client, requests):
        latencies = []
        for request in requests:
            begun = time.perf_counter()
            status, body = await client.send(request)
            latencies.append((time.perf_counter() - begun) * 1e3)
            assert status == 200, (status, body[:300])
        return latencies


def percentile(values, share):
    values = sorted(values)
    return values[min(len(values) - 1, int(len(values) * share))]


def fill(server, count):
    """Copies one real job's row until there are `count`, at their end, with other values."""
    base = server.request("POST", f"{JOBS}?supervisedFineTuningJobId=template", {
        "dataset": "rows", "baseModel": BASE_NAME, "displayName": "template"})
    assert base["state"] == "JOB_STATE_PENDING", base
    server.stop()
    rows = sqlite3.connect(server.data_dir / "hearth.db")
    (record,) = rows.execute("SELECT record FROM job WHERE id = 'template'").fetchone()
    rows.execute("DELETE FROM job")
    rng = random.Random(1)

    def copies():
        for i in range(count):
            job = json.loads(record)
            job["id"] = f"job-{i:06}"
            job["state"] = rng.choice(["COMPLETED"] * 8 + ["FAILED", "CANCELLED"])
            job["create_time_ms"] = job["update_time_ms"] = 1_700_000_000_000 + i * 1000
            settings = job["settings"]
            settings["output_model"]["id"] = job["id"]
            settings["base_model"]["id"] = f"base-{rng.randrange(3)}"
            settings["display_name"] = f"name {rng.randrange(5000)}"
            settings["epochs"], settings["learning_rate"] = rng.randrange(1, 10), rng.random() / 100
            job["progress"]["tokens"] = rng.randrange(1_000_000)
            yield "default", job["id"], job["state"], job["create_time_ms"], json.dumps(job)

    rows.executemany("INSERT INTO job (account, id, state, create_time_ms, record) VALUES (?, ?, ?, ?, ?)", copies())
    rows.commit()
    rows.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    rows.close()
    server.start()


async def measure(server, args, report):
    load = Load(server)
    rng = random.Random(2)
    clients = await load.connect(50)
    gets = [load.request("GET", f"{JOBS}/job-{rng.randrange(args.jobs):06}") for _ in range(1000 * args.seconds)]
    await load.on_time(clients, gets[:2000], 1000)
    latencies, rate = await load.on_time(clients, gets, 1000)
    report("GET job, 1,000/s over 50 connections", rate, latencies, "p99 < 10 ms")
    for query in LISTS:
        request = load.request("GET", f"{JOBS}?pageSize=200&{query}")
        await load.in_turn(clients[0], [request] * 3)
        latencies = await load.in_turn(clients[0], [request] * 100)
        report(f"list page of 200, {query}", 1000 / (sum(latencies) / len(latencies)), latencies, "p99 < 20 ms")
    for client in clients:
        client.transport.close()
    many = await load.connect(500)
    gets = [load.request("GET", f"{JOBS}/job-{rng.randrange(args.jobs):06}") for _ in range(500 * args.seconds)]
    latencies, rate = await load.on_time(many, gets, 500)
    report("GET job, 500/s over 500 connections that are kept", rate, latencies, "all answered")
    for client in many:
        client.transport.close()
    clients = await load.connect(50)
    resident = resident_mib(server, "VmRSS:")
    report("resident memory after these lists", 1, [resident], "", unit="MiB")
    creates = [load.request("POST", f"{JOBS}?supervisedFineTuningJobId=new-{i}", {
        "dataset": "rows", "baseModel": BASE_NAME, "displayName": f"new {i}"}) for i in range(200 * args.seconds)]
    latencies, rate = await load.on_time(clients, creates, 200)
    report("create job, 200/s over 50 connections", rate, latencies, "200/s, none lost")
    begun = time.perf_counter()
    shares = [creates_of(load, worker, 16, 2000) for worker in range(16)]
    latencies = sum(await asyncio.gather(*(load.in_turn(clients[i], share) for i, share in enumerate(shares))), [])
    report("create job, 16 clients as fast as they can", 2000 / (time.perf_counter() - begun), latencies, "")
    # Every job that was answered with 200 is there, also after a kill.
    server.kill()
    server.start()
    made = server.request("GET", f"{JOBS}?filter=displayName:new&pageSize=1")["totalSize"]
    expected = len(creates) + 2000
    assert made == expected, f"{expected} jobs were made and {made} are there"
    print(f"all {made} new jobs are there after a kill of the server")


def creates_of(load, worker, workers, count):
    return [load.request("POST", f"{JOBS}?supervisedFineTuningJobId=fast-{i}", {
        "dataset": "rows", "baseModel": BASE_NAME, "displayName": f"new fast {i}"})
        for i in range(worker, count, workers)]


def resident_mib(server, what):
    for line in Path(f"/proc/{server.process.pid}/status").read_text().splitlines():
        if line.startswith(what):
            return int(line.split()[1]) / 1024
    raise AssertionError(what)


def upload(server, size_mib, report):
    """One large file to a signed URL."""
    account = "/v1/accounts/default/datasets"
    server.request("POST", account, {"datasetId": "large", "dataset": {"userUploaded": {}}})
    with scratch() as folder:
        path, line = folder / "large.jsonl", json.dumps(colour_rows(1)[0]).encode() + b"\n"
        block = line * (1024 * 1024 // len(line))
        with open(path, "wb") as file:
            while file.tell() < size_mib << 20:
                file.write(block)
        size = path.stat().st_size
        url = server.request("POST", f"{account}/large:getUploadEndpoint", {"filenameToSize": {path.name: size}})
        begun = time.perf_counter()
        subprocess.run(["curl", "-sS", "--fail", "-T", path, url["filenameToSignedUrls"][path.name]], check=True)
        seconds = time.perf_counter() - begun
    report(f"upload of {size_mib} MiB, MiB/s", size_mib / seconds, [resident_mib(server, "VmHWM:")],
           "most < 200 MiB", unit="MiB")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--jobs", type=int, default=100_000)
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--upload-mib", type=int, default=1024)
    parser.add_argument("--save", action="store_true", help="append the figures to bench/record")
    args = parser.parse_args()
    rows = []

    def report(what, rate, values, must, unit="ms"):
        p50, p99, most = (percentile(values, share) for share in (0.5, 0.99, 1.0))
        rows.append([what, f"{rate:.1f}", f"{p50:.2f}", f"{p99:.2f}", f"{most:.2f}", unit, must])
        print(f"{what}: {rate:.1f}/s, p50 {p50:.2f}, p99 {p99:.2f}, largest {most:.2f} {unit} (must: {must})", flush=True)

    with scratch() as folder:
        server = Server(folder, "--trainers", "0", "--rate", "control=off", "--rate", "upload=off").start()
        try:
            subprocess.run(["curl", "-sS", "--fail", "-o", os.devnull, "-H", f"Authorization: Bearer {server.key}",
                            "-H", "Content-Type: application/json", "-d", '{"datasetId": "rows", "dataset": {}}',
                            f"{server.url}/v1/accounts/default/datasets"], check=True)
            path = write_jsonl(folder / "rows.jsonl", colour_rows(24))
            subprocess.run(["curl", "-sS", "--fail", "-o", os.devnull, "-H", f"Authorization: Bearer {server.key}",
                            "-F", f"file=@{path}", f"{server.url}/v1/accounts/default/datasets/rows:upload"],
                           check=True)
            upload(server, args.upload_mib, report)
            fill(server, args.jobs)
            asyncio.run(measure(server, args, report))
        finally:
            server.stop()
    if args.save:
        today = datetime.date.today().isoformat()
        path = ROOT / f"bench/record/amd-epyc-2-cores/load-{today}.csv"
        new = not path.exists()
        with open(path, "a", newline="") as file:
            table = csv.writer(file)
            if new:
                table.writerow(["what", "per_second", "p50", "p99", "largest", "unit", "must"])
            table.writerows(rows)


if __name__ == "__main__":
    main()
