"""Servers that take their time, or never come to the point."""

from __future__ import annotations

import http.client
import io

import pytest

from shared.cloud import web


class Endless(io.RawIOBase):
    """Bytes that go on for ever, so many at once."""

    def __init__(self, text, at_once, tick):
        self._text, self._at_once, self._tick, self._at = text, at_once, tick, 0

    def readable(self):
        return True

    def readinto(self, buffer):
        self._tick()
        count = min(len(buffer), self._at_once)
        for place in range(count):
            buffer[place] = self._text[(self._at + place) % len(self._text)]
        self._at += count
        return count


class Socket:
    """As much of a socket as is needed."""

    def __init__(self, text, at_once=4096, tick=lambda: None):
        self.limits = []
        self._given = text, at_once, tick

    def makefile(self, _mode, buffering=-1):
        raw = Endless(*self._given)
        return raw if buffering == 0 else io.BufferedReader(raw)

    def settimeout(self, seconds):
        self.limits.append(seconds)


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now

    def tick(self):
        self.now += 20


def test_a_server_that_sends_a_byte_now_and_then_is_given_up():
    """Though each comes within the time that a socket waits for it."""
    clock = Clock()
    socket = Socket(b"x", 1, clock.tick)
    incoming = web._Incoming(socket, clock)
    incoming.begin_body()
    with pytest.raises(TimeoutError, match="slower than 16 KiB in a second"):
        io.BufferedReader(incoming).read(1 << 20)
    assert clock.now < 100
    assert max(socket.limits) <= 30


def test_a_server_that_sends_much_now_and_then_is_not():
    clock = Clock()
    incoming = web._Incoming(Socket(b"x", 1 << 19, clock.tick), clock)
    incoming.begin_body()
    assert len(io.BufferedReader(incoming).read(4 << 20)) == 4 << 20


def test_a_server_that_never_comes_to_its_answer_is_given_up():
    answer = web._Answer(Socket(b"HTTP/1.1 100 Continue\r\n\r\n"), method="GET")
    with pytest.raises(http.client.HTTPException, match="head has no end"):
        answer.begin()
    answer.close()
