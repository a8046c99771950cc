"""An application, and a provider of WS-Federation, that stand in for real ones: they say and check what those do of addresses, and sign nothing."""

import base64
import html
import http.server
import json
import threading
import urllib.parse

from fabric import free_port

FORM = """<!doctype html><title>provider</title><h1>Provider</h1>
<form method="post" action="{to}"><input type="hidden" name="wresult" value="alice"><input type="hidden" name="wctx" value="{context}">
<button>Go on</button></form>"""


class Stub:
    """Serves its pages until `stop`."""

    def __init__(self, pages: type):
        port = free_port()
        self.listening = http.server.ThreadingHTTPServer(("127.0.0.1", port), pages)
        self.listening.stub = self
        self.url = f"http://127.0.0.1:{port}"
        self.port = port
        threading.Thread(target=self.listening.serve_forever, daemon=True).start()

    def stop(self):
        self.listening.shutdown()
        self.listening.server_close()


class Pages(http.server.BaseHTTPRequestHandler):
    @property
    def stub(self):
        return self.server.stub

    def query(self) -> dict[str, str]:
        return dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(self.path).query))

    def form(self) -> dict[str, str]:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        return dict(urllib.parse.parse_qsl(body))

    def say(self, status: int, page: str, **fields: str):
        body = page.encode()
        self.send_response(status)
        for name, value in fields.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format, *args):
        pass


class StsPages(Pages):
    """Sends users back only to what is registered: the public name."""

    def do_GET(self):
        asked = self.query()
        if not asked["wreply"].startswith(self.stub.registered):
            return self.say(400, f"<h1>wreply is {html.escape(asked['wreply'])}</h1>")
        self.say(200, FORM.format(to=html.escape(asked["wreply"]), context=html.escape(asked["wctx"])))


class AppPages(Pages):
    """Knows no name but the one that it is asked by. `stub.ask` makes the address of the provider of the app's own and where the user is."""

    def do_GET(self):
        own = f"http://{self.headers['Host']}"
        cookies = self.headers.get("Cookie", "")
        if "user=" in cookies:
            name = cookies.split("user=")[1].split(";")[0]
            return self.say(200, f"<!doctype html><title>app</title><h1>{html.escape(name)}</h1>")
        self.say(302, "", Location=self.stub.ask(own, own + self.path))

    def do_POST(self):
        own, form = f"http://{self.headers['Host']}", self.form()
        # A WS-Federation response, or one of OpenID Connect; whose signature, and nonce, real ones check.
        context = form.get("wctx") or form["state"]
        name = form.get("wresult") or claims(form["id_token"])["sub"]
        if not context.startswith(f"{own}/"):
            return self.say(400, f"<h1>{html.escape(context)} is not of {own}</h1>")
        self.say(302, "", Location=context, Set_Cookie=f"user={name}; Path=/; HttpOnly")


def claims(token: str) -> dict:
    part = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))


def escaped(text: str) -> str:
    return urllib.parse.quote(text, safe="")
