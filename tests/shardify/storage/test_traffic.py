"""Counters from all threads add up."""

from __future__ import annotations

import threading
from dataclasses import fields

from shardify.storage.traffic import Traffic, count, take, traffic


def test_counters_can_be_added_and_subtracted() -> None:
    one = Traffic(**{field.name: i for i, field in enumerate(fields(Traffic), start=1)})
    two = Traffic(**{field.name: 10 * i for i, field in enumerate(fields(Traffic), start=1)})
    assert one + two == Traffic(**{field.name: 11 * i for i, field in enumerate(fields(Traffic), start=1)})
    assert one + two - two == one
    assert (bool(one), bool(one - one)) == (True, False)
    assert all(Traffic(**{field.name: 1}) for field in fields(Traffic))


def test_threads_lose_nothing() -> None:
    take()
    num_threads, times = 4, 2000
    ready = threading.Barrier(num_threads)

    def count_often() -> None:
        ready.wait()
        for _ in range(times):
            count(Traffic(requests=1, bytes_read=2))

    threads = [threading.Thread(target=count_often) for _ in range(num_threads)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert traffic() == Traffic(requests=8000, bytes_read=16_000)
    assert take() == Traffic(requests=8000, bytes_read=16_000)
    assert not take()


def test_taking_while_counting_loses_nothing() -> None:
    take()
    done = threading.Event()
    taken: list[Traffic] = []

    def take_often() -> None:
        while not done.is_set():
            taken.append(take())

    thread = threading.Thread(target=take_often)
    thread.start()
    for _ in range(3000):
        count(Traffic(retries=1))
    done.set()
    thread.join()
    assert sum(part.retries for part in taken) + take().retries == 3000
