"""A certified OpenID provider (npm `oidc-provider`), and its users, who have Chromium."""

import contextlib
import os
import pathlib
import subprocess
import threading
import urllib.request

from fabric import DOMAIN, Process, free_port

HERE = pathlib.Path(__file__).parent
# Chromium starts, and walks through some twenty pages.
WALK_S = 120
# Providers are asked again about a user after a minute at the soonest, give or take a tenth, and edges look every ten seconds.
REFRESHED_S = 100


class Provider:
    """One that runs. `kind` is what provider.mjs is told last."""

    def __init__(self, fabric, name: str, kind: str):
        self.fabric, self.port = fabric, free_port()
        command = ["node", str(HERE / "provider.mjs"), str(self.port), str(fabric.port), DOMAIN, fabric.ca, kind]
        self.process = Process(name, fabric.folder, command)
        self.process.until("serves", lambda: "serves" in self.process.log())

    @property
    def issuer(self) -> str:
        return f"http://localhost:{self.port}"

    def say(self, query: str):
        """Changes a user there."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/test/users?{query}", method="POST")
        urllib.request.urlopen(request, timeout=10).close()

    @contextlib.contextmanager
    def user(self, walk: str, *more: str):
        """A user with Chromium, who says what they have done and goes on when they are told to."""
        command = ["node", str(HERE / "provider_user.mjs"), walk, str(self.fabric.port), str(self.port), os.environ.get("ADIT_TEST_PICTURES", ""), *more]
        user = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        timer = threading.Timer(WALK_S + REFRESHED_S, user.kill)
        timer.start()
        try:
            yield User(self, user)
        finally:
            timer.cancel()
            user.kill()
            user.wait()

    def logs(self) -> str:
        return "\n".join(one.log()[-3000:] for one in [self.process, *self.fabric.processes] if one.name != "agent")


class User:
    def __init__(self, provider: Provider, process: subprocess.Popen):
        self.provider, self.process = provider, process

    def until(self, said: str):
        line = self.process.stdout.readline()
        assert line == f"{said}\n", "\n".join([line, self.process.stderr.read(), self.provider.logs()])

    def says(self, beginning: str) -> str:
        """The rest of a line that begins like this."""
        line = self.process.stdout.readline()
        assert line.startswith(beginning), "\n".join([line, self.process.stderr.read(), self.provider.logs()])
        return line.removeprefix(beginning).strip()

    def go_on(self):
        self.process.stdin.write("go on\n")
        self.process.stdin.flush()
