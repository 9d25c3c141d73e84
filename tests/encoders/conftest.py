import time
from types import SimpleNamespace

import pytest
from embedding_server import KEY, EmbeddingServer


@pytest.fixture
def server(monkeypatch):
    """A server, for which the client waits no longer than it must: `waited` has the seconds that it was to wait."""
    server = EmbeddingServer()
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    server.waited = []
    clock = SimpleNamespace(time=time.time, sleep=server.waited.append)
    monkeypatch.setattr("openai._base_client.time", clock)
    yield server
    server.shutdown()
