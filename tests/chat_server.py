"""A server on loopback that speaks the chat-completions, files and batches formats, and misbehaves on a schedule."""

import hashlib
import json
import random
import re
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

KEY = "the-key-that-must-never-be-seen"
FAULTS = (
    "429", "429 with Retry-After", "500", "503", "dropped", "stalled", "cut off", "refusal", "four", "six",
    "duplicates", "original", "no JSON", "not HTTP JSON",
)  # fmt: skip
# Faults after which the server has given an answer, and would charge for it.
PAID = ("cut off", "refusal", "four", "six", "duplicates", "original", "no JSON")


def original_of(request):
    user = next(m["content"] for m in request["messages"] if m["role"] == "user")
    return re.search(r"^prompt: (.*)$", user, re.MULTILINE | re.IGNORECASE).group(1)


def edits(original):
    """Five edits that depend on the original alone."""
    stem = hashlib.sha256(original.encode()).hexdigest()[:6]
    return [f"{original} or {stem} {i}" for i in range(1, 6)]


def answer(texts):
    return json.dumps({f"prompt_#{i}": {"modified_prompt": text} for i, text in enumerate(texts, 1)})


class ChatServer(ThreadingHTTPServer):
    """seed, share: which requests meet a fault, and how many of them. seconds: how long an answer takes."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, seed=0, share=0.0, seconds=0.0, stall=3.0):
        super().__init__(("127.0.0.1", 0), Handler)
        self.random, self.share, self.seconds, self.stall = random.Random(seed), share, seconds, stall
        self.lock, self.under_way, self.most = threading.Lock(), 0, 0
        self.requests, self.charged, self.good = [], [], []
        self.keys = set()
        self.refuse = None  # (status, error) for every request
        self.schema = True
        self.reshape = lambda completion: completion  # what is sent in place of a completion
        # batch_end: how the next batch ends; answered: the share of its requests that it answers then; line_error: what
        # the others have in its error file, if anything; batch_errors: why it could not be run.
        self.files, self.batches, self.batch_end, self.answered = {}, {}, "completed", 0.5
        self.line_error, self.batch_errors = None, []
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def handle_error(self, request, client_address):
        pass  # a client that was killed

    def content(self, request, fault):
        original = original_of(request)
        five = edits(original)
        if fault == "cut off":
            return answer(five)[:40], "length"
        texts = {
            "refusal": "I'm sorry, but I can't help with that.",
            "four": answer(five[:4]),
            "six": answer([*five, "one more"]),
            "duplicates": answer([*five[:4], five[0].upper()]),
            "original": answer([original, *five[1:]]),
            "no JSON": "Here they are: one, two, three.",
        }
        return texts.get(fault, f"```json\n{answer(five)}\n```"), "stop"

    def completion(self, request, fault=None):
        content, finish = self.content(request, fault)
        with self.lock:
            self.charged.append(original_of(request))
            if fault not in PAID:
                self.good.append(original_of(request))
            number = len(self.charged)
        return {
            "id": f"chatcmpl-{number}",
            "object": "chat.completion",
            "model": request["model"] + "-as-served",
            "choices": [{"index": 0, "finish_reason": finish, "message": {"role": "assistant", "content": content}}],
            "usage": {"prompt_tokens": 100, "completion_tokens": 50, "total_tokens": 150},
        }


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        server = self.server
        server.keys.add(self.headers["Authorization"])
        if self.path.endswith("/chat/completions"):
            with server.lock:
                server.under_way += 1
                server.most = max(server.most, server.under_way)
                fault = server.random.choice(FAULTS) if server.random.random() < server.share else None
            try:
                self.chat(json.loads(body), fault)
            finally:
                with server.lock:
                    server.under_way -= 1
        elif self.path.endswith("/files"):
            content = body.split(b"\r\n\r\n")
            lines = next(part for part in content if part.lstrip().startswith(b'{"custom_id"'))
            name = f"file-{len(server.files)}"
            server.files[name] = lines[: lines.rfind(b"}") + 1]
            self.reply(
                200, {"id": name, "object": "file", "purpose": "batch", "filename": "x", "bytes": 1, "created_at": 1}
            )
        elif self.path.endswith("/batches"):
            request = json.loads(body)
            name = f"batch_{len(server.batches)}"
            server.batches[name] = self.batch(name, request["input_file_id"], "validating")
            if server.refuse == "after the batch":
                self.close_connection = True
                self.connection.close()
                return
            self.reply(200, server.batches[name])

    def do_GET(self):
        server, parts = self.server, self.path.split("?")[0].split("/")
        if parts[-1] == "batches":
            return self.reply(200, {"object": "list", "data": list(server.batches.values()), "has_more": False})
        if parts[-1] == "content":
            return self.send(200, server.files[parts[-2]])
        if parts[-1] not in server.batches:
            return self.reply(404, {"error": {"message": "no such batch"}})
        batch = server.batches[parts[-1]]
        if batch["status"] == "validating":
            batch["status"] = "in_progress"
        elif batch["status"] == "in_progress":
            lines = [json.loads(line) for line in server.files[batch["input_file_id"]].splitlines()]
            whole = server.batch_end == "completed" and server.line_error is None
            n = len(lines) if whole else int(len(lines) * server.answered)
            lines, others = lines[:n], lines[n:]
            out = []
            for line in lines:
                with server.lock:
                    fault = server.random.choice(PAID) if server.random.random() < server.share else None
                response = {"status_code": 200, "request_id": "r", "body": server.completion(line["body"], fault)}
                out.append({"id": "x", "custom_id": line["custom_id"], "response": response, "error": None})
            errors = [{"custom_id": line["custom_id"], **server.line_error} for line in others if server.line_error]
            for key, content in (("output_file_id", out), ("error_file_id", errors)):
                if content:
                    batch[key] = f"file-{len(server.files)}"
                    server.files[batch[key]] = "".join(json.dumps(line) + "\n" for line in content).encode()
            batch |= {"status": server.batch_end, "errors": {"object": "list", "data": server.batch_errors}}
            server.batch_end, server.line_error = "completed", None
        return self.reply(200, batch)

    def batch(self, name, file, status):
        return {
            "id": name, "object": "batch", "endpoint": "/v1/chat/completions", "input_file_id": file,
            "completion_window": "24h", "status": status, "created_at": 1,
        }  # fmt: skip

    def chat(self, request, fault):
        server = self.server
        with server.lock:
            server.requests.append(request)
        time.sleep(server.seconds)
        if server.refuse is not None:
            return self.reply(server.refuse[0], {"error": server.refuse[1]})
        if "response_format" in request and not server.schema:
            return self.reply(400, {"error": {"message": "no response_format", "code": "unsupported"}})
        if fault in ("429", "429 with Retry-After"):
            headers = {"Retry-After": "0.05"} if fault != "429" else {}
            return self.reply(429, {"error": {"message": "slow", "code": "rate_limit_exceeded"}}, headers)
        if fault in ("500", "503"):
            return self.reply(int(fault), {"error": {"message": "oops"}})
        if fault == "stalled":
            time.sleep(server.stall)
        if fault in ("dropped", "stalled"):
            self.close_connection = True
            return self.connection.close()
        if fault == "not HTTP JSON":
            return self.send(200, b"<html>hello</html>")
        return self.reply(200, server.reshape(server.completion(request, fault)), {"x-request-id": "req"})

    def reply(self, status, document, headers=None):
        self.send(status, json.dumps(document).encode(), headers)

    def send(self, status, body, headers=None):
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass
