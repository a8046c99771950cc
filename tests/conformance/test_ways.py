"""Ways to origins, before programs that no one here wrote: nginx behind a Unix socket, tinyproxy in between, shares of several nginx."""

import collections
import concurrent.futures
import http.client
import json
import time

import pytest

from cases import noise
from certificate import self_signed
from fabric import DOMAIN, PATIENCE_S, Process, eventually, free_port, listens
from nginx import Nginx


def get_all(fabric, host: str, paths: list[str]) -> list[tuple[int, bytes]]:
    """Requests one after another on a connection of their own."""
    link = http.client.HTTPSConnection("127.0.0.1", fabric.port, timeout=PATIENCE_S, context=fabric.tls("http/1.1"))
    link.sock = fabric.connect(host)
    try:
        told = []
        for path in paths:
            link.request("GET", path, headers={"Host": host})
            answer = link.getresponse()
            told.append((answer.status, answer.read()))
        return told
    finally:
        link.close()


def get(fabric, host: str, path: str = "/") -> tuple[int, bytes]:
    return get_all(fabric, host, [path])[0]


def reason(fabric, host: str) -> str:
    status, body = get(fabric, host)
    assert status >= 500, body
    return json.loads(body)["reason"]


def test_nginx_behind_a_unix_socket(fabric, tmp_path):
    socket = tmp_path / "origin.sock"
    origin = Nginx(tmp_path / "origin", "by socket", f"unix:{socket}")
    (origin.www / "big").write_bytes(noise(5_000_003))
    fabric.add_agent("beside-sockets", f"unix:{tmp_path}/*")
    host = fabric.publish("socket", f"unix:{socket}", "--group", "beside-sockets")
    assert get_all(fabric, host, ["/"] * 20) == [(200, b"by socket")] * 20
    assert get(fabric, host, "/big") == (200, noise(5_000_003))
    assert get(fabric, host, "/none")[0] == 404
    # An agent that does not list it does not reach it.
    assert reason(fabric, fabric.publish("unlisted-socket", f"unix:{socket}")) == "agent_refused"
    origin.kill()
    assert reason(fabric, host) == "origin_connect"
    socket.unlink()
    origin.start()
    assert get(fabric, host) == (200, b"by socket")
    origin.kill()


class Tinyproxy:
    """A forward proxy; `more` are lines of its configuration."""

    def __init__(self, folder, more: str = ""):
        folder.mkdir()
        self.port = free_port()
        configuration = folder / "tinyproxy.conf"
        configuration.write_text(f"Port {self.port}\nListen 127.0.0.1\nAllow 127.0.0.1\nLogLevel Connect\n{more}\n")
        self.process = Process("tinyproxy", folder, ["tinyproxy", "-d", "-c", str(configuration)])
        self.process.until("listens", lambda: listens(self.port))
        self.url = f"http://127.0.0.1:{self.port}"

    def ways_to(self, port: int) -> int:
        """How often it was asked for the way to this port."""
        return self.process.log().count(f"CONNECT 127.0.0.1:{port} ")


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_tinyproxy_leads_to_origins(fabric, tmp_path, scheme: str):
    more, listen, tls = "", f"127.0.0.1:{free_port()}", []
    if scheme == "https":
        key, certificate = self_signed("127.0.0.1")
        (tmp_path / "key.pem").write_bytes(key)
        (tmp_path / "certificate.pem").write_bytes(certificate)
        more = f"ssl_certificate {tmp_path}/certificate.pem; ssl_certificate_key {tmp_path}/key.pem;"
        tls = ["--origin-ca", f"{tmp_path}/certificate.pem"]
    port = int(listen.rpartition(":")[2])
    origin = Nginx(tmp_path / "origin", "behind a proxy", f"{listen} ssl" if tls else listen, more)
    (origin.www / "big").write_bytes(noise(5_000_003))
    proxy = Tinyproxy(tmp_path / "proxy")
    host = fabric.publish(f"proxied-{scheme}", f"{scheme}://{listen}", "--origin-proxy", proxy.url, *tls)
    assert get_all(fabric, host, ["/"] * 20) == [(200, b"behind a proxy")] * 20
    assert get(fabric, host, "/big") == (200, noise(5_000_003))
    # Connections are kept, by each worker of the agent.
    assert 1 <= proxy.ways_to(port) < 20
    proxy.process.stop()
    eventually("it is missed", lambda: get(fabric, host)[0] == 502)
    assert reason(fabric, host) == "origin_proxy"
    origin.kill()


@pytest.mark.parametrize("more", ["BasicAuth who secret", "ConnectPort 1"])
def test_what_tinyproxy_refuses_is_told(fabric, tmp_path, more: str):
    proxy = Tinyproxy(tmp_path / "proxy", more)
    name = more.split()[0].lower()
    host = fabric.publish(f"refused-{name}", f"http://127.0.0.1:{free_port()}", "--origin-proxy", proxy.url)
    assert reason(fabric, host) == "origin_proxy"
    proxy.process.stop()


CHECK = 'health_check = { path = "/", interval = "1s", timeout = "1s", unhealthy_after = 2, healthy_after = 2 }'


@pytest.mark.parametrize("check", ["", CHECK], ids=["unchecked", "checked"])
def test_origins_share_by_weight_and_one_may_go_and_come_back(fabric, tmp_path, check: str):
    app = "shares-checked" if check else "shares"
    host = f"{app}.{DOMAIN}"
    heavy, light = (Nginx(tmp_path / name, name, f"127.0.0.1:{free_port()}") for name in ("heavy", "light"))
    origins = f'{{ url = "http://{heavy.listen}", weight = 3 }}, {{ url = "http://{light.listen}" }}'
    file = tmp_path / "apps.toml"
    file.write_text(f'[app.{app}]\nhosts = ["{host}"]\naccess = "passthrough"\norigins = [{origins}]\n{check}\n')
    fabric.run("apply", "-f", str(file))
    eventually(f"{host} is served", lambda: get(fabric, host)[0] == 200)

    def shares(requests: int) -> collections.Counter:
        """Who answered how often, of four users at once; nothing but 200 is expected."""
        with concurrent.futures.ThreadPoolExecutor(4) as threads:
            each = [["/"] * (requests // 4)] * 4
            answers = [answer for told in threads.map(lambda paths: get_all(fabric, host, paths), each) for answer in told]
        assert {status for status, _ in answers} == {200}
        return collections.Counter(body.decode() for _, body in answers)

    def heavy_share(requests: int) -> float:
        return shares(requests)["heavy"] / requests

    assert 0.70 <= heavy_share(400) <= 0.80
    with concurrent.futures.ThreadPoolExecutor(1) as threads:
        during = threads.submit(shares, 2_000)
        time.sleep(0.2)
        assert not during.done()
        heavy.kill()
        during.result()
    assert shares(100) == {"light": 100}
    heavy.start()
    eventually("it gets its share again", lambda: 0.65 <= heavy_share(100) <= 0.85)
    light.kill()
    assert shares(100) == {"heavy": 100}
    heavy.kill()
