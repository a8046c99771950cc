"""Sign-ins that belong to a connection, NTLM and Negotiate, by programs that no one here wrote: nobody is ever taken for another."""

import asyncio
import base64
import concurrent.futures
import subprocess

import h2.config
import h2.connection
import h2.events
import pytest
import spnego

from sign_on_origin import DOMAIN, USERS, SignOnOrigin

EXCHANGE_S = 20
# Requests of each user over each version of HTTP.
REQUESTS = 20
# Of those over HTTP/2, at once.
STREAMS = 5


@pytest.fixture(scope="module", params=["NTLM", "Negotiate"])
def scheme(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def host(fabric, scheme, tmp_path_factory):
    origin = SignOnOrigin(tmp_path_factory.mktemp(scheme), scheme)
    yield fabric.publish(f"sign-on-{scheme.lower()}", origin.url)
    origin.stop()


@pytest.fixture
def curl(fabric, host, scheme, tmp_path):
    """Has curl ask so often as this user; gives what it was told each time, with the status and whether that was on the connection
    before. The first time takes a connection, or two: if NTLM is asked for over HTTP/2, curl comes back over HTTP/1.1."""

    def run(name: str, secret: str, requests: int) -> list[str]:
        # curl takes the account for Negotiate from GSS-API, which here is gss-ntlmssp, and that from a file.
        account = tmp_path / f"{name}-{secret}"
        account.write_text(f"{DOMAIN}:{name}:{secret}\n")
        user = ["-u", f"{DOMAIN}\\{name}:{secret}" if scheme == "NTLM" else ":"]
        command = ["curl", "-sS", "--max-time", "30", "--cacert", fabric.ca, f"--{scheme.lower()}", *user]
        command += ["--resolve", f"{host}:{fabric.port}:127.0.0.1", "-w", " %{http_code} %{num_connects}\n"]
        command += [f"https://{host}:{fabric.port}/[1-{requests}]"]
        environment = {"NTLM_USER_FILE": str(account), "PATH": "/usr/bin:/bin"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=40)
        assert done.returncode == 0, done.stderr
        said = [line.split() for line in done.stdout.splitlines()]
        return [f"{name} {status} {'again' if connects == '0' else 'first'}" for name, status, connects in said]

    return run


class UserH2:
    """Somebody with one connection of HTTP/2, on which several requests are under way at once, each with its own sign-in."""

    def __init__(self, host: str, scheme: str, name: str, secret: str):
        self.host, self.scheme, self.name, self.secret = host, scheme, name, secret
        self.link = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        self.heads: dict[int, dict[str, str]] = {}
        self.bodies: dict[int, bytes] = {}
        self.ends: dict[int, asyncio.Future] = {}

    async def connect(self, fabric):
        self.reader, self.writer = await asyncio.open_connection(
            "127.0.0.1", fabric.port, ssl=fabric.tls("h2"), server_hostname=self.host
        )
        self.link.initiate_connection()
        self.flush()
        self.reading = asyncio.create_task(self.read())

    async def close(self):
        self.reading.cancel()
        self.writer.close()

    def flush(self):
        self.writer.write(self.link.data_to_send())

    async def read(self):
        while data := await self.reader.read(65536):
            for event in self.link.receive_data(data):
                match event:
                    case h2.events.ResponseReceived():
                        self.heads[event.stream_id] = dict(event.headers)
                    case h2.events.DataReceived():
                        self.bodies[event.stream_id] += event.data
                        self.link.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                    case h2.events.StreamEnded():
                        self.ends[event.stream_id].set_result(None)
                    case h2.events.StreamReset():
                        self.ends[event.stream_id].set_exception(ConnectionError(f"reset with {event.error_code}"))
            self.flush()

    async def ask(self, token: bytes | None = None) -> tuple[int, bytes, str]:
        """The status, a token of the origin and who it takes the asker for."""
        stream = self.link.get_next_available_stream_id()
        fields = [(":method", "GET"), (":scheme", "https"), (":authority", self.host), (":path", "/")]
        if token is not None:
            fields.append(("authorization", f"{self.scheme} {base64.b64encode(token).decode()}"))
        self.ends[stream], self.bodies[stream] = asyncio.get_running_loop().create_future(), b""
        self.link.send_headers(stream, fields, end_stream=True)
        self.flush()
        await asyncio.wait_for(self.ends[stream], EXCHANGE_S)
        head = self.heads[stream]
        _, _, challenge = head.get("www-authenticate", "").partition(" ")
        return int(head[":status"]), base64.b64decode(challenge), self.bodies[stream].decode()

    async def get(self) -> tuple[int, str]:
        """Asks, and signs in if that is wanted."""
        status, _, told = await self.ask()
        if status != 401:
            return status, told
        options = spnego.NegotiateOptions.use_negotiate if self.scheme == "Negotiate" else spnego.NegotiateOptions.none
        context = spnego.client(f"{DOMAIN}\\{self.name}", self.secret, protocol=self.scheme.lower(), options=options)
        token = context.step()
        while token:
            status, challenge, told = await self.ask(token)
            if status != 401 or not challenge:
                break
            token = context.step(challenge)
        return status, told


async def over_h2(fabric, host: str, scheme: str, name: str, secret: str, requests: int) -> list[tuple[int, str]]:
    user = UserH2(host, scheme, name, secret)
    await user.connect(fabric)
    told = []

    async def some():
        for _ in range(requests // STREAMS):
            told.append(await user.get())

    try:
        await asyncio.gather(*(some() for _ in range(STREAMS)))
    finally:
        await user.close()
    return told


def test_users_at_once_are_never_taken_for_one_another(fabric, host, scheme, curl):
    async def all_at_once():
        with concurrent.futures.ThreadPoolExecutor(len(USERS)) as threads:
            loop = asyncio.get_running_loop()
            over_h1 = [loop.run_in_executor(threads, curl, name, secret, REQUESTS) for name, secret in USERS.items()]
            many = [over_h2(fabric, host, scheme, name, secret, REQUESTS) for name, secret in USERS.items()]
            return await asyncio.gather(asyncio.gather(*over_h1), asyncio.gather(*many))

    over_h1, many = asyncio.run(all_at_once())
    for name, told in zip(USERS, over_h1, strict=True):
        assert told == [f"{name} 200 first"] + [f"{name} 200 again"] * (REQUESTS - 1)
    for name, told in zip(USERS, many, strict=True):
        assert told == [(200, name)] * REQUESTS


def test_a_wrong_password_stays_outside(fabric, host, scheme, curl):
    assert curl("user1", "wrong", 3) == ["nobody 401 first"] + ["nobody 401 again"] * 2
    told = asyncio.run(over_h2(fabric, host, scheme, "user1", "wrong", STREAMS))
    assert told == [(401, "nobody")] * STREAMS
    assert curl("user1", USERS["user1"], 1) == ["user1 200 first"]


def test_who_does_not_sign_in_is_nobody_on_whatever_connection(fabric, host, curl):
    for name, secret in USERS.items():
        assert curl(name, secret, 1) == [f"{name} 200 first"]
        command = ["curl", "-sS", "--cacert", fabric.ca, "--resolve", f"{host}:{fabric.port}:127.0.0.1"]
        command += ["-w", " %{http_code}", f"https://{host}:{fabric.port}/"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=40)
        assert done.stdout == "nobody 401"
