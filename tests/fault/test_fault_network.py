"""Nothing of ours talks to anybody."""

from pathlib import Path

import pytest

from tests.fault.network import NO_STRACE, calls_home, network
from tests.fault.recorded import can_record


@pytest.mark.skipif(not can_record(), reason=NO_STRACE)
def test_no_command_opens_a_socket_or_leaves_a_file_at_home(tmp_path: Path) -> None:
    commands, wrong = network(tmp_path, seconds=16)
    assert wrong == []
    assert commands >= 16


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("7 socket(AF_INET, SOCK_DGRAM|SOCK_CLOEXEC, IPPROTO_IP) = 4", True),
        ("7 socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE) = 4", True),
        ('7 connect(4, {sa_family=AF_INET, sin_port=htons(53), sin_addr=inet_addr("192.0.2.1")}, 16) = 0', True),
        ("7 socketpair(AF_UNIX, SOCK_STREAM, 0, [3, 4]) = 0", False),
        ("7 +++ exited with 0 +++", False),
    ],
)
def test_the_tool_tells_a_network_from_a_pipe(line: str, found: bool) -> None:
    assert bool(calls_home(line)) == found
