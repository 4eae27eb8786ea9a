"""Clouds that do not answer, for tests of errors and retries."""

from __future__ import annotations

import pytest

import shardify.storage.retrying
from shardify.errors import UserFacingError
from shardify.storage import open_store
from shardify.storage.object_store import ping_once
from shardify.storage.retrying import RETRY_VARIABLE
from shardify.storage.traffic import take

OWN_VARIABLES = {"s3": "AWS_", "gs": "GOOGLE_", "az": "AZURE_"}
NOBODY = "http://127.0.0.1:1"
"""Refuses every connection."""


def set_clouds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials of every cloud, at an address where nobody answers."""
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT", "AZURE_STORAGE_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    values = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "us-east-1"}
    values |= {"GOOGLE_SKIP_SIGNATURE": "true", "AZURE_STORAGE_ACCOUNT_NAME": "me", "AZURE_SKIP_SIGNATURE": "true"}
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    for kind in ("HTTP", "HTTPS", "ALL"):
        monkeypatch.delenv(f"{kind}_PROXY", raising=False)
        monkeypatch.delenv(f"{kind}_PROXY".lower(), raising=False)
    point_to(NOBODY, monkeypatch)
    monkeypatch.setenv(RETRY_VARIABLE, "20")
    shorten_pauses(monkeypatch)
    ping_once.cache_clear()
    monkeypatch.setattr(shardify.storage.retrying, "_noticed", float("-inf"))
    take()


def shorten_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retry failed requests almost at once."""
    monkeypatch.setattr(shardify.storage.retrying, "_pause", lambda _: 0.02)


def point_to(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make it the server of every cloud."""
    for name in ("AWS_ENDPOINT_URL", "GOOGLE_BASE_URL", "AZURE_ENDPOINT"):
        monkeypatch.setenv(name, endpoint)


def message_of(url: str, name: str = "a") -> tuple[type[UserFacingError], str]:
    """What is raised where an object is read, and its one line."""
    with pytest.raises(UserFacingError) as caught:
        open_store(url).read(name)
    assert "\n" not in str(caught.value)
    return type(caught.value), str(caught.value)
