"""What holds for every test: a known environment, loopback only, nothing left out quietly.

Three parts. The environment is set before any product module is imported. The guard makes a
connection that would leave this machine fail the test that tried it. The ledger runs where pytest
reports (with xdist: in the controller, which sees only reports) and says after pytest's own last
line what ran, what was left out for want of a program, and how to replay a failure.
"""

from __future__ import annotations

import ipaddress
import os
import shutil
import socket
from collections import Counter
from collections.abc import Generator, Mapping
from typing import Any

import pytest
from hypothesis import settings

IN_CI = os.environ.get("CI", "").lower() not in ("", "0", "false")

# --- environment ------------------------------------------------------------------------------

for _name in list(os.environ):
    if _name.startswith(("COMEBACK_", "AWS_")):
        del os.environ[_name]
os.environ |= {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_REGION": "eu-west-1",
    "AWS_DEFAULT_REGION": "eu-west-1",
    "AWS_EC2_METADATA_DISABLED": "true",
    # A developer's profile must not change what a test sees.
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
}
# A proxy is for fetching peers, never for talking to them.
for _name in ("NO_PROXY", "no_proxy"):
    os.environ[_name] = ",".join(filter(None, [os.environ.get(_name), "127.0.0.1,localhost,::1"]))

# Shared machines are slow now and then, so no example has a deadline; pytest-timeout ends a test.
settings.register_profile("local", deadline=None, print_blob=True)
settings.register_profile("ci", deadline=None, print_blob=True, derandomize=True)
settings.load_profile("ci" if IN_CI else "local")

# --- guard ------------------------------------------------------------------------------------


def _stays_here(host: object) -> bool:
    """True for loopback and for the ways of saying "this machine"; a name would need DNS."""
    if host is None:
        return True
    text = host.decode() if isinstance(host, bytes) else str(host)
    if text in ("", "localhost"):
        return True
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


def _refuse(host: object) -> None:
    if not _stays_here(host):
        # No Exception, so that no retry in the product can take it for a network error.
        pytest.fail(f"the test tried to reach {host!r}; only loopback is allowed in tests")


@pytest.fixture(scope="session", autouse=True)
def loopback_only() -> Generator[None]:
    """Fails whoever connects, sends or resolves beyond this machine. asyncio's selector loops
    connect through `socket.connect` and resolve through `socket.getaddrinfo`, so they are covered.
    """
    connect, connect_ex, sendto = (
        socket.socket.connect,
        socket.socket.connect_ex,
        socket.socket.sendto,
    )
    getaddrinfo = socket.getaddrinfo

    def check(one: socket.socket, address: Any) -> None:
        if one.family in (socket.AF_INET, socket.AF_INET6):
            _refuse(address[0])

    def guarded_connect(self: socket.socket, address: Any) -> None:
        check(self, address)
        connect(self, address)

    def guarded_connect_ex(self: socket.socket, address: Any) -> int:
        check(self, address)
        return connect_ex(self, address)

    def guarded_sendto(self: socket.socket, data: Any, *flags_and_address: Any) -> int:
        check(self, flags_and_address[-1])
        return sendto(self, data, *flags_and_address)

    def guarded_getaddrinfo(host: Any, *rest: Any, **named: Any) -> Any:
        _refuse(host)
        return getaddrinfo(host, *rest, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", guarded_connect)
        patch.setattr(socket.socket, "connect_ex", guarded_connect_ex)
        patch.setattr(socket.socket, "sendto", guarded_sendto)
        patch.setattr(socket, "getaddrinfo", guarded_getaddrinfo)
        yield


# --- peers and the ledger ---------------------------------------------------------------------

PEER_PROGRAMS: Mapping[str, tuple[str, ...]] = {
    "kinesis-local": ("node", "npm"),
    "kinesalite": ("node", "npm"),
    "moto": (),
}
"""An independent peer, as `@pytest.mark.peer` names it, to the programs it takes to have it."""

LEFT_OUT = "left out"


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Leaves a test out when a program its peer needs is missing; in CI that is a failure."""
    for mark in item.iter_markers("peer"):
        (peer,) = mark.args
        if peer not in PEER_PROGRAMS:
            known = ", ".join(sorted(PEER_PROGRAMS))
            pytest.fail(f"peer {peer!r} is not in PEER_PROGRAMS of tests/conftest.py ({known} are)")
        missing = [program for program in PEER_PROGRAMS[peer] if shutil.which(program) is None]
        if missing:
            item.user_properties.append((LEFT_OUT, f"{peer}: install {' and '.join(missing)}"))
            reason = f"{peer} needs {' and '.join(missing)}, not found on PATH"
            if IN_CI:
                pytest.fail(f"{reason}; CI leaves nothing out", pytrace=False)
            pytest.skip(reason)


class Ledger:
    """Counts reports by area (the folder under tests/) and by what was left out."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._ran: Counter[str] = Counter()
        self._left_out: Counter[str] = Counter()
        self._failed: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        area = report.nodeid.removeprefix("tests/").partition("/")[0]
        if report.when == "call" and not report.skipped:
            self._ran[area] += 1
        if report.when == "setup":
            self._left_out.update(str(v) for key, v in report.user_properties if key == LEFT_OUT)
        if report.failed:
            self._failed.append(report.nodeid)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(self) -> Generator[None]:
        """Outermost, so that what is written after `yield` stands below pytest's own last line."""
        yield
        out = self._config.get_terminal_writer()
        if self._ran:
            areas = ", ".join(f"{area} {count}" for area, count in sorted(self._ran.items()))
            out.line(f"ran: {areas}")
        if self._failed:
            seed = self._config.getoption("randomly_seed", None)
            out.line(f"replay: .venv/bin/pytest --randomly-seed={seed} '{self._failed[0]}'")
        if self._left_out:
            out.line("")
            out.line("LEFT OUT (a failure where CI=true):")
            for what, count in sorted(self._left_out.items()):
                out.line(f"  {what}  ({count} tests)")


def pytest_configure(config: pytest.Config) -> None:
    """The ledger is kept once, where the reports of all workers come together."""
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Ledger(config), "comeback-ledger")
