"""The unmodified SDK fireworks-ai 0.19.20 against the built server: `LLM`, `Dataset` and `SupervisedFineTuningJob`, with
the control plane over gRPC, from rows to a chat with the tuned model and the deletion of everything. The `openai`
package then asks the same server.

    target/python-grpc/bin/python conformance/sdk_grpc.py
"""

import os
from datetime import timedelta

from harness import BASE_NAME, colour_rows, server

QUESTION = [{"role": "user", "content": "I have 3 pieces: each is a green star."}]
ANSWER = "STAR-G"
RUNNING, COMPLETED = (2, 7, 8, 14), 3
READY, DEPLOYED = 2, 3
TOKENS_MAX = 12


def text_of(reply):
    return reply.choices[0].message.content


def life_of_a_job(LLM, Dataset):
    """Returns the tuned model's name."""
    llm = LLM(model="smollm2-135m-instruct", deployment_type="auto")
    assert llm.model == BASE_NAME and llm.is_available_on_serverless(), llm
    base = text_of(llm.chat.completions.create(messages=QUESTION, temperature=0, max_tokens=TOKENS_MAX))
    assert base != ANSWER, base

    rows = colour_rows(48)
    dataset = Dataset.from_list(rows)
    dataset.sync()
    stored = dataset.get()
    assert stored.state == 2 and stored.example_count == len(rows), stored
    again = Dataset.from_id(dataset.id)
    assert list(again) == rows

    settings = {"epochs": 4, "learning_rate": 1e-3, "lora_rank": 8, "max_context_length": 256}
    job = llm.create_supervised_fine_tuning_job("colours", dataset, evaluation_dataset_or_id=dataset, **settings)
    assert job.display_name == "colours" and job.id.startswith("colours-"), job.name
    assert job._proto.state in RUNNING and job.output_model == f"accounts/default/models/{job.id}", job._proto
    assert job.get().name == job.name
    job = job.wait_for_completion()
    assert job._proto.state == COMPLETED and job._proto.status.code == 0, job._proto

    tuned = job.output_llm
    assert tuned.is_peft_addon() and tuned.peft_base_model == BASE_NAME, tuned
    asked = {"messages": QUESTION, "temperature": 0, "max_tokens": TOKENS_MAX}
    assert text_of(tuned.chat.completions.create(**asked)) == ANSWER
    streamed = tuned.chat.completions.create(stream=True, **asked)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in streamed if chunk.choices)
    assert text == ANSWER, text
    # Deleted and gone at once: the SDK asks a single time, and waits for ever if the job is still there.
    job.delete()
    assert job.get() is None
    dataset.delete()
    assert dataset.get() is None
    return job.output_model


def strategies(LLM, tuned):
    """The four ways in which `LLM` reaches a model: serverless, auto, on-demand and on-demand-lora."""
    asked = {"messages": QUESTION, "temperature": 0, "max_tokens": TOKENS_MAX}
    for kind in ("serverless", "auto"):
        base = LLM(model=BASE_NAME, deployment_type=kind)
        assert base.deployment_strategy == "serverless" and text_of(base.chat.completions.create(**asked)) != ANSWER
    # The SDK itself refuses "serverless" for a model of one's own, and knows "auto".
    adapter = LLM(model=tuned, deployment_type="auto")
    assert adapter.deployment_strategy == "serverless-lora", adapter
    adapter.apply()
    assert text_of(adapter.chat.completions.create(**asked)) == ANSWER
    assert adapter.get_deployment().state == DEPLOYED and "/deployedModels/" in adapter.model_id()
    adapter.delete_deployment()
    assert adapter.get_deployment() is None

    base = LLM(model=BASE_NAME, deployment_type="on-demand", id="colours")
    assert base.get_deployment() is None
    base.apply()
    deployment = base.get_deployment()
    assert deployment.state == READY and deployment.replica_count == 1, deployment
    assert base.model_id() == f"{BASE_NAME}#accounts/default/deployments/colours"
    before = text_of(base.chat.completions.create(**asked))
    base.scale_to_zero()
    assert base.get_deployment().replica_count == 0
    # The SDK tries again while the deployment is being loaded.
    assert text_of(base.chat.completions.create(**asked)) == before != ANSWER
    base.scale_to_zero()
    base.apply()
    assert base.get_deployment().replica_count == 1
    longer = LLM(model=BASE_NAME, deployment_type="on-demand", id="colours", scale_to_zero_window=timedelta(minutes=6))
    longer.apply()
    assert base.get_deployment().autoscaling_policy.scale_to_zero_window.seconds == 360

    adapter = LLM(model=tuned, deployment_type="on-demand-lora", base_id="colours")
    adapter.apply()
    loaded = adapter.get_deployment()
    assert loaded.state == DEPLOYED and loaded.deployment == deployment.name, loaded
    assert text_of(adapter.chat.completions.create(**asked)) == ANSWER
    adapter.delete_deployment()
    assert adapter.get_deployment() is None
    base.delete_deployment()
    assert base.get_deployment() is None

    # An adapter with its base in one deployment. The SDK itself cannot delete such a one: it takes it for an adapter.
    merged = LLM(model=tuned, deployment_type="on-demand", id="merged")
    merged.apply()
    assert text_of(merged.chat.completions.create(**asked)) == ANSWER
    merged._gateway.delete_deployment_sync("merged", hard=True)
    assert merged.get_deployment() is None


def openai_package(url, key, tuned):
    from openai import NotFoundError, OpenAI

    client = OpenAI(base_url=f"{url}/inference/v1", api_key=key, max_retries=0)
    assert {BASE_NAME, tuned} <= {model.id for model in client.models.list()}
    for name in (tuned, tuned.replace("/models/", "/deployedModels/")):
        reply = client.chat.completions.create(model=name, messages=QUESTION, temperature=0, max_tokens=TOKENS_MAX)
        assert text_of(reply) == ANSWER and reply.usage.completion_tokens > 0, reply
    try:
        client.chat.completions.create(model="accounts/default/models/nothing", messages=QUESTION)
        raise AssertionError("a model that does not exist answered")
    except NotFoundError:
        pass


def main():
    with server() as running:
        address = f"127.0.0.1:{running.port}"
        # The SDK reads them when it is imported.
        os.environ.update(FIREWORKS_GATEWAY_ADDR=address, FIREWORKS_API_BASE_URL=running.url, FIREWORKS_API_KEY=running.key)
        from fireworks import LLM, Dataset

        tuned = life_of_a_job(LLM, Dataset)
        strategies(LLM, tuned)
        openai_package(running.url, running.key, tuned)
    print("sdk_grpc: the whole life of a job and all strategies of LLM passed with fireworks-ai 0.19.20, and the openai package after it")


if __name__ == "__main__":
    main()
