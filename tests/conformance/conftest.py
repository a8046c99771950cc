"""What all tests share: one fabric, and one origin that records."""

import os
import pathlib
import tempfile

import pytest

from apache import Apache
from fabric import Fabric
from recorder import Recorder

# Undocumented differences of each case, by version of HTTP.
DIFFERENCES = pytest.StashKey[dict[str, list[int]]]()


@pytest.fixture(scope="session")
def fabric():
    started = Fabric(os.environ["ADIT"])
    yield started
    started.stop()


@pytest.fixture(scope="session")
def recorder():
    started = Recorder()
    yield started
    started.stop()


@pytest.fixture(scope="session")
def apache():
    # Not pytest's folder, which Apache's own user may not enter.
    with tempfile.TemporaryDirectory(prefix="adit-apache-") as folder:
        started = Apache(pathlib.Path(folder))
        yield started
        started.process.stop()


def pytest_terminal_summary(terminalreporter, config):
    """The report of the differential test."""
    for version, found in config.stash.get(DIFFERENCES, {}).items():
        terminalreporter.write_line(f"differential, {version}: {len(found)} cases, {sum(found)} undocumented differences")
