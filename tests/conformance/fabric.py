"""A fabric of real processes on loopback, set up by the commands that an operator would use."""

import contextlib
import http.client
import os
import pathlib
import socket
import ssl
import subprocess
import tempfile
import time

DOMAIN = "fabric.test"
# How long anything may take to start, stop or be told; as in the Rust tests' kit.
PATIENCE_S = 20
LOOK_EVERY_S = 0.02


def free_port() -> int:
    """A port of loopback that was free for TCP and UDP a moment ago; for programs that cannot bind port 0 and say which it is."""
    while True:
        with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
            tcp.bind(("127.0.0.1", 0))
            try:
                udp.bind(tcp.getsockname())
            except OSError:
                continue
            return tcp.getsockname()[1]


def eventually(what: str, happened, patience_s: float = PATIENCE_S):
    """Looks until `happened` gives something true, and gives that."""
    end = time.monotonic() + patience_s
    while time.monotonic() < end:
        if found := happened():
            return found
        time.sleep(LOOK_EVERY_S)
    raise AssertionError(f"did not happen in {patience_s} s: {what}")


def listens(port: int) -> bool:
    """Whether somebody accepts connections at a port of loopback."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Process:
    """A running program; what it says goes to a log."""

    def __init__(self, name: str, folder: pathlib.Path, args: list[str], **more):
        self.name, self.log_path = name, folder / f"{name}.log"
        self._what = dict(args=args, cwd=folder, **more)
        self.start()

    def start(self):
        """Once more, after `stop`."""
        with self.log_path.open("ab") as log:
            self.child = subprocess.Popen(stdin=subprocess.DEVNULL, stdout=log, stderr=log, **self._what)

    def log(self) -> str:
        return self.log_path.read_text(errors="replace")

    def until(self, what: str, happened, patience_s: float = PATIENCE_S):
        """Waits for something that this program is to do; fails at once if it ends instead."""

        def look():
            assert self.child.poll() is None, f"{self.name} ended:\n{self.log()}"
            return happened()

        return eventually(f"{self.name} {what}", look, patience_s)

    def stop(self):
        self.child.terminate()
        try:
            self.child.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()


class Fabric:
    """Control, one edge and one agent of the group `default`, and a folder with all they keep."""

    def __init__(self, program: str):
        self.program = os.path.abspath(program)
        self._folder = tempfile.TemporaryDirectory(prefix="adit-conformance-")
        self.folder = pathlib.Path(self._folder.name)
        self.port = free_port()
        self.processes: list[Process] = []
        self.published: set[str] = set()
        try:
            self._start()
        except BaseException:
            self.stop()
            raise

    def _start(self):
        listen = f"127.0.0.1:{free_port()}"
        self._node("control", "control", "--domain", DOMAIN, "--listen", listen, "--advertise", listen)
        self._token("edge", "--role", "edge")
        https = f"127.0.0.1:{self.port}"
        self._node("edge", "edge", "--name", "e1", "--join-file", "edge.token", "--https", https, "--http", "off", "--advertise", https)
        self._token("agent", "--group", "default")
        self._node("agent", "agent", "--name", "a1", "--join-file", "agent.token")

    def add_agent(self, group: str, *allow: str, more: tuple[str, ...] = ()):
        """One more agent, of a group of its own, which may reach these origins and no others, with more arguments."""
        self.run("group", "create", group)
        self._token(group, "--group", group)
        listed = [arg for pattern in allow for arg in ("--allow", pattern)]
        self._node("agent", group, "--name", group, "--join-file", f"{group}.token", *listed, *more)

    def _node(self, kind: str, folder: str, *args: str):
        admin = free_port()
        command = [self.program, kind, "--data-dir", folder, "--admin", f"127.0.0.1:{admin}", *args]
        process = Process(folder, self.folder, command)
        self.processes.append(process)
        process.until("gets ready", lambda: ready(admin))

    @contextlib.contextmanager
    def control_away(self):
        """Control is stopped, and back at the end."""
        control = self.processes[0]
        control.stop()
        try:
            yield
        finally:
            seen = len(control.log())
            control.start()
            control.until("serves again", lambda: "control serves" in control.log()[seen:])

    def _token(self, name: str, *args: str):
        (self.folder / f"{name}.token").write_text(self.run("token", "create", *args))

    def run(self, *args: str) -> str:
        """Runs an operator's command that must succeed; gives what it printed."""
        profile = self.folder / "control/operator.toml"
        done = subprocess.run(
            [self.program, *args],
            cwd=self.folder,
            env=os.environ | {"ADIT_PROFILE": str(profile)},
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
        )
        assert done.returncode == 0, f"adit {' '.join(args)}: {done.stderr}"
        return done.stdout

    @property
    def ca(self) -> str:
        """File with the CA that users trust."""
        return str(self.folder / "control/ca.pem")

    def tls(self, *protocols: str) -> ssl.SSLContext:
        """TLS of a user who trusts this fabric and speaks these protocols."""
        context = ssl.create_default_context(cafile=self.ca)
        context.set_alpn_protocols(list(protocols))
        return context

    def publish(self, app: str, origin: str, *more: str, host: str | None = None) -> str:
        """Publishes `app` as `app.fabric.test` or `host`, waits until the edge serves it, and gives that name."""
        host = host or f"{app}.{DOMAIN}"
        if app not in self.published:
            self.run("app", "publish", app, "--host", host, "--origin", origin, "--access", "passthrough", *more)
            self.published.add(app)
            self.until_served(host)
        return host

    def until_served(self, host: str):
        eventually(f"{host} is served", lambda: self._is_served(host))

    def connect(self, host: str) -> ssl.SSLSocket:
        """A connection to the edge, for HTTP/1.1."""
        link = socket.create_connection(("127.0.0.1", self.port), PATIENCE_S)
        return self.tls("http/1.1").wrap_socket(link, server_hostname=host)

    def _is_served(self, host: str) -> bool:
        """Whether the edge knows the host, and an agent for it: who else says 404 is an origin."""
        link = http.client.HTTPSConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        link.sock = self.connect(host)
        try:
            link.request("GET", "/", headers={"Host": host})
            answer = link.getresponse()
            return answer.status not in (404, 503) or answer.getheader("Content-Type") != "application/problem+json"
        finally:
            link.close()

    def stop(self):
        for process in reversed(self.processes):
            process.stop()
        self._folder.cleanup()


def ready(admin: int) -> bool:
    """Whether the process with this admin port says that it is ready."""
    link = http.client.HTTPConnection("127.0.0.1", admin, timeout=PATIENCE_S)
    try:
        link.request("GET", "/ready")
        return link.getresponse().status == 200
    except OSError:
        return False
    finally:
        link.close()
