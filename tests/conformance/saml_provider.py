"""An identity provider of SAML 2.0 by pysaml2, with real signatures (xmlsec1), at a site of its own: any name, no password."""

import html
import http.server
import pathlib
import subprocess
import threading
import urllib.parse

from saml2 import BINDING_HTTP_POST, BINDING_HTTP_REDIRECT
from saml2.config import IdPConfig
from saml2.metadata import create_metadata_string
from saml2.saml import NAMEID_FORMAT_UNSPECIFIED, NameID
from saml2.server import Server

from fabric import free_port

# In no zone of the fabric's, so that browsers take it for another site.
HOST = "idp.partner.test"
PASSWORD_CLASS = "urn:oasis:names:tc:SAML:2.0:ac:classes:Password"

PAGE = """<!doctype html><title>provider</title><h1>Provider</h1>
<form method="post"><input name="user" value="alice"><input type="hidden" name="query" value="{query}"><button>Go on</button></form>"""


class SamlProvider:
    """Serves until `stop`; `pad` is how many characters an attribute has that makes responses long."""

    def __init__(self, folder: pathlib.Path):
        self.folder, self.pad, self.server = folder, 0, None
        subject = ["-subj", "/CN=idp", "-keyout", folder / "idp.key", "-out", folder / "idp.crt"]
        subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *subject], check=True, capture_output=True)
        self.port = free_port()
        self.url = f"http://{HOST}:{self.port}"
        self.metadata = folder / "idp.xml"
        self.metadata.write_bytes(create_metadata_string(None, self._config()))
        listening = http.server.ThreadingHTTPServer(("127.0.0.1", self.port), Pages)
        listening.provider = self
        self.listening = listening
        threading.Thread(target=listening.serve_forever, daemon=True).start()

    def trust(self, service: str):
        """Takes requests of the application whose metadata this is."""
        path = self.folder / "sp.xml"
        path.write_text(service)
        self.server = Server(config=self._config(metadata={"local": [str(path)]}))

    def _config(self, **more) -> IdPConfig:
        return IdPConfig().load(
            {
                "entityid": f"{self.url}/metadata",
                "key_file": str(self.folder / "idp.key"),
                "cert_file": str(self.folder / "idp.crt"),
                "xmlsec_binary": "/usr/bin/xmlsec1",
                "service": {
                    "idp": {
                        "endpoints": {"single_sign_on_service": [(f"{self.url}/sso", BINDING_HTTP_REDIRECT)]},
                        "name_id_format": [NAMEID_FORMAT_UNSPECIFIED],
                        "policy": {"default": {"lifetime": {"minutes": 5}, "attribute_restrictions": None}},
                    }
                },
                **more,
            }
        )

    def answer(self, query: str, user: str) -> str:
        """The page that brings the browser back to the application, with a signed response."""
        asked = dict(urllib.parse.parse_qsl(query))
        request = self.server.parse_authn_request(asked["SAMLRequest"], BINDING_HTTP_REDIRECT)
        args = self.server.response_args(request.message, [BINDING_HTTP_POST])
        response = self.server.create_authn_response(
            {"uid": [user], "title": ["x" * self.pad]},
            name_id=NameID(format=NAMEID_FORMAT_UNSPECIFIED, text=user),
            authn={"class_ref": PASSWORD_CLASS, "authn_auth": self.url},
            sign_response=True,
            sign_assertion=True,
            **args,
        )
        bound = self.server.apply_binding(
            BINDING_HTTP_POST, str(response), args["destination"], asked.get("RelayState", ""), response=True
        )
        return bound["data"]

    def stop(self):
        self.listening.shutdown()
        self.listening.server_close()


class Pages(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        query = urllib.parse.urlsplit(self.path).query
        self.say(PAGE.format(query=html.escape(query)))

    def do_POST(self):
        form = self.rfile.read(int(self.headers["Content-Length"])).decode()
        form = dict(urllib.parse.parse_qsl(form))
        self.say(self.server.provider.answer(form["query"], form["user"]))

    def say(self, page: str):
        body = page.encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format, *args):
        pass
