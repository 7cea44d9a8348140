"""Power cuts in what is no job: a model that is uploaded in pieces, and batch inference."""

import hashlib
import json
import random
import time
import urllib.error
import urllib.parse
import urllib.request

from harness import write_jsonl

from .power import VARIANTS, cut, start_again, sync_all
from .shim import Shim
from .world import ACCOUNT, BASE, world

PIECE = 1 << 20
BATCH_ROWS = 60


def piece(session, content_range, body=b""):
    """Sends a piece to an upload's session: the status, and how many bytes the server says it has."""
    request = urllib.request.Request(session, data=body, headers={"content-range": content_range}, method="PUT")
    try:
        with urllib.request.urlopen(request, timeout=60) as reply:
            return reply.status, None
    except urllib.error.HTTPError as error:
        assert error.code == 308, error.read()
        there = error.headers.get("range")
        return 308, int(there.rsplit("-", 1)[1]) + 1 if there else 0


def begin(it, model, content):
    """A model with one file that is sent in pieces; the URL of the session without its host."""
    it.ask("POST", f"{ACCOUNT}/models", {"modelId": model, "model": {"kind": "HF_BASE_MODEL"}})
    body = {"filenameToSize": {"model.safetensors": str(len(content))}, "enableResumableUpload": True}
    url = it.ask("POST", f"{ACCOUNT}/models/{model}:getUploadEndpoint", body)["filenameToSignedUrls"]["model.safetensors"]
    request = urllib.request.Request(url, data=b"", headers={"x-goog-resumable": "start"}, method="POST")
    with urllib.request.urlopen(request, timeout=60) as reply:
        parts = urllib.parse.urlsplit(reply.headers["location"])
    return f"{parts.path}?{parts.query}"


def uploads(it, shim, variant, chance):
    """What the server said it has is there after a cut, and what it then says it has is right."""
    content = chance.randbytes(7 * PIECE // 2)
    session, size, cuts = begin(it, f"m-{variant}", content), len(content), 0
    there, done = 0, False
    while not done:
        end = min(there + PIECE, size)
        status, said = piece(it.server.url + session, f"bytes {there}-{end - 1}/{size}", content[there:end])
        done = status == 200
        assert done == (end == size) and (done or said == end), (variant, status, said, end)
        if not done:
            # Bytes that came and were not forced to disk: the connection ends before the piece does.
            (part,) = [path for path in (it.data_dir / f"uploads/default/m-{variant}/parts").rglob("*")
                       if path.is_file() and not path.suffix]
            with open(part, "ab") as file:
                file.write(content[end:end + PIECE // 2])
        cut(it, shim, variant, chance)
        start_again(it)
        cuts += 1
        status, said = piece(it.server.url + session, f"bytes */{size}")
        assert done == (status == 200) and (done or said == end), f"{variant}: {end} bytes were there, {said} are"
        there = end
    stored = it.data_dir / f"uploads/default/m-{variant}/files/model.safetensors"
    assert hashlib.sha256(stored.read_bytes()).digest() == hashlib.sha256(content).digest(), variant
    return cuts


def batch(it, shim, variant, chance, rows):
    """A batch of which rows are done goes on behind them, with each row answered once; its dataset may be gone by then."""
    it.upload(f"requests-{variant}", rows)
    name = f"batch-{variant}"
    body = {"model": BASE, "inputDatasetId": f"accounts/default/datasets/requests-{variant}",
            "inferenceParameters": {"maxTokens": 24, "temperature": 0}}
    it.ask("POST", f"{ACCOUNT}/batchInferenceJobs?batchInferenceJobId={name}", body)
    path = f"{ACCOUNT}/batchInferenceJobs/{name}"
    journals = it.data_dir / "batch/default"

    def done():
        return sum(path.read_bytes().count(b"\n") for path in journals.glob(f"{name}-*/journal.jsonl"))

    it.until(f"{name} began", done, pause_s=0.002)
    it.ask("DELETE", f"{ACCOUNT}/datasets/requests-{variant}")
    cuts, seen = 0, 0
    for _ in range(2):
        it.until(f"{name} at another row", lambda: done() > seen, pause_s=0.002)
        time.sleep(chance.uniform(0, 0.05))
        cut(it, shim, variant, chance)
        start_again(it)
        cuts += 1
        seen = done()
    it.until(f"{name} at its end", lambda: it.ask("GET", path)["state"] not in ("JOB_STATE_PENDING", "JOB_STATE_RUNNING",
                                                                              "JOB_STATE_WRITING_RESULTS"))
    job = it.ask("GET", path)
    assert job["state"] == "JOB_STATE_COMPLETED", job
    cut(it, shim, variant, chance)
    start_again(it)
    output = job["outputDatasetId"].rsplit("/", 1)[1]
    url = it.ask("GET", f"{ACCOUNT}/datasets/{output}:getDownloadEndpoint")["filenameToSignedUrls"]["results.jsonl"]
    ids = [json.loads(line)["custom_id"] for line in it.ask("GET", url).splitlines()]
    assert ids == [f"row-{i}" for i in range(BATCH_ROWS)], (variant, ids)
    return cuts + 1


def cuts(folder, seed):
    chance = random.Random(seed)
    shim = Shim(folder, folder / "power-work", with_shadow=True)
    rows = write_jsonl(folder / "requests.jsonl", [
        {"custom_id": f"row-{i}", "body": {"messages": [{"role": "user", "content": f"question {i}"}]}}
        for i in range(BATCH_ROWS)])
    done = 0
    with world(folder, "power-work", shim=shim) as it:
        sync_all(shim, it.data_dir)
        for variant in VARIANTS:
            done += uploads(it, shim, variant, chance)
            done += batch(it, shim, variant, chance, rows)
    return f"{done} cuts ({', '.join(VARIANTS)}), {len(VARIANTS)} uploads whole and {len(VARIANTS)} batches with each row once"
