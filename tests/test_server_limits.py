from __future__ import annotations

import pytest

pytest.importorskip("starlette", reason="the extra `serve` is not installed")

from edgepose.server.limits import Buckets, Clients, Full, address_of


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_bucket_gives_its_burst_and_then_its_rate():
    clock = Clock()
    buckets = Buckets(2.0, 3, clock)
    assert [buckets.take("a") for _ in range(5)] == [True, True, True, False, False]
    assert buckets.take("b")
    clock.now = 1.0
    assert [buckets.take("a") for _ in range(3)] == [True, True, False]
    clock.now = 100.0
    assert buckets.left("a") == 3


def test_a_crowd_of_addresses_does_not_fill_the_memory():
    buckets = Buckets(0.0, 1, Clock())
    for number in range(Buckets.MOST + 10):
        buckets.take(str(number))
    assert len(buckets._levels) == Buckets.MOST
    assert not buckets.take(str(Buckets.MOST))


def test_clients_are_counted_by_kind_and_bounded_together():
    clients = Clients(2)
    with clients.enter("mjpeg"):
        with clients.enter("poses"):
            assert (clients.now["mjpeg"], clients.now["poses"]) == (1, 1)
            with pytest.raises(Full, match="2 clients"), clients.enter("poses"):
                pass
        with clients.enter("estimate"):
            pass
    assert clients.now.total() == 0


@pytest.mark.parametrize(
    ("client", "address"),
    [
        (("192.0.2.7", 5), "192.0.2.7"),
        (("::ffff:192.0.2.7", 5), "192.0.2.7"),
        (("2001:db8:1:2:3::4", 5), "2001:db8:1:2::/64"),
        (("fe80::1%eth0", 5), "fe80::/64"),
        (None, ""),
    ],
)
def test_who_counts_as_one(client, address):
    assert address_of(client) == address
