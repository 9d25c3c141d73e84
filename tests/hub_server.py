"""A Hugging Face hub on loopback that serves folders as repositories."""

import json
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"
TOKEN = "the-token-that-must-never-be-seen"


class Hub(ThreadingHTTPServer):
    """Serves folders as repositories. folders: repository to folder; commits: repository to its commit."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.folders, self.commits, self.gated, self.fetched = {}, {}, set(), []

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}"

    def serve(self, repository, folder, commit=COMMIT):
        self.folders[repository], self.commits[repository] = folder, commit


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.respond(True)

    def do_HEAD(self):
        self.respond(False)

    def respond(self, with_body):
        server, path = self.server, [unquote(part) for part in urlsplit(self.path).path.split("/")[1:]]
        kind = "api" if path[:2] == ["api", "models"] else "file"
        path = path[2:] if kind == "api" else path
        repository, rest = "/".join(path[:2]), path[2:]
        if repository not in server.folders:
            return self.reply(404, with_body, {"X-Error-Code": "RepoNotFound", "X-Error-Message": "none"})
        folder, commit = server.folders[repository], server.commits[repository]
        if rest and rest[1] not in ("main", "refs/pr/5", commit):
            return self.reply(404, with_body, {"X-Error-Code": "RevisionNotFound", "X-Error-Message": "none"})
        files = sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())
        if kind == "api" and rest[0] == "revision":
            body = {"id": repository, "sha": commit, "siblings": [{"rfilename": name} for name in files]}
            return self.reply(200, with_body, {}, json.dumps(body).encode())
        if kind == "api" and rest[0] == "tree":
            body = [
                {"type": "file", "path": name, "size": (folder / name).stat().st_size, "oid": "0" * 40}
                for name in files
            ]
            return self.reply(200, with_body, {}, json.dumps(body).encode())
        if repository in server.gated and self.headers["Authorization"] != f"Bearer {TOKEN}":
            headers = {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access is restricted"}
            return self.reply(401, with_body, headers)
        content = (folder / "/".join(rest[2:])).read_bytes() if "/".join(rest[2:]) in files else None
        if content is None:
            return self.reply(404, with_body, {"X-Error-Code": "EntryNotFound", "X-Error-Message": "none"})
        if with_body:
            server.fetched.append("/".join([repository, *rest[2:]]))
        headers = {"X-Repo-Commit": commit, "ETag": f'"{sha256(content).hexdigest()}"'}
        return self.reply(200, with_body, headers, content)

    def reply(self, status, with_body, headers, body=b"{}"):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def log_message(self, *arguments):
        pass
