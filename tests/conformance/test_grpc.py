"""gRPC by grpcio on both sides: every kind of call works through the fabric as it does directly."""

import concurrent.futures
import threading
import time

import grpc
import pytest

import certificate
from cases import noise

SERVICE = "adit.Test"
# Longest that anything here takes.
CALL_S = 20
# grpcio's own limit is 4 MiB.
LARGE_BYTES = 12_000_007
OPTIONS = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


class Service:
    """Calls of every kind; messages are bytes."""

    def __init__(self):
        self.cancelled = threading.Event()

    def echo(self, message: bytes, context) -> bytes:
        context.send_initial_metadata([("x-initial", "1"), ("x-bytes-bin", b"\x00\xff")])
        context.set_trailing_metadata([("x-trailing", dict(context.invocation_metadata()).get("x-asked", "")), ("x-end-bin", b"\xfe")])
        return message

    def join(self, messages, context) -> bytes:
        return b"+".join(messages)

    def count(self, message: bytes, context):
        for at in range(int(message)):
            yield b"%d" % at

    def talk(self, messages, context):
        for message in messages:
            yield b"heard " + message

    def fail(self, message: bytes, context):
        context.set_trailing_metadata([("grpc-status-details-bin", b"\x08\x05\x12\x04gone"), ("x-why", "asked to")])
        context.abort(grpc.StatusCode.NOT_FOUND, "no such thing: ä")

    def fail_late(self, message: bytes, context):
        yield b"one"
        context.abort(grpc.StatusCode.DATA_LOSS, "after one")

    def hang(self, message: bytes, context):
        context.add_callback(self.cancelled.set)
        yield b"begun"
        self.cancelled.wait(CALL_S)

    def remaining(self, message: bytes, context) -> bytes:
        return b"%d" % context.time_remaining()


def handlers(service: Service):
    calls = {
        "echo": grpc.unary_unary_rpc_method_handler,
        "join": grpc.stream_unary_rpc_method_handler,
        "count": grpc.unary_stream_rpc_method_handler,
        "talk": grpc.stream_stream_rpc_method_handler,
        "fail": grpc.unary_unary_rpc_method_handler,
        "fail_late": grpc.unary_stream_rpc_method_handler,
        "hang": grpc.unary_stream_rpc_method_handler,
        "remaining": grpc.unary_unary_rpc_method_handler,
    }
    return grpc.method_handlers_generic_handler(SERVICE, {name: kind(getattr(service, name)) for name, kind in calls.items()})


@pytest.fixture(scope="module")
def service():
    return Service()


@pytest.fixture(scope="module")
def ports(service) -> tuple[int, int]:
    """Where the server listens in the clear, and with TLS."""
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(64), options=OPTIONS)
    server.add_generic_rpc_handlers([handlers(service)])
    plain = server.add_insecure_port("127.0.0.1:0")
    secure = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([certificate.self_signed("127.0.0.1")]))
    server.start()
    yield plain, secure
    server.stop(None)


@pytest.fixture(scope="module", params=["directly", "through the fabric to TLS", "through the fabric to h2c"])
def channel(request, fabric, ports):
    plain, secure = ports
    if request.param == "directly":
        opened = grpc.insecure_channel(f"127.0.0.1:{plain}", OPTIONS)
    else:
        if request.param.endswith("TLS"):
            host = fabric.publish("grpc-tls", f"https://127.0.0.1:{secure}", "--origin-insecure")
        else:
            host = fabric.publish("grpc-h2c", f"http://127.0.0.1:{plain}", "--origin-protocol", "http2")
        name = [("grpc.ssl_target_name_override", host), ("grpc.default_authority", host)]
        with open(fabric.ca, "rb") as ca:
            credentials = grpc.ssl_channel_credentials(ca.read())
        opened = grpc.secure_channel(f"127.0.0.1:{fabric.port}", credentials, OPTIONS + name)
    yield opened
    opened.close()


def path(call: str) -> str:
    return f"/{SERVICE}/{call}"


def test_a_unary_call_with_metadata_at_both_ends(channel):
    said, call = channel.unary_unary(path("echo")).with_call(b"hello", CALL_S, metadata=[("x-asked", "yes")])
    assert said == b"hello"
    assert ("x-bytes-bin", b"\x00\xff") in call.initial_metadata() and ("x-initial", "1") in call.initial_metadata()
    assert ("x-trailing", "yes") in call.trailing_metadata() and ("x-end-bin", b"\xfe") in call.trailing_metadata()


@pytest.mark.parametrize("length", [0, 1, 16_383, 70_000, LARGE_BYTES])
def test_messages_of_any_size(channel, length: int):
    assert channel.unary_unary(path("echo"))(noise(length), CALL_S) == noise(length)


def test_a_client_streams(channel):
    assert channel.stream_unary(path("join"))(iter([b"a", b"b", b"", b"c"]), CALL_S) == b"a+b++c"


def test_a_server_streams(channel):
    assert list(channel.unary_stream(path("count"))(b"500", CALL_S)) == [b"%d" % at for at in range(500)]


def test_a_stream_may_be_empty_both_ways(channel):
    assert channel.stream_unary(path("join"))(iter([]), CALL_S) == b""
    assert list(channel.unary_stream(path("count"))(b"0", CALL_S)) == []


def test_both_stream_and_take_turns(channel):
    heard = []

    def messages():
        # Each message waits for the answer to the one before: nothing may be held back.
        for at in range(20):
            deadline = time.monotonic() + CALL_S
            while len(heard) < at and time.monotonic() < deadline:
                time.sleep(0.001)
            yield b"%d" % at

    for answer in channel.stream_stream(path("talk"))(messages(), CALL_S):
        heard.append(answer)
    assert heard == [b"heard %d" % at for at in range(20)]


def test_an_error_comes_with_its_details(channel):
    with pytest.raises(grpc.RpcError) as failure:
        channel.unary_unary(path("fail"))(b"", CALL_S)
    assert (failure.value.code(), failure.value.details()) == (grpc.StatusCode.NOT_FOUND, "no such thing: ä")
    said = dict(failure.value.trailing_metadata())
    assert said["grpc-status-details-bin"] == b"\x08\x05\x12\x04gone" and said["x-why"] == "asked to"


def test_an_error_comes_after_messages(channel):
    answers = channel.unary_stream(path("fail_late"))(b"", CALL_S)
    assert next(answers) == b"one"
    with pytest.raises(grpc.RpcError) as failure:
        next(answers)
    assert (failure.value.code(), failure.value.details()) == (grpc.StatusCode.DATA_LOSS, "after one")


def test_an_unknown_method_is_said_to_be_so(channel):
    with pytest.raises(grpc.RpcError) as failure:
        channel.unary_unary(path("nothing"))(b"", CALL_S)
    assert failure.value.code() == grpc.StatusCode.UNIMPLEMENTED


def test_a_client_that_cancels_ends_the_call_at_the_server(channel, service):
    service.cancelled.clear()
    answers = channel.unary_stream(path("hang"))(b"", CALL_S)
    assert next(answers) == b"begun"
    assert not service.cancelled.is_set()
    answers.cancel()
    assert service.cancelled.wait(CALL_S / 2)


def test_a_deadline_is_told_to_the_server_and_ends_the_call(channel, service):
    assert 5 < int(channel.unary_unary(path("remaining"))(b"", 10)) <= 10
    service.cancelled.clear()
    answers = channel.unary_stream(path("hang"))(b"", 1)
    assert next(answers) == b"begun"
    with pytest.raises(grpc.RpcError) as failure:
        next(answers)
    assert failure.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    assert service.cancelled.wait(CALL_S / 2)


def test_a_server_that_cancels_is_heard(channel, service):
    service.cancelled.clear()
    answers = channel.unary_stream(path("hang"))(b"", CALL_S)
    assert next(answers) == b"begun"
    service.cancelled.set()
    assert list(answers) == []


def test_many_calls_at_once(channel):
    calls = [channel.unary_unary(path("echo")).future(noise(2_000 + at), CALL_S) for at in range(500)]
    assert all(call.result() == noise(2_000 + at) for at, call in enumerate(calls))
