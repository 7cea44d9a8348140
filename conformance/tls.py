"""The unmodified SDK fireworks-ai 1.2.30 over TLS with the server's own authority: its uploader of several shards, which
takes nothing but https, who is trusted, and a restart."""

import json
import os
import ssl
import urllib.error
import urllib.request

import httpx
from fireworks import APIConnectionError, Fireworks
from fireworks.lib.dataset_upload import count_dataset_examples, upload_dataset_shards
from harness import colour_rows, scratch, server, write_jsonl

SHARDS = 5
ROWS_PER_SHARD = 40


def shards(folder):
    folder.mkdir()
    for shard in range(SHARDS):
        write_jsonl(folder / f"part-{shard:05}.jsonl", colour_rows(ROWS_PER_SHARD, seed=shard))
    return folder


def upload(client, folder):
    path = str(shards(folder / "shards"))
    count = count_dataset_examples(path)
    client.datasets.create(dataset_id="sharded", dataset={"user_uploaded": {}, "example_count": str(count)})
    upload_dataset_shards(client, "sharded", path)
    dataset = client.datasets.get("sharded")
    assert dataset.state == "READY" and int(dataset.example_count) == SHARDS * ROWS_PER_SHARD == count, dataset

    urls = client.datasets.get_download_endpoint("sharded").filename_to_signed_urls
    assert len(urls) == SHARDS and all(url.startswith("https://") for url in urls.values()), urls
    for name, url in urls.items():
        assert httpx.get(url).raise_for_status().content == (folder / "shards" / name).read_bytes(), name

    single = write_jsonl(folder / "single.jsonl", colour_rows(8))
    client.datasets.create(dataset_id="single", dataset={"user_uploaded": {}})
    upload_dataset_shards(client, "single", str(single))
    assert client.datasets.get("single").state == "READY"


def trust(running):
    """Only who trusts the server's authority talks to it."""
    os.environ.pop("SSL_CERT_FILE", None)
    try:
        Fireworks(max_retries=0).datasets.list()
        raise AssertionError("a client without the authority was served")
    except APIConnectionError:
        pass
    os.environ["SSL_CERT_FILE"] = str(running.authority)


def plain(running):
    """Plain HTTP to this port gets a sentence."""
    try:
        urllib.request.urlopen(running.url.replace("https://", "http://") + "/healthz", timeout=30)
        raise AssertionError("plain HTTP was served")
    except urllib.error.HTTPError as refused:
        assert refused.code == 400 and "TLS" in json.load(refused)["message"], refused


def main():
    with scratch() as folder, server("--tls-self-signed", base=False) as running:
        os.environ.update(FIREWORKS_BASE_URL=running.url, FIREWORKS_API_KEY=running.key,
                          FIREWORKS_ACCOUNT_ID="default", SSL_CERT_FILE=str(running.authority))
        trust(running)
        upload(Fireworks(_strict_response_validation=True, max_retries=0), folder)
        plain(running)
        authority = running.authority.read_bytes()
        running.stop()
        assert running.process.returncode == 0, running.process.returncode
        running.start()
        assert running.authority.read_bytes() == authority
        datasets = Fireworks(_strict_response_validation=True, max_retries=0).datasets.list()
        assert sorted(dataset.name for dataset in datasets) == [
            "accounts/default/datasets/sharded", "accounts/default/datasets/single"]
        context = ssl.create_default_context(cafile=str(running.authority))
        with urllib.request.urlopen(f"{running.url}/readyz", context=context, timeout=30) as reply:
            assert json.load(reply) == {"status": "ready"}
    print(f"tls: {SHARDS} shards went up over https with fireworks-ai 1.2.30")


if __name__ == "__main__":
    main()
