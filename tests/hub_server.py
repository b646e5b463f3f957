"""The Hub's HTTP API on the loopback, as far as huggingface_hub 2.4 needs it to create, commit, list and download.

    with HubServer() as hub: ...        # hub.url is what HF_ENDPOINT is to be

Weights and Parquet go by LFS. Whether a client of this version uploads by Xet is its own decision, which no server can
change (HF_HUB_DISABLE_XET); downloads carry no Xet header, so that they are plain HTTP.
`hub.fail(...)` makes it answer errors, drop connections or change bytes. Every request is kept in `hub.log`.
"""

import base64
import hashlib
import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlparse

from tests.hub_card_rules import card_mistakes

TOKEN = "hf_" + "loopback" * 4 + "ab"
TOY = "org/toy-model"  # the repository of most tests
LFS = (".safetensors", ".parquet", "tokenizer.json")  # what the Hub's own .gitattributes sends there
REPO = r"(?P<kind>models|datasets)/(?P<id>[\w.-]+/[\w.-]+)"
PATHS = r"(?P<prefix>datasets/)?(?P<id>[\w.-]+/[\w.-]+)"


@dataclass
class Repository:
    """A repository: commits in order, each a name and its files {path: sha256 of the content}."""

    private: bool
    commits: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)

    @property
    def head(self) -> str:
        return self.commits[-1][0]

    def files(self, revision: str) -> dict[str, str] | None:
        wanted = self.head if revision == "main" else revision
        return next((files for name, files in self.commits if name == wanted), None)

    def commit(self, files: dict[str, str], message: str) -> str:
        parent = self.head if self.commits else ""
        name = hashlib.sha1(f"{parent}{len(self.commits)}{sorted(files.items())}".encode()).hexdigest()
        self.commits.append((name, files))
        self.messages.append(message)
        return name


@dataclass
class Fault:
    """What goes wrong: for requests whose "METHOD path" matches, `times` times."""

    pattern: str
    kind: int | str  # a status, "drop" (unread), "lost" (done, but not answered) or "corrupt"
    times: int


class HubServer:
    """Runs on a free port while the context lasts."""

    def __init__(self) -> None:
        self.repositories: dict[tuple[str, str], Repository] = {}
        self.contents: dict[str, bytes] = {}
        self.lfs: set[str] = set()
        self.log: list[str] = []
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        self.faults: list[Fault] = []
        self.tokens = {TOKEN: True}  # token -> may write
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"hub": self}))
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def __enter__(self) -> "HubServer":
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self.server.shutdown()
        self.server.server_close()

    def fail(self, pattern: str, kind: int | str, times: int = 1) -> None:
        """The next `times` requests whose "METHOD path" matches the pattern go wrong."""
        self.faults.append(Fault(pattern, kind, times))

    def store(self, content: bytes) -> str:
        digest = hashlib.sha256(content).hexdigest()
        self.contents[digest] = content
        return digest

    def create(self, kind: str, repo_id: str, private: bool = True, **files: bytes) -> Repository:
        """A repository with the Hub's own first commit, and one more with these files."""
        repository = self.repositories[kind, repo_id] = Repository(private=private)
        first = {".gitattributes": self.store(b"*.safetensors filter=lfs\n")}
        repository.commit(first, "initial commit")
        if files:
            named = {name.replace("__", "."): self.store(content) for name, content in files.items()}
            repository.commit(first | named, "by hand")
        return repository

    def count(self, pattern: str) -> int:
        """How many requests matched."""
        return sum(bool(re.search(pattern, line)) for line in self.log)


def blob(content: bytes) -> str:
    """git's hash."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def directory(path: str) -> dict[str, object]:
    """A folder as the tree lists it."""
    return {"type": "directory", "path": path, "oid": "0" * 40, "size": 0}


class Handler(BaseHTTPRequestHandler):
    """One request. `hub` is set by the server."""

    hub: HubServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else every answer waits 40 ms for an acknowledgement

    def log_message(self, *words: object) -> None:
        """Silent: hub.log has it."""

    def do_GET(self) -> None:
        self.handle_one()

    do_POST = do_PUT = do_HEAD = do_GET

    def handle_one(self) -> None:
        self.url = urlparse(self.path)
        line = f"{self.command} {unquote(self.url.path)}"
        fault = next((f for f in self.hub.faults if f.times > 0 and re.search(f.pattern, line)), None)
        if fault:
            fault.times -= 1
        if fault and fault.kind == "drop":
            self.hub.log.append(f"{line} dropped")
            self.close_connection = True
            self.connection.close()
            return
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.corrupt, self.lost = (bool(fault and fault.kind == kind) for kind in ("corrupt", "lost"))
        self.hub.requests.append((line, dict(self.headers), body))
        if fault and isinstance(fault.kind, int):
            self.hub.log.append(f"{line} {fault.kind}")
            self.answer(fault.kind, {"error": "as the test wants it"})
            return
        self.hub.log.append(line)
        for pattern, method in ROUTES:
            if found := re.fullmatch(pattern, line):
                method(self, body, **found.groupdict())
                return
        self.answer(404, {"error": f"no such route: {line}"})

    def answer(
        self, status: int, value: object = None, headers: dict[str, str] | None = None, raw: bytes = b""
    ) -> None:
        if self.lost:
            self.close_connection = True
            self.connection.close()
            return
        content = raw if value is None else json.dumps(value).encode()
        self.send_response(status)
        for name, text in ({"Content-Type": "application/json"} | (headers or {})).items():
            self.send_header(name, text)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def allowed(self, write: bool) -> bool:
        """Whether the token may; answers 401 or 403 where it may not."""
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if token and token not in self.hub.tokens:
            message = "Invalid credentials in Authorization header"
            self.answer(401, {"error": message}, {"X-Error-Message": message})
            return False
        if write and not self.hub.tokens.get(token):
            self.answer(403, {"error": "no write access"}, {"X-Error-Message": "no write access"})
            return False
        return True

    def repository(self, kind: str, repo_id: str, write: bool = False) -> Repository | None:
        """The repository; answers for itself where it is missing or hidden."""
        if not self.allowed(write):
            return None
        found = self.hub.repositories.get((kind, repo_id))
        known = self.headers.get("Authorization", "").removeprefix("Bearer ") in self.hub.tokens
        if found is None or (found.private and not known):
            self.answer(404, {"error": "Repository not found"}, {"X-Error-Code": "RepoNotFound"})
            return None
        return found

    def create(self, body: bytes) -> None:
        if not self.allowed(write=True):
            return
        asked = json.loads(body)
        kind = asked.get("type", "model") + "s"
        repo_id = f"{asked['organization']}/{asked['name']}"
        if (kind, repo_id) in self.hub.repositories:
            self.answer(409, {"error": "You already created this repo"})
            return
        self.hub.create(kind, repo_id, private=asked.get("visibility") == "private")
        self.answer(200, {"url": f"{self.hub.url}/{repo_id}"})

    def validate(self, body: bytes) -> None:
        asked = json.loads(body)
        mistakes = card_mistakes(asked["content"], asked["repoType"])
        errors = [{"message": mistake} for mistake in mistakes]
        self.answer(400 if mistakes else 200, {"errors": errors, "warnings": []})

    def info(self, body: bytes, kind: str, id: str, revision: str | None = None) -> None:
        found = self.repository(kind, id)
        if found is None:
            return
        files = found.files(revision or "main")
        if files is None:
            self.answer(404, {"error": "Invalid rev id"}, {"X-Error-Code": "RevisionNotFound"})
            return
        sha = found.head if revision in (None, "main") else revision
        siblings = [{"rfilename": name} for name in files]
        self.answer(200, {"id": id, "sha": sha, "private": found.private, "siblings": siblings, "tags": []})

    def tree(self, body: bytes, kind: str, id: str, revision: str, folder: str | None = None) -> None:
        found = self.repository(kind, id)
        if found is None:
            return
        files = found.files(revision)
        if files is None:
            self.answer(404, {"error": "Invalid rev id"}, {"X-Error-Code": "RevisionNotFound"})
            return
        below = f"{folder}/" if folder else ""
        inside = {name: digest for name, digest in files.items() if name.startswith(below)}
        if "recursive=true" in self.url.query.lower():
            self.answer(200, self.rows(inside))
            return
        here = {name: digest for name, digest in inside.items() if "/" not in name.removeprefix(below)}
        folders = sorted({below + name.removeprefix(below).split("/")[0] for name in inside.keys() - here.keys()})
        self.answer(200, [*self.rows(here), *map(directory, folders)])

    def paths(self, body: bytes, kind: str, id: str, revision: str) -> None:
        found = self.repository(kind, id)
        if found is None:
            return
        wanted = [unquote(name) for name in parse_qs(body.decode()).get("paths", [])]
        files = found.files(revision) or {}
        folders = [n for n in wanted if n not in files and any(f.startswith(f"{n}/") for f in files)]
        rows = self.rows({n: files[n] for n in wanted if n in files})
        self.answer(200, [*rows, *map(directory, folders)])

    def rows(self, files: dict[str, str]) -> list[dict[str, object]]:
        """The files as the tree lists them."""
        rows: list[dict[str, object]] = []
        for name, digest in sorted(files.items()):
            content = self.hub.contents[digest]
            row = {"type": "file", "path": name, "size": len(content), "oid": blob(content)}
            if digest in self.hub.lfs:
                pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{digest}\nsize {len(content)}\n"
                row |= {
                    "oid": blob(pointer.encode()),
                    "lfs": {"oid": digest, "size": len(content), "pointerSize": 130},
                }
            rows.append(row)
        return rows

    def preupload(self, body: bytes, kind: str, id: str, revision: str) -> None:
        found = self.repository(kind, id, write=True)
        if found is None:
            return
        files = found.files(revision) or {}
        rows = []
        for asked in json.loads(body)["files"]:
            digest = files.get(asked["path"])
            oid = None
            if digest:
                oid = digest if digest in self.hub.lfs else blob(self.hub.contents[digest])
            mode = "lfs" if asked["path"].endswith(LFS) else "regular"
            rows.append({"path": asked["path"], "uploadMode": mode, "shouldIgnore": False, "oid": oid})
        self.answer(200, {"files": rows})

    def batch(self, body: bytes, prefix: str | None, id: str) -> None:
        if self.repository("datasets" if prefix else "models", id, write=True) is None:
            return
        objects = []
        for asked in json.loads(body)["objects"]:
            row = {"oid": asked["oid"], "size": asked["size"]}
            if asked["oid"] not in self.hub.contents:
                row["actions"] = {"upload": {"href": f"{self.hub.url}/lfs/{asked['oid']}"}}
            objects.append(row)
        self.answer(200, {"transfer": "basic", "objects": objects})

    def upload(self, body: bytes, oid: str) -> None:
        if hashlib.sha256(body).hexdigest() != oid:
            self.answer(400, {"error": "the content does not have this sha256"})
            return
        self.hub.store(body)
        self.hub.lfs.add(oid)
        self.answer(200, {})

    def commit(self, body: bytes, kind: str, id: str, revision: str) -> None:
        found = self.repository(kind, id, write=True)
        if found is None:
            return
        lines = [json.loads(line) for line in body.splitlines()]
        header = lines[0]["value"]
        if header.get("parentCommit", found.head) != found.head:
            self.answer(412, {"error": "A commit has happened since."})
            return
        files = dict(found.files(revision) or {})
        for line in lines[1:]:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = self.hub.store(base64.b64decode(value["content"]))
            elif line["key"] == "lfsFile":
                if value["oid"] not in self.hub.contents:
                    self.answer(400, {"error": f"LFS object {value['oid']} was not uploaded"})
                    return
                files[value["path"]] = value["oid"]
            else:
                del files[value["path"]]
        name = found.commit(files, header["summary"])
        self.answer(200, {"commitUrl": f"{self.hub.url}/{id}/commit/{name}", "commitOid": name, "hookOutput": ""})

    def resolve(self, body: bytes, prefix: str | None, id: str, revision: str, path: str) -> None:
        found = self.repository("datasets" if prefix else "models", id)
        if found is None:
            return
        files = found.files(revision)
        if files is None or path not in files:
            code = "RevisionNotFound" if files is None else "EntryNotFound"
            self.answer(404, {"error": code}, {"X-Error-Code": code})
            return
        digest = files[path]
        content = self.hub.contents[digest]
        headers = {
            "Content-Type": "application/octet-stream",
            "X-Repo-Commit": found.head if revision == "main" else revision,
            "ETag": f'"{digest if digest in self.hub.lfs else blob(content)}"',
            "Accept-Ranges": "bytes",
        }
        if self.corrupt and content:
            content = content[:-1] + bytes([content[-1] ^ 1])
        if wanted := re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", "")):
            start = int(wanted[1])
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
            self.answer(206, headers=headers, raw=content[start:])
            return
        self.answer(200, headers=headers, raw=content)

    def whoami(self, body: bytes) -> None:
        if self.allowed(write=False):
            self.answer(200, {"name": "tester", "type": "user", "orgs": [], "query": parse_qs(self.url.query)})


ROUTES = (
    (r"POST /api/repos/create", Handler.create),
    (r"POST /api/validate-yaml", Handler.validate),
    (r"GET /api/whoami-v2", Handler.whoami),
    (rf"GET /api/{REPO}", Handler.info),
    (rf"GET /api/{REPO}/revision/(?P<revision>[^/]+)", Handler.info),
    (rf"GET /api/{REPO}/tree/(?P<revision>[^/]+)/?(?P<folder>.+)?", Handler.tree),
    (rf"POST /api/{REPO}/paths-info/(?P<revision>[^/]+)", Handler.paths),
    (rf"POST /api/{REPO}/preupload/(?P<revision>[^/]+)", Handler.preupload),
    (rf"POST /{PATHS}\.git/info/lfs/objects/batch", Handler.batch),
    (r"PUT /lfs/(?P<oid>[0-9a-f]{64})", Handler.upload),
    (rf"POST /api/{REPO}/commit/(?P<revision>[^/]+)", Handler.commit),
    (rf"(?:GET|HEAD) /{PATHS}/resolve/(?P<revision>[^/]+)/(?P<path>.+)", Handler.resolve),
)
