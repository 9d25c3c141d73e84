import pytest
from embedding_server import KEY, EmbeddingServer


@pytest.fixture
def server(monkeypatch):
    server = EmbeddingServer()
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    yield server
    server.shutdown()
