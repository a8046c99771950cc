"""litmus, the test suite of WebDAV servers, finds in Apache's mod_dav through the fabric what it finds directly."""

import re
import subprocess

import pytest

SUITES = ["basic", "copymove", "props", "locks", "http"]
# Such as "12. notowner_modify....... FAIL (DELETE of locked resource should fail)".
TEST = re.compile(r"^ *\d+\. (\w+)\.*")
VERDICT = re.compile(r"^ *(?:\d+\. \w+)?\.* (pass|FAIL|SKIPPED)")
# What litmus finds with TLS, where it does not try `Expect: 100-continue` (our own cases do).
MAY_DIFFER = {"expect100": "SKIPPED"}


@pytest.mark.parametrize("suite", SUITES)
def test_litmus_finds_the_same_as_directly(fabric, apache, tmp_path, suite: str):
    # litmus looks names up by itself, and this is one that leads to loopback everywhere.
    fabric.publish("dav", apache.url, host="localhost")
    direct = litmus(f"http://localhost:{apache.port}/dav/", suite, tmp_path)
    through = litmus(f"https://localhost:{fabric.port}/dav/", suite, tmp_path)
    for test, found in through.items():
        assert found in (direct[test], MAY_DIFFER.get(test)), test
    assert through.keys() == direct.keys()
    assert direct and "FAIL" not in direct.values(), direct


def litmus(url: str, suite: str, folder) -> dict[str, str]:
    """What litmus says of each test of a suite."""
    environment = {"TESTS": suite, "PATH": "/usr/bin:/bin"}
    done = subprocess.run(["litmus", url], env=environment, cwd=folder, capture_output=True, text=True, timeout=60)
    found, test = {}, ""
    # It writes a line anew when there is a verdict, and a new line when there is a warning.
    for line in re.split(r"[\r\n]", done.stdout):
        if match := TEST.match(line):
            test = match[1]
        if match := VERDICT.match(line):
            found[test] = match[1]
    return found
