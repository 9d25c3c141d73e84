"""A server on loopback that speaks the embeddings format, and misbehaves as a test asks."""

import base64
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np

KEY = "the-key-that-must-never-be-seen"


def vector(text, dimension=4):
    return [float(len(text)), float(sum(map(ord, text)) % 97), *[1.0] * (dimension - 2)]


class EmbeddingServer(ThreadingHTTPServer):
    """Answers well unless `misbehave`, asked with the request's number and its inputs, answers in its stead.

    numbers: the kind of numbers that it puts into base64.
    """

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests, self.times, self.authorizations = [], [], set()
        self.numbers = "<f4"
        self.misbehave = lambda number, inputs, handler: False
        self.lock, self.under_way, self.most_under_way, self.seconds = threading.Lock(), 0, 0, 0.0
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    @property
    def texts(self):
        return [text for request in self.requests for text in request["input"]]

    @property
    def checks(self):
        """The requests for a single text as numbers, by which a client checks its answers."""
        return [one for one in self.requests if len(one["input"]) == 1 and one["encoding_format"] == "float"]


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        server = self.server
        request = self.asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with server.lock:
            server.requests.append(request)
            server.times.append(time.monotonic())
            server.authorizations.add(self.headers["Authorization"])
            number = len(server.requests)
            server.under_way += 1
            server.most_under_way = max(server.most_under_way, server.under_way)
        time.sleep(server.seconds)
        try:
            if not server.misbehave(number, request["input"], self):
                self.answer([vector(text) for text in request["input"]])
        finally:
            with server.lock:
                server.under_way -= 1

    def answer(self, vectors, backwards=False, model=None):
        def encoded(row):
            if self.asked["encoding_format"] == "float":
                return list(row)
            return base64.b64encode(np.array(row).astype(self.server.numbers).tobytes()).decode()

        data = [{"object": "embedding", "index": i, "embedding": encoded(row)} for i, row in enumerate(vectors)]
        usage = {"prompt_tokens": 1, "total_tokens": 1}
        model = model or self.asked["model"]
        self.reply(200, {"object": "list", "model": model, "data": data[::-1] if backwards else data, "usage": usage})

    def reply(self, status, document, **headers):
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass
