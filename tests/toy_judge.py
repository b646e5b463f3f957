"""An OpenAI-compatible server on this machine that judges by a function."""

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@contextmanager
def server(reply):
    """An OpenAI-compatible server on this machine; reply(body, headers) gives status and content, bytes as they are to
    be sent, and where it wants headers of the answer."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            status, content, *more = reply(body, self.headers)
            answer = {"choices": [{"message": {"content": content}}]} if status == 200 else {"error": content}
            data = content if isinstance(content, bytes) else json.dumps(answer).encode()
            self.send_response(status)
            for name, value in more[0].items() if more else ():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *args):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}/v1"
        running.shutdown()


def sides(body):
    """The two answers that a question asks about."""
    text = body["messages"][0]["content"]
    return [text.partition(f"<answer_{side}>\n")[2].partition("\n</answer")[0] for side in "ab"]
