from __future__ import annotations

import pytest

from lit_cnn.serve.limits import RateLimit, host_of, is_loopback


def test_a_rate_limit_lets_so_many_through_in_the_long_run_and_twice_as_many_at_once():
    now = 0.0
    limit = RateLimit(5.0, clock=lambda: now)
    assert [limit.take("a") == 0 for _ in range(12)] == [True] * 10 + [False] * 2
    assert limit.take("a") == pytest.approx(0.2)
    assert limit.take("b") == 0  # another client
    allowed = 0
    for step in range(1000):
        now = step / 100
        allowed += limit.take("a") == 0
    assert allowed == pytest.approx(50, abs=1)


def test_a_household_of_ipv6_is_one_client_and_few_clients_are_remembered():
    now = 0.0
    limit = RateLimit(1.0, burst=1, clock=lambda: now)
    assert limit.take("2001:db8::1") == 0
    assert limit.take("2001:db8::2%eth0") > 0
    assert limit.take("2001:db8:0:1::1") == 0
    assert limit.take("::ffff:10.9.9.8") == limit.take("::ffff:10.9.9.9") == 0  # of IPv4, on a socket for both
    assert limit.take("10.9.9.9") > 0
    for number in range(20_000):
        limit.take(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}")
    assert len(limit._left) == 10_000


def test_no_rate_is_no_limit():
    limit = RateLimit(0.0)
    assert all(limit.take("a") == 0 for _ in range(100))


@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("127.0.0.1", True), ("127.8.0.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("::", False),
        ("10.0.0.1", False), ("localhost.evil.example", False), ("", False), ("2130706433", False),
    ],
)  # fmt: skip
def test_loopback_hosts_are_known(host, local):
    assert is_loopback(host) == local


def test_the_port_of_a_host_is_left_out():
    assert [host_of(text) for text in ("a:80", "a", "[::1]:80", "[::1]")] == ["a", "a", "[::1]", "[::1]"]
