"""Every request of the corpus goes to a recording origin directly and through the fabric: both ends must see the same.

What may differ is listed here and, for operators, in docs/http.md. The direct request is always HTTP/1.1, which the origin
speaks; through the fabric it is HTTP/1.1, HTTP/2 and HTTP/3.
"""

import asyncio
import dataclasses

import pytest

import users
from cases import ALL, Case, corpus
from conftest import DIFFERENCES
from exchange import Answer, Ask, Body, Fields, Got, Seen, first

# Made by the edge, whatever the user sent.
ADDED_FOR_THE_ORIGIN = {
    b"x-forwarded-for",
    b"x-forwarded-host",
    b"x-forwarded-port",
    b"x-forwarded-proto",
    b"forwarded",
    b"x-request-id",
}
# Added to an answer that lacks it (RFC 9110, section 6.6.1), and to show users over TCP the way to HTTP/3.
OF_THE_EDGE = {b"date", b"alt-svc"}
# Of one connection, not of the message (RFC 9110, section 7.6.1).
HOP_BY_HOP = {b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade", b"te", b"trailer"}
# Their place among the fields is the sender's own affair.
OF_FRAMING = {b"content-length", b"expect"}


@pytest.fixture(scope="module")
def host(fabric, recorder) -> str:
    return fabric.publish("recorded", f"http://127.0.0.1:{recorder.port}")


EXCHANGES = [
    pytest.param(case, version, id=f"{case.name}-{version}") for case in corpus() for version in ALL if version in case.over
]


@pytest.mark.parametrize(("case", "version"), EXCHANGES)
def test_the_fabric_changes_only_what_it_says(fabric, recorder, host, case: Case, version: str, pytestconfig):
    straight = dataclasses.replace(case, ask=case.direct or case.ask)
    # Through the fabric the origin is asked by its own name, so directly too.
    own = f"127.0.0.1:{recorder.port}"
    direct = exchange(recorder, straight, "direct", lambda ask: users.over_h1(ask, own, recorder.port, None))
    through = exchange(recorder, case, version, lambda ask: ask_fabric(fabric, ask, host, version))
    found = differences(case, version, parts(*direct), parts(*through))
    count(pytestconfig, version, len(found))
    assert not found, "\n".join(found)


@pytest.mark.parametrize("version", ALL)
@pytest.mark.parametrize("target", [b'/?"', b"/?<", b"/?>", b"/a b"], ids=["quote", "less", "greater", "space"])
def test_a_target_with_bytes_that_no_url_has_is_refused(fabric, host, target: bytes, version: str):
    got = asyncio.run(ask_fabric(fabric, Ask(target=target), host, version))
    # Later versions reset the stream.
    assert got.status == (400 if version == "h1" else 0)


@pytest.mark.parametrize("version", ALL)
def test_options_of_the_whole_server_is_refused_for_it_names_no_app(fabric, host, version: str):
    got = asyncio.run(ask_fabric(fabric, Ask(b"OPTIONS", b"*"), host, version))
    assert got.status == 400


@pytest.mark.parametrize("version", ALL)
def test_users_hear_of_http3_from_the_edge_alone(fabric, recorder, host, version: str):
    case = Case("alt-svc", answer=Answer(fields=[(b"Alt-Svc", b'h2="elsewhere.test:443"')]))
    _, got = exchange(recorder, case, version, lambda ask: ask_fabric(fabric, ask, host, version))
    said = [value.split(b";")[0] for name, value in got.fields if name.lower() == b"alt-svc"]
    assert said == ([] if version == "h3" else [b'h3=":%d"' % fabric.port])


def ask_fabric(fabric, ask, host: str, version: str):
    match version:
        case "h1":
            return users.over_h1(ask, host, fabric.port, fabric.tls("http/1.1"))
        case "h2":
            return users.over_h2(ask, host, fabric.port, fabric.tls("h2"))
        case "h3":
            return users.over_h3(ask, host, fabric.port, fabric.ca)


def exchange(recorder, case: Case, way: str, send) -> tuple[Seen, Got]:
    """One exchange, and what each end saw."""
    name = f"{case.name}/{way}"
    recorder.expect(name, case.answer)
    ask = dataclasses.replace(case.ask, fields=[*case.ask.fields, (b"X-Case", name.encode())])
    got = asyncio.run(send(ask))
    seen = recorder.take(name)
    assert seen, f"{way}: nothing arrived at the origin, the user got {got}"
    return seen, got


def parts(seen: Seen, got: Got) -> dict[str, object]:
    """An exchange as it is compared."""
    return {
        "origin's method": seen.method,
        "origin's target": seen.target,
        "origin's fields": values(seen.fields, ADDED_FOR_THE_ORIGIN | {b"x-case"}),
        "origin's order of fields": order(seen.fields, ADDED_FOR_THE_ORIGIN | {b"x-case"}),
        "origin's body": seen.body,
        "origin's body is whole": seen.whole,
        "origin's trailers": values(seen.trailers, set()),
        "user's status": got.status,
        "user's reason phrase": got.reason,
        "user's fields": values(got.fields, OF_THE_EDGE),
        "user's order of fields": order(got.fields, OF_THE_EDGE),
        "user's body": got.body,
        "user's body is whole": got.whole,
        "user's trailers": values(got.trailers, set()),
        "user's 100": any(status == 100 for status, _ in got.interim),
    }


def values(fields: Fields, own: set[bytes]) -> dict[bytes, list[bytes]]:
    """All values of each field, in their order, less those that are not the message's."""
    found: dict[bytes, list[bytes]] = {}
    for name, value in messages_own(fields, own):
        found.setdefault(name, []).append(value)
    return found


def order(fields: Fields, own: set[bytes]) -> list[bytes]:
    """The names, as they first come: fields of one name may be brought together."""
    return list(dict.fromkeys(name for name, _ in messages_own(fields, own | OF_FRAMING)))


def messages_own(fields: Fields, own: set[bytes]) -> Fields:
    listed = {name.strip().lower() for name in (first(fields, b"connection") or b"").split(b",")}
    return [(name.lower(), value) for name, value in fields if name.lower() not in own | HOP_BY_HOP | listed]


def differences(case: Case, version: str, direct: dict[str, object], through: dict[str, object]) -> list[str]:
    """What differs, less what may."""
    return [
        f"{part}: directly {was!r}, through the fabric {through[part]!r}"
        for part, was in direct.items()
        if was != through[part] and not may_differ(case, version, part, was, through[part])
    ]


def may_differ(case: Case, version: str, part: str, was, now) -> bool:
    """What docs/http.md says of single exchanges."""
    side, _, what = part.partition(" ")
    if what == "reason phrase" and (version != "h1" or was == b""):
        return True
    if what == "100" and version == "h2":
        return True
    if case.answer.early and side == "origin's":
        # An answer that ends stops the upload.
        return what == "body is whole" or what == "body" and starts(was, now)
    if case.answer.cut and side == "user's":
        # The last bytes before a break may be lost, and with them a whole short answer.
        return what in ("status", "reason phrase", "fields", "order of fields") and now in (0, None, {}, []) or (
            what == "body" and starts(was, now)
        )
    # hyper's server leaves out the length of a body that is not sent.
    return version == "h1" and case.answer.status == 304 and what == "fields" and now == without(was, b"content-length")


def starts(whole: Body, part: Body) -> bool:
    return whole.data.startswith(part.data)


def without(fields: dict, name: bytes) -> dict:
    return {known: found for known, found in fields.items() if known != name}


def count(config, version: str, found: int) -> None:
    config.stash.setdefault(DIFFERENCES, {}).setdefault(version, []).append(found)
