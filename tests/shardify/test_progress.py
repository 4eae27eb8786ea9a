"""Progress of long work: a live line with the time left on a terminal, lines in a log, nothing for brief work."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import redirect_stderr

import click
import pytest

import shardify.progress
from shardify.command import CommandGroup
from shardify.progress import Countdown, closed_lines, counting, format_seconds, say, share_terminal


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True

    def screen(self) -> str:
        """What the last line shows."""
        return self.getvalue().split("\n")[-1].split("\r")[-1].strip()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, as its only element."""
    now = [100.0]
    monkeypatch.setattr("shardify.progress.time.monotonic", lambda: now[0])
    return now


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """A terminal on which also brief work is shown."""
    monkeypatch.setattr("shardify.progress.BRIEF_SECONDS", 0.0)
    return Terminal()


def in_seconds(clock: list[float], number: int) -> Iterator[int]:
    """Numbers; each takes a second to make."""
    for value in range(number):
        clock[0] += 1.0
        yield value


def test_a_log_gets_a_line_with_the_time_left_every_ten_seconds(
    clock: list[float], capfd: pytest.CaptureFixture[str]
) -> None:
    assert list(counting(in_seconds(clock, 25), unit="shard", doing="looking", total=2500)) == list(range(25))
    assert capfd.readouterr().err.splitlines() == [
        "looking: 10 of 2,500 shards, 41:30 left",
        "looking: 20 of 2,500 shards, 41:20 left",
    ]


def test_without_a_total_only_the_number_is_told(clock: list[float], capfd: pytest.CaptureFixture[str]) -> None:
    assert len(list(counting(in_seconds(clock, 11), unit="file"))) == 11
    assert capfd.readouterr().err == "10 files\n"


def test_the_length_is_the_total(terminal: Terminal) -> None:
    with redirect_stderr(terminal):
        shown = [terminal.screen() for _ in counting("abcd", unit="video", doing="reading")]
    assert "reading" in shown[0]
    assert "0/4" in shown[0]
    assert terminal.screen() == ""  # it goes away at the end


def test_brief_work_shows_nothing(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shardify.progress.BRIEF_SECONDS", 60.0)
    with redirect_stderr(terminal):
        assert list(counting(range(100), unit="video")) == list(range(100))
    assert terminal.getvalue() == ""


def test_only_the_first_process_of_a_machine_shows_it(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "1")
    with redirect_stderr(terminal):
        assert list(counting(range(3), unit="video")) == [0, 1, 2]
    assert terminal.getvalue() == ""


def test_an_item_is_free_when_the_next_one_is_asked_for() -> None:
    class Large:
        def __del__(self) -> None:
            gone.append(True)

    gone: list[bool] = []

    def make() -> Iterator[Large]:
        for number in range(3):
            assert len(gone) == number
            yield Large()

    for item in counting(make(), unit="batch", total=3):
        del item
    assert len(gone) == 3


def test_a_line_of_words_stands_above_the_live_line(terminal: Terminal) -> None:
    with redirect_stderr(terminal), Countdown(2, unit="video") as counter:
        counter.advance()
        say("a video was left out")
        assert "a video was left out\n" in terminal.getvalue()
        assert "/2" in terminal.screen()


def test_a_message_after_an_interrupt_begins_on_a_new_line(terminal: Terminal) -> None:
    items = counting(range(5), unit="video")  # as a caller holds it when Ctrl-C comes
    with redirect_stderr(terminal), closed_lines():
        next(items)
        assert "0/5" in terminal.screen()
    assert terminal.screen() == ""


def test_an_interrupted_command_says_so_on_a_line_of_its_own(terminal: Terminal) -> None:
    @click.group(cls=CommandGroup)
    def main() -> None: ...

    @main.command("wait")
    def wait_command() -> None:
        for _ in counting(range(5), unit="video"):
            raise KeyboardInterrupt

    with redirect_stderr(terminal), pytest.raises(SystemExit) as end:
        main(["wait"])
    assert end.value.code == 130
    *_, before, message, nothing = terminal.getvalue().replace("\r", "\n").split("\n")
    assert (before.strip(), message, nothing) == ("", "interrupted; the same command goes on from what is saved", "")


def test_processes_that_share_a_terminal_write_lines(
    terminal: Terminal, clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shardify.progress, "_has_terminal", True)
    share_terminal()
    with redirect_stderr(terminal):
        list(counting(in_seconds(clock, 10), unit="video", total=20))
    assert terminal.getvalue() == "10 of 20 videos, 0:10 left\n"


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.2, "0:00"), (42.4, "0:42"), (725, "12:05"), (3600, "1:00:00"), (11235, "3:07:15")]
)
def test_time_spans(seconds: float, text: str) -> None:
    assert format_seconds(seconds) == text
