"""The unmodified SDK fireworks-ai 1.2.30 against the built server, with its client and its async client: dataset, upload,
estimate, job, cancel, resume, poll, checkpoints, chat."""

import asyncio
import os
import time
import urllib.request

from calls import Calls
from fireworks import APIStatusError, AsyncFireworks, BadRequestError, ConflictError, Fireworks, NotFoundError
from fireworks.training.sdk.fireworks_client import FireworksClient
from harness import BASE_NAME, colour_rows, scratch, server, write_jsonl

JOB_TIMEOUT_S = 300
JOB_NAME = "accounts/default/supervisedFineTuningJobs/colour-job"
SETTINGS = {"dataset": "accounts/default/datasets/colours", "base_model": BASE_NAME, "epochs": 4, "learning_rate": 1e-3,
            "lora_rank": 8, "batch_size_samples": 8, "max_context_length": 256, "evaluation_dataset": "colours"}


def expect(error, call):
    try:
        call()
    except error as caught:
        return caught
    raise AssertionError(f"{error.__name__} was expected")


def whole_flow(client, folder, running):
    rows = write_jsonl(folder / "rows.jsonl", colour_rows(48))
    dataset = client.datasets.create(dataset_id="colours", dataset={"userUploaded": {}, "format": "CHAT"})
    assert dataset.name == "accounts/default/datasets/colours" and dataset.state == "UPLOADING", dataset
    reply = client.datasets.upload("colours", file=rows)
    assert reply.bytes == rows.stat().st_size, reply
    dataset = client.datasets.get("colours")
    assert dataset.state == "READY" and int(dataset.example_count) == 48, dataset
    assert [d.name for d in client.datasets.list()] == [dataset.name]

    estimate = running.request("POST", "/v1/accounts/default/supervisedFineTuningJobs:estimateCost", SETTINGS)
    job = client.supervised_fine_tuning_jobs.create(
        supervised_fine_tuning_job_id="colour-job", display_name="colours", **SETTINGS)
    assert job.name == JOB_NAME, job
    assert job.output_model == "accounts/default/models/colour-job", job
    assert (job.epochs, job.lora_rank, job.gradient_accumulation_steps) == (4, 8, 1), job
    client.supervised_fine_tuning_jobs.cancel("colour-job", body={})
    assert client.supervised_fine_tuning_jobs.get("colour-job").state == "JOB_STATE_CANCELLED"
    job = client.supervised_fine_tuning_jobs.resume("colour-job", body={})
    percents = []
    deadline = time.monotonic() + JOB_TIMEOUT_S
    while job.state not in ("JOB_STATE_COMPLETED", "JOB_STATE_FAILED", "JOB_STATE_CANCELLED"):
        assert time.monotonic() < deadline, job
        time.sleep(1)
        job = client.supervised_fine_tuning_jobs.get("colour-job")
        percents.append(job.job_progress.percent)
    assert job.state == "JOB_STATE_COMPLETED", job
    assert percents == sorted(percents) and percents[-1] == 100, percents
    assert job.status.code == "OK" and job.completed_time and job.created_by, job
    assert [j.name for j in client.supervised_fine_tuning_jobs.list()] == [job.name]

    with urllib.request.urlopen(job.metrics_file_signed_url, timeout=60) as reply:
        steps = len([line for line in reply if b"train/loss" in line])
    assert (int(estimate["steps"]), int(estimate["tokens"])) == (steps, job.job_progress.input_tokens), (estimate, steps)

    model = client.models.get("colour-job")
    assert model.kind == "HF_PEFT_ADDON" and model.peft_details.r == 8, model
    question = {"role": "user", "content": "I have 3 pieces: each is a green star."}
    asked = {"messages": [question], "temperature": 0, "max_tokens": 12}
    answer = client.chat.completions.create(model=job.output_model, **asked).choices[0]
    assert answer.message.content == "STAR-G" and answer.finish_reason == "stop", answer
    base = client.chat.completions.create(model=BASE_NAME, **asked).choices[0]
    assert base.message.content != "STAR-G", base
    streamed = client.chat.completions.create(model=job.output_model, stream=True, **asked)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in streamed if chunk.choices)
    assert text == "STAR-G", text


def files(client, model):
    urls = client.models.get_download_endpoint(model).filename_to_signed_urls
    found = {}
    for name in ["adapter_config.json", "adapter_model.safetensors", "tokenizer.json"]:
        with urllib.request.urlopen(urls[name], timeout=60) as reply:
            found[name] = reply.read()
    return found


def checkpoints(client, running):
    """The last step's checkpoint and the finished adapter are the same model; the SDK's own functions promote them."""
    training = FireworksClient(api_key=running.key, base_url=running.url)
    listed = training.list_training_job_checkpoints(JOB_NAME)
    ids = [one["name"].rsplit("/", 1)[-1] for one in listed]
    assert ids == ["step-00000020", "step-00000024", "final"] and all(one["promotable"] for one in listed), listed
    expected = files(client, "colour-job")
    for checkpoint, model in zip(ids, ["early", "last", "twin"]):
        name = f"{JOB_NAME}/checkpoints/{checkpoint}"
        made = training.promote_training_job_checkpoint(name, model, BASE_NAME)
        assert made["state"] == "READY" and made["peftDetails"]["r"] == 8, made
        assert (files(client, model) == expected) == (model != "early"), model
        assert client.models.get(model).fine_tuning_job == JOB_NAME
        client.models.delete(model)


def until(what, check):
    deadline = time.monotonic() + JOB_TIMEOUT_S
    while not check():
        assert time.monotonic() < deadline, what
        time.sleep(0.2)


def deployments(client):
    """Every method of `deployments` and `lora`, over the tuned model of the whole flow."""
    tuned = "accounts/default/models/colour-job"
    asked = {"messages": [{"role": "user", "content": "I have 3 pieces: each is a green star."}], "max_tokens": 12}
    every = client.deployments
    tried = every.create(base_model=BASE_NAME, deployment_id="base", deployment_shape="default", validate_only=True)
    assert tried.name == "accounts/default/deployments/base", tried
    expect(NotFoundError, lambda: every.get("base"))
    made = every.create(
        base_model=BASE_NAME, deployment_id="base", display_name="Base", enable_addons=True, min_replica_count=0,
        max_replica_count=1, autoscaling_policy={"scale_to_zero_window": "600s"}, deployment_shape="default")
    assert made.state == "CREATING" and made.replica_count == 0 and made.desired_replica_count == 1, made
    until("READY", lambda: every.get("base").state == "READY")
    ready = every.get("base")
    assert ready.replica_count == 1 and ready.replica_stats.ready_replica_count == 1, ready
    assert [d.name.split("/")[-1] for d in every.list()] == ["local", "base"]
    changed = every.update("base", base_model=BASE_NAME, description="for tests")
    assert (changed.description, changed.display_name, changed.state) == ("for tests", "Base", "READY"), changed
    refused = expect(APIStatusError, lambda: every.create(base_model=BASE_NAME, accelerator_type="NVIDIA_H100_80GB"))
    assert refused.status_code == 501 and "acceleratorType" in str(refused), refused

    loaded = client.lora.load(model=tuned, deployment=made.name, display_name="colours")
    lora_id = loaded.name.split("/")[-1]
    until("DEPLOYED", lambda: client.lora.get(lora_id).state == "DEPLOYED")
    assert [m.name for m in client.lora.list()] == [loaded.name]
    expect(ConflictError, lambda: client.lora.load(model=tuned, deployment=made.name))
    assert client.lora.update(lora_id, description="mine").description == "mine"
    assert {made.name} < {ref.deployment for ref in client.models.get("colour-job").deployed_model_refs}
    for name in (loaded.name, f"{tuned}#{made.name}"):
        answer = client.chat.completions.create(model=name, temperature=0, **asked).choices[0].message.content
        assert answer == "STAR-G", answer
    client.lora.unload(lora_id)
    expect(NotFoundError, lambda: client.lora.get(lora_id))

    every.scale("base", replica_count=0)
    assert every.get("base").replica_count == 0
    waking = expect(APIStatusError, lambda: client.chat.completions.create(model=made.name, **asked))
    assert waking.status_code == 503 and "DEPLOYMENT_SCALING_UP" in str(waking), waking
    until("READY", lambda: every.get("base").replica_count == 1)
    client.chat.completions.create(model=made.name, **asked)
    expect(BadRequestError, lambda: every.delete("base"))
    every.delete("base", ignore_checks=True)
    assert every.get("base").state == "DELETED"
    assert every.undelete("base", body={}).state == "UPDATING"
    every.delete("base", hard=True)
    expect(NotFoundError, lambda: every.get("base"))


def errors(client):
    jobs = client.supervised_fine_tuning_jobs
    settings = {"dataset": "colours", "base_model": BASE_NAME}
    expect(ConflictError, lambda: client.datasets.create(dataset_id="colours", dataset={"userUploaded": {}}))
    expect(NotFoundError, lambda: client.datasets.get("nothing"))
    expect(BadRequestError, lambda: jobs.create(**settings, epochs=101))
    refused = expect(APIStatusError, lambda: jobs.create(**settings, mtp_enabled=True))
    assert refused.status_code == 501 and "mtpEnabled" in str(refused), refused
    expect(NotFoundError, lambda: client.chat.completions.create(
        model="accounts/default/models/nothing", messages=[{"role": "user", "content": "x"}]))


def clean_up(client):
    client.supervised_fine_tuning_jobs.delete("colour-job")
    expect(NotFoundError, lambda: client.supervised_fine_tuning_jobs.get("colour-job"))
    client.models.delete("colour-job")
    client.datasets.delete("colours")
    assert not list(client.datasets.list())


def main():
    with server() as running, scratch() as folder:
        os.environ.update(FIREWORKS_BASE_URL=running.url, FIREWORKS_API_KEY=running.key, FIREWORKS_ACCOUNT_ID="default")
        settings = {"_strict_response_validation": True, "max_retries": 0}
        loop = asyncio.new_event_loop()
        for client in [Calls(Fireworks(**settings)), Calls(AsyncFireworks(**settings), loop)]:
            whole_flow(client, folder, running)
            checkpoints(client, running)
            deployments(client)
            errors(client)
            clean_up(client)
        loop.close()
    print("sdk: the whole flow passed with both clients of fireworks-ai 1.2.30")


if __name__ == "__main__":
    main()
