"""A misspelt URL is refused; it never becomes a folder of that name."""

from __future__ import annotations

from pathlib import Path

import pytest

from shardify.config import StrictModel, validate_config
from shardify.errors import UsageError
from shardify.storage import open_store
from shardify.storage.locations import LocalFolder, Location, WritableLocation, check_location, check_writable


class Locations(StrictModel):
    anywhere: Location
    written: WritableLocation
    here: LocalFolder


def test_schemes_may_be_in_upper_case() -> None:
    assert check_location("S3://Bucket/Path") == "s3://Bucket/Path"
    assert open_store("S3://Bucket/Path").location == "s3://Bucket/Path"


@pytest.mark.parametrize("location", ["data/x", "/data/x", "./s3:/bucket/x", "a:b", "s3", "C:x", "a b/c", "ä:/x"])
def test_folders_stay_as_they_are(location: str) -> None:
    assert check_location(location) == location


@pytest.mark.parametrize("create", [False, True])
@pytest.mark.parametrize(
    ("location", "words"),
    [
        ("s3:bucket/x", "write s3://bucket/x;"),
        ("s3//bucket/x", "write s3://bucket/x;"),
        ("file:data", "write the folder's path alone;"),
        ("S3:/bucket/x", "write s3://bucket/x; .*./S3:/bucket/x"),
        (Path("s3://bucket/x"), "write s3://bucket/x;"),
        ("https:/host/x", "write https://host/x;"),
        ("gcs:/bucket/x", "write gs://bucket/path;"),
        ("C:/videos", "use s3://bucket/path, gs://"),
        ("http:///x", "names no bucket"),
    ],
)
def test_a_misspelt_url_is_refused_and_makes_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, location: str | Path, words: str, create: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=f"^{location}.*{words}"):
        open_store(location, create=create)
    assert list(tmp_path.iterdir()) == []


def test_web_servers_are_read_only() -> None:
    assert check_writable("GS://bucket/x") == "gs://bucket/x"
    assert check_writable("folder") == "folder"
    with pytest.raises(UsageError, match=r"^https://host/x can only be read; write to s3://, gs://, az:// or a f"):
        check_writable("https://host/x")


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("anywhere", "s3:/bucket/x", "anywhere = 's3:/bucket/x': .*s3://bucket/x"),
        ("anywhere", "", "give a folder, or a URL"),
        ("written", "https://host/x", "written = 'https://host/x': can only be read"),
        ("here", "s3://bucket/x", "here = 's3://bucket/x': lies in an object store"),
    ],
)
def test_configs_name_the_key(key: str, value: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        validate_config(Locations, {"anywhere": "x", "written": "x", "here": "x", key: value}, "file")


def test_configs_hold_the_usual_form() -> None:
    locations = validate_config(Locations, {"anywhere": "HTTPS://host/X", "written": "AZ://c/X", "here": "x/y"}, "file")
    assert locations == Locations(anywhere="https://host/X", written="az://c/X", here=Path("x/y"))


def test_a_tilde_is_the_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    locations = validate_config(Locations, {"anywhere": "~", "written": "~/a/~b", "here": "~/x"}, "file")
    assert locations == Locations(anywhere="/home/me", written="/home/me/a/~b", here=Path("/home/me/x"))
    with pytest.raises(
        UsageError, match=r"written = '~nobody-here/x': there is no home folder ~nobody-here; .*\./~nob"
    ):
        validate_config(Locations, {"anywhere": "x", "written": "~nobody-here/x", "here": "x"}, "file")
