"""The unmodified package openai 3.54.0 against the built server: chats, completions, streams, models, errors.

The inference calls of fireworks-ai 1.2.30 are made too, with its strict validation of every answer.
"""

import asyncio
import math

from fireworks import Fireworks
from harness import BASE_NAME, server
from openai import AsyncOpenAI, AuthenticationError, BadRequestError, NotFoundError, OpenAI

MESSAGES = [{"role": "user", "content": "Name three colours."}]
ASKED = {"model": BASE_NAME, "messages": MESSAGES, "max_tokens": 8, "temperature": 0}
PROMPT = {"model": BASE_NAME, "prompt": "The sea is", "max_tokens": 8, "temperature": 0}


def expect(error, call):
    try:
        call()
    except error as caught:
        return caught
    raise AssertionError(f"{error.__name__} was expected")


def models(client):
    listed = list(client.models.list())
    assert [model.id for model in listed] == [BASE_NAME], listed
    model = client.models.retrieve(BASE_NAME)
    assert model == listed[0] and model.owned_by == "fireworks" and model.object == "model", model


def chats(client):
    answer = client.chat.completions.create(**ASKED)
    choice = answer.choices[0]
    assert answer.object == "chat.completion" and choice.message.role == "assistant" and choice.message.content, answer
    assert choice.finish_reason in ("stop", "length") and answer._request_id, answer
    usage = answer.usage
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens, usage
    assert usage.completion_tokens <= 8 and usage.prompt_tokens_details.cached_tokens == 0, usage

    chunks = list(client.chat.completions.create(**ASKED, stream=True, stream_options={"include_usage": True}))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == choice.message.content and chunks[-1].usage == usage, chunks
    ends = [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices]
    assert ends[-1] == choice.finish_reason and not any(ends[:-1]), ends

    stop = text[3:6]
    stopped = client.chat.completions.create(**ASKED, stop=[stop]).choices[0]
    assert stopped.message.content == text[:text.index(stop)] and stopped.finish_reason == "stop", stopped


def choices(client):
    asked = ASKED | {"temperature": 1.5, "seed": 11, "n": 3}
    answer = client.chat.completions.create(**asked)
    texts = [choice.message.content for choice in answer.choices]
    assert [choice.index for choice in answer.choices] == [0, 1, 2] and len(set(texts)) == 3, answer
    again = client.chat.completions.create(**asked)
    assert [choice.message.content for choice in again.choices] == texts, again
    streamed = ["", "", ""]
    for chunk in client.chat.completions.create(**asked, stream=True):
        for choice in chunk.choices:
            streamed[choice.index] += choice.delta.content or ""
    assert streamed == texts, streamed


def logprobs(client):
    answer = client.chat.completions.create(**ASKED, logprobs=True, top_logprobs=3)
    content = answer.choices[0].logprobs.content
    text = b"".join(bytes(token.bytes) for token in content).decode()
    assert text == answer.choices[0].message.content, content
    for token in content:
        top = [entry.logprob for entry in token.top_logprobs]
        # Greedy: the token is the likeliest.
        assert len(top) == 3 and top == sorted(top, reverse=True) and token.logprob == top[0] <= 0, token
        assert sum(map(math.exp, top)) <= 1 + 1e-6, token

    legacy = client.completions.create(**PROMPT, logprobs=2, echo=True).choices[0]
    lists = legacy.logprobs
    assert "".join(lists.tokens) == legacy.text and legacy.text.startswith("The sea is"), legacy
    for token, offset in zip(lists.tokens, lists.text_offset):
        assert legacy.text[offset:].startswith(token), (token, offset)
    assert lists.token_logprobs[0] == 0 and all(x <= 0 for x in lists.token_logprobs[1:]), lists
    assert all(2 <= len(top) <= 3 for top in lists.top_logprobs[1:]), lists
    scored = client.completions.create(**(PROMPT | {"max_tokens": 0}), logprobs=2, echo=True).choices[0]
    count = len(scored.logprobs.tokens)
    assert scored.text == "The sea is" and scored.logprobs.token_logprobs == lists.token_logprobs[:count], scored


def completions(client):
    answer = client.completions.create(**PROMPT)
    assert answer.object == "text_completion" and answer.choices[0].text and answer.usage.completion_tokens <= 8
    chunks = client.completions.create(**PROMPT, stream=True)
    assert "".join(chunk.choices[0].text for chunk in chunks if chunk.choices) == answer.choices[0].text
    ids = client.completions.create(**PROMPT, extra_body={"return_token_ids": True}).choices[0]
    assert len(ids.token_ids) == answer.usage.completion_tokens, ids
    both = client.completions.create(**(PROMPT | {"prompt": [ids.prompt_token_ids, ids.prompt_token_ids[:2]]}))
    assert [choice.index for choice in both.choices] == [0, 1] and both.choices[0].text == answer.choices[0].text, both
    texts = client.completions.create(**(PROMPT | {"prompt": ["The sea is", "Once"]}), n=2)
    assert [choice.text for choice in texts.choices[:2]] == [answer.choices[0].text] * 2 and len(texts.choices) == 4


def errors(client):
    missing = expect(NotFoundError, lambda: client.chat.completions.create(
        **(ASKED | {"model": "accounts/default/models/nothing"})))
    assert "model not found, inaccessible, and/or not deployed" in missing.message, missing
    assert (missing.code, missing.param, missing.type) == ("model_not_found", "model", "invalid_request_error"), missing
    assert missing.body["request_id"] == missing.request_id, missing.body
    expect(NotFoundError, lambda: client.models.retrieve("accounts/default/models/nothing"))
    hot = expect(BadRequestError, lambda: client.chat.completions.create(**(ASKED | {"temperature": 3})))
    assert hot.param == "temperature" and "from 0 to 2" in hot.message, hot
    refused = expect(BadRequestError, lambda: client.chat.completions.create(**ASKED, extra_body={"mirostat_lr": 1}))
    assert (refused.code, refused.param) == ("unsupported_parameter", "mirostat_lr"), refused
    many = expect(BadRequestError, lambda: client.completions.create(**PROMPT, n=200))
    assert many.param == "n" and "128" in many.message, many
    stranger = client.with_options(api_key="nobody")
    expect(AuthenticationError, lambda: stranger.chat.completions.create(**ASKED))
    expect(AuthenticationError, lambda: list(stranger.models.list()))


async def at_once(url, key):
    """Sixteen streams beside each other, every second of which is left after its first piece."""
    async with AsyncOpenAI(base_url=url, api_key=key, max_retries=0) as client:
        async def read(index):
            text = ""
            stream = await client.chat.completions.create(**ASKED, stream=True)
            async for chunk in stream:
                text += chunk.choices[0].delta.content or ""
                if index % 2 and text:
                    await stream.close()
                    return None
            return text
        texts = await asyncio.gather(*(read(index) for index in range(16)))
    assert len(set(texts)) == 2, texts


def fireworks(url, key):
    client = Fireworks(base_url=url, api_key=key, account_id="default", max_retries=0, _strict_response_validation=True)
    more = {"logprobs": True, "top_logprobs": 2, "n": 2, "return_token_ids": True, "raw_output": True, "echo": True,
            "perf_metrics_in_response": True, "top_k": 20, "min_p": 0.01, "repetition_penalty": 1.1, "seed": 4}
    asked = ASKED | {"temperature": 1}
    answer = client.chat.completions.create(**asked, **more)
    for choice in answer.choices:
        raw = choice.raw_output
        assert choice.message.content == raw.prompt_fragments[0] + raw.completion, choice
        assert choice.token_ids == raw.completion_token_ids and answer.prompt_token_ids == raw.prompt_token_ids, choice
        assert choice.logprobs.content[-1].sampling_logprob is not None, choice
    assert answer.perf_metrics["prompt-tokens"] == answer.usage.prompt_tokens == len(answer.prompt_token_ids), answer
    streamed = {0: "", 1: ""}
    for chunk in client.chat.completions.create(**asked, **more, stream=True):
        for choice in chunk.choices:
            streamed[choice.index] += choice.delta.content or ""
    assert list(streamed.values()) == [choice.message.content for choice in answer.choices], streamed
    for form in (True, 2):
        text = client.completions.create(**PROMPT, **(more | {"logprobs": form}))
        pieces = client.completions.create(**PROMPT, **(more | {"logprobs": form}), stream=True)
        joined = "".join(piece.choices[0].text for piece in pieces if piece.choices and piece.choices[0].index == 1)
        assert joined == text.choices[1].text and text.choices[1].prompt_token_ids, text


def main():
    with server() as running:
        url = running.url + "/inference/v1"
        with OpenAI(base_url=url, api_key=running.key, max_retries=0) as client:
            for part in (models, chats, choices, logprobs, completions, errors):
                part(client)
        asyncio.run(at_once(url, running.key))
        fireworks(running.url, running.key)
    print("openai_package: chats, completions, models and errors passed with openai 3.54.0")


if __name__ == "__main__":
    main()
