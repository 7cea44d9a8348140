"""Every method of the resources of fireworks-ai 1.2.30, unmodified and strict, with its client and its async client."""

import asyncio
import json
import os
import time
import urllib.request

import torch
from calls import Calls
from fireworks import AsyncFireworks, Fireworks, NotFoundError, PermissionDeniedError
from harness import BASE_NAME, colour_rows, scratch, server, write_jsonl
from safetensors.torch import save_file

WAIT_S = 120
RESOURCES = ["accounts", "api_keys", "batch_inference_jobs", "chat.completions", "completions", "datasets", "deployments",
             "lora", "models", "secrets", "supervised_fine_tuning_jobs", "users"]
# What is not a call: the raw and streaming forms of the same calls.
NOT_CALLS = {"with_raw_response", "with_streaming_response"}
QUESTION = {"messages": [{"role": "user", "content": "Say hello."}], "max_tokens": 8, "temperature": 0}


def expect(error, call):
    try:
        call()
    except error:
        return
    raise AssertionError(f"{error.__name__} was expected")


def until(read, is_done):
    deadline = time.monotonic() + WAIT_S
    while not is_done(found := read()):
        assert time.monotonic() < deadline, found
        time.sleep(0.2)
    return found


def put(url, content):
    request = urllib.request.Request(url, data=content, method="PUT",
                                     headers={"Content-Type": "application/octet-stream"})
    with urllib.request.urlopen(request, timeout=60) as reply:
        assert reply.status == 200, reply.status


def fetch(url):
    with urllib.request.urlopen(url, timeout=60) as reply:
        return reply.read()


def names(items):
    return [item.name.rsplit("/", 1)[-1] for item in items]


def accounts(calls, base_url):
    assert "default" in names(calls.accounts.list())
    account = calls.accounts.get(account_id="default")
    assert account.name == "accounts/default" and account.state == "READY", account
    user = calls.users.create(role="user", user_id="dev", email="dev@example.org", display_name="Dev")
    assert user.name == "accounts/default/users/dev" and user.role == "user", user
    assert calls.users.get("dev").email == "dev@example.org"
    assert calls.users.update("dev", role="read-only", display_name="Reader").role == "read-only"
    assert "dev" in names(calls.users.list())
    key = calls.api_keys.create("dev", api_key={"displayName": "laptop"})
    assert key.key and key.key.startswith(key.prefix), key
    listed = calls.api_keys.list("dev")
    assert [one.key_id for one in listed] == [key.key_id] and not listed[0].key, listed
    # The key reads and does not change anything; once it is taken back it is worth nothing.
    reader = Fireworks(base_url=base_url, api_key=key.key, max_retries=0)
    assert reader.datasets.list() is not None
    expect(PermissionDeniedError, lambda: reader.datasets.create(dataset_id="x", dataset={"userUploaded": {}}))
    calls.api_keys.delete("dev", key_id=key.key_id)
    assert not calls.api_keys.list("dev")


def secrets(calls):
    secret = calls.secrets.create(name="accounts/default/secrets/s3", key_name="S3_KEY", value="v1")
    assert secret.name == "accounts/default/secrets/s3" and not secret.value, secret
    assert calls.secrets.get("s3").key_name == "S3_KEY"
    assert not calls.secrets.update("s3", key_name="S3_KEY", value="v2").value
    assert names(calls.secrets.list()) == ["s3"]
    calls.secrets.delete("s3")
    expect(NotFoundError, lambda: calls.secrets.get("s3"))


def datasets(calls, folder):
    calls.datasets.create(dataset_id="rows", dataset={"userUploaded": {}, "format": "CHAT"})
    calls.datasets.upload("rows", file=write_jsonl(folder / "rows.jsonl", colour_rows(12)))
    assert calls.datasets.update("rows", display_name="Rows").display_name == "Rows"
    assert calls.datasets.get("rows").state == "READY"
    content = fetch(calls.datasets.get_download_endpoint("rows").filename_to_signed_urls["rows.jsonl"])
    assert content == (folder / "rows.jsonl").read_bytes()
    copy = calls.datasets.create(dataset_id="copy", dataset={}, source_dataset_id="rows")
    assert copy.transformed.source_dataset_id.endswith("rows"), copy
    calls.datasets.create(dataset_id="shards", dataset={"userUploaded": {}})
    shards = {f"part-{i}.jsonl": write_jsonl(folder / f"part-{i}.jsonl", colour_rows(6, i)).read_bytes() for i in range(3)}
    urls = calls.datasets.get_upload_endpoint(
        "shards", filename_to_size={name: str(len(content)) for name, content in shards.items()})
    for name, content in shards.items():
        put(urls.filename_to_signed_urls[name], content)
    calls.datasets.validate_upload("shards", body={})
    assert int(calls.datasets.get("shards").example_count) == 18
    assert sorted(names(calls.datasets.list())) == ["copy", "rows", "shards"]
    for name in ["copy", "shards"]:
        calls.datasets.delete(name)
    expect(NotFoundError, lambda: calls.datasets.get("copy"))


def adapter(folder):
    """A LoRA of rank 4 over the attention of the test model, which changes nothing: its B are zero."""
    tensors = {}
    for layer in range(30):
        for module, out in [("q_proj", 576), ("v_proj", 192)]:
            name = f"base_model.model.model.layers.{layer}.self_attn.{module}.lora_{{}}.weight"
            tensors[name.format("A")] = torch.full((4, 576), 0.01)
            tensors[name.format("B")] = torch.zeros((out, 4))
    save_file(tensors, folder / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 4, "lora_alpha": 8, "lora_dropout": 0.0, "bias": "none",
              "target_modules": ["q_proj", "v_proj"], "base_model_name_or_path": "HuggingFaceTB/SmolLM2-135M-Instruct"}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return ["adapter_config.json", "adapter_model.safetensors"]


def models(calls, folder):
    files = {name: (folder / name).read_bytes() for name in adapter(folder)}
    model = calls.models.create(model_id="own", model={
        "kind": "HF_PEFT_ADDON", "displayName": "Own",
        "peftDetails": {"baseModel": BASE_NAME, "r": 4, "targetModules": ["q_proj", "v_proj"]}})
    assert model.state == "UPLOADING", model
    urls = calls.models.get_upload_endpoint("own", filename_to_size={name: str(len(files[name])) for name in files})
    for name, content in files.items():
        put(urls.filename_to_signed_urls[name], content)
    assert calls.models.validate_upload("own").warnings is not None
    assert calls.models.update("own", display_name="Mine").display_name == "Mine"
    model = calls.models.get("own")
    assert model.state == "READY" and model.peft_details.r == 4, model
    assert "own" in names(calls.models.list())
    urls = calls.models.get_download_endpoint("own").filename_to_signed_urls
    assert fetch(urls["adapter_model.safetensors"]) == files["adapter_model.safetensors"]
    calls.models.prepare("own", precision="PRECISION_UNSPECIFIED")


def inference(calls):
    plain = calls.chat.completions.create(model=BASE_NAME, **QUESTION).choices[0].message.content
    own = calls.chat.completions.create(model="accounts/default/models/own", **QUESTION).choices[0].message.content
    assert plain == own, (plain, own)
    reply = calls.completions.create(model=BASE_NAME, prompt="The sky is", max_tokens=4, temperature=0)
    assert reply.choices[0].text and reply.usage.completion_tokens == 4, reply
    if calls.loop:
        # The async client has a second name for the same calls.
        again = calls.chat.completions.acreate(model=BASE_NAME, **QUESTION).choices[0].message.content
        text = calls.completions.acreate(model=BASE_NAME, prompt="The sky is", max_tokens=4, temperature=0).choices[0].text
        assert (again, text) == (plain, reply.choices[0].text), (again, text)


def deployments(calls):
    made = calls.deployments.create(base_model=BASE_NAME, deployment_id="here", display_name="Here", min_replica_count=0,
                                    max_replica_count=1, extra_body={"enableAddons": True})
    assert made.name == "accounts/default/deployments/here", made
    read = lambda: calls.deployments.get("here")  # noqa: E731
    calls.deployments.scale("here", replica_count=1)
    until(read, lambda found: found.state == "READY" and found.replica_count == 1)
    assert calls.deployments.update("here", base_model=BASE_NAME, description="For tests").description == "For tests"
    loaded = calls.lora.load(model="accounts/default/models/own", deployment=made.name, display_name="Loaded")
    deployed = loaded.name.rsplit("/", 1)[-1]
    until(lambda: calls.lora.get(deployed), lambda found: found.state == "DEPLOYED")
    assert calls.lora.update(deployed, description="Mine").description == "Mine"
    assert deployed in names(calls.lora.list())
    answer = calls.chat.completions.create(model=f"accounts/default/models/own#{made.name}", **QUESTION)
    assert answer.choices[0].message.content, answer
    calls.lora.unload(deployed)
    expect(NotFoundError, lambda: calls.lora.get(deployed))
    calls.deployments.scale("here", replica_count=0)
    until(read, lambda found: found.replica_count == 0)
    assert "here" in names(calls.deployments.list())
    calls.deployments.delete("here", ignore_checks=True)
    assert calls.deployments.undelete("here", body={}).name == made.name
    calls.deployments.delete("here", hard=True, ignore_checks=True)
    expect(NotFoundError, lambda: calls.deployments.get("here"))


def batch(calls, folder):
    requests = [{"custom_id": f"row-{i}", "body": {"messages": [{"role": "user", "content": f"Say {i}."}]}} for i in range(3)]
    calls.datasets.create(dataset_id="requests", dataset={"userUploaded": {}})
    calls.datasets.upload("requests", file=write_jsonl(folder / "requests.jsonl", requests))
    jobs = calls.batch_inference_jobs
    job = jobs.create(batch_inference_job_id="batch", model=BASE_NAME, input_dataset_id="requests",
                      inference_parameters={"maxTokens": 8, "temperature": 0})
    job = until(lambda: jobs.get("batch"), lambda found: found.state in ("JOB_STATE_COMPLETED", "JOB_STATE_FAILED"))
    assert job.state == "JOB_STATE_COMPLETED" and job.job_progress.successfully_processed_requests == 3, job
    output = job.output_dataset_id.rsplit("/", 1)[-1]
    results = fetch(calls.datasets.get_download_endpoint(output).filename_to_signed_urls["results.jsonl"])
    assert [json.loads(line)["custom_id"] for line in results.splitlines()] == ["row-0", "row-1", "row-2"]
    assert names(jobs.list()) == ["batch"]
    jobs.delete("batch")
    for name in ["requests", output]:
        calls.datasets.delete(name)


def jobs(calls):
    jobs = calls.supervised_fine_tuning_jobs
    job = jobs.create(dataset="rows", base_model=BASE_NAME, supervised_fine_tuning_job_id="job", epochs=100)
    assert job.state == "JOB_STATE_PENDING" and job.output_model == "accounts/default/models/job", job
    jobs.cancel("job", body={})
    assert jobs.get("job").state == "JOB_STATE_CANCELLED"
    until(lambda: jobs.resume("job", body={}), lambda found: found.state != "JOB_STATE_CANCELLED")
    assert names(jobs.list()) == ["job"]
    jobs.cancel("job", body={})
    jobs.delete("job")
    expect(NotFoundError, lambda: jobs.get("job"))


def everything(calls, folder, base_url):
    accounts(calls, base_url)
    secrets(calls)
    datasets(calls, folder)
    models(calls, folder)
    inference(calls)
    deployments(calls)
    batch(calls, folder)
    jobs(calls)
    calls.models.delete("own")
    calls.datasets.delete("rows")
    for resource in RESOURCES:
        of = calls
        for part in resource.split("."):
            of = getattr(of, part)
        methods = {name for name in dir(type(of.client)) if not name.startswith("_")} - NOT_CALLS
        missed = {name for name in methods if f"{resource}.{name}" not in calls.called}
        assert not missed, f"{resource}: {missed} was not called"


def main():
    for asynchronous in [False, True]:
        with server() as running, scratch() as folder:
            os.environ.update(FIREWORKS_BASE_URL=running.url, FIREWORKS_API_KEY=running.key,
                              FIREWORKS_ACCOUNT_ID="default")
            settings = {"_strict_response_validation": True, "max_retries": 0}
            if asynchronous:
                loop = asyncio.new_event_loop()
                everything(Calls(AsyncFireworks(**settings), loop), folder, running.url)
                loop.close()
            else:
                everything(Calls(Fireworks(**settings)), folder, running.url)
    print("sdk_resources: every method of fireworks-ai 1.2.30 passed, with both clients")


if __name__ == "__main__":
    main()
