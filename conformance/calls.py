"""One face for the SDK's client and its async client, so that one test runs with both."""


class Calls:
    """Calls return their results; lists and streams return lists. Notes what was called."""

    def __init__(self, client, loop=None, path="", called=None):
        self.client, self.loop, self.path = client, loop, path
        self.called = set() if called is None else called

    def __getattr__(self, name):
        path = f"{self.path}.{name}".lstrip(".")
        return Calls(getattr(self.client, name), self.loop, path, self.called)

    def __call__(self, *args, **kwargs):
        self.called.add(self.path)
        is_many = self.path.endswith(".list") or kwargs.get("stream")
        result = self.client(*args, **kwargs)
        if self.loop is None:
            return list(result) if is_many else result
        if not (is_many and hasattr(result, "__aiter__")):
            result = self.loop.run_until_complete(result)
        return self.loop.run_until_complete(collect(result)) if is_many else result


async def collect(items):
    return [item async for item in items]
