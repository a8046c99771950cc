"""A Kerberos domain, and Apache as its app: the lab of the Rust tests (tests/kit/kerberos)."""

import os
import pathlib
import subprocess
import tempfile
import threading

from websockets.sync.server import serve

SCRIPTS = pathlib.Path(__file__).parent.parent / "kit/kerberos"
STARTED_WITHIN_S = 60
# What `up` ends with where a Debian package is missing.
MISSING = 75


class PackagesMissing(Exception):
    """In words of `up`."""


class KerberosLab:
    """One that runs. What its `up` exports is in `said`."""

    def __init__(self):
        # Whose WebSocket Apache says it is goes back with each message.
        self.sockets = serve(echo, "127.0.0.1", 0)
        threading.Thread(target=self.sockets.serve_forever, daemon=True).start()
        # Apache's own user must be able to enter it.
        self._folder = tempfile.TemporaryDirectory(prefix="adit-kerberos-")
        self.folder = pathlib.Path(self._folder.name)
        self.folder.chmod(0o711)
        host, port = self.sockets.socket.getsockname()
        settings = {"LAB_DIR": str(self.folder / "lab"), "LAB_OWNER": str(os.getpid()), "LAB_SOCKET": f"{host}:{port}"}
        self.environment = os.environ | settings
        self.said = self._run("up")

    def _run(self, script: str) -> dict[str, str]:
        done = subprocess.run([SCRIPTS / script], env=self.environment, capture_output=True, text=True, timeout=STARTED_WITHIN_S)
        if done.returncode == MISSING:
            raise PackagesMissing(done.stderr.strip())
        assert done.returncode == 0, done.stderr
        lines = [line.removeprefix("export ").partition("=") for line in done.stdout.splitlines()]
        return {name: value.strip("'") for name, _, value in lines}

    def agent(self) -> tuple[str, ...]:
        """What an agent is started with to have the account that may sign users on to the app."""
        named = {"principal": "LAB_AGENT_PRINCIPAL", "keytab": "LAB_AGENT_KEYTAB"}
        account = [word for flag, name in named.items() for word in (f"--kerberos-{flag}", self.said[name])]
        return (*account, "--krb5-conf", self.said["KRB5_CONFIG"])

    def stop(self):
        self._run("down")
        self.sockets.shutdown()
        self._folder.cleanup()


def echo(socket):
    for message in socket:
        socket.send(f"{socket.request.headers['X-Lab-User']}: {message}")
