"""What is meant to be a URL is one, or is refused; it never becomes a folder of that name."""

from __future__ import annotations

from pathlib import Path

import pytest

from shardify.config import StrictModel, validate_config
from shardify.errors import UsageError
from shardify.storage import open_store
from shardify.storage.locations import LocalFolder, Location, WritableLocation, check_location, check_writable


class Places(StrictModel):
    anywhere: Location
    written: WritableLocation
    here: LocalFolder


def test_schemes_may_be_in_upper_case() -> None:
    assert check_location("S3://Bucket/Path") == "s3://Bucket/Path"
    assert open_store("S3://Bucket/Path").location == "s3://Bucket/Path"


@pytest.mark.parametrize("place", ["data/x", "/data/x", "./s3:/bucket/x", "a:b", "s3", "C:x", "a b/c", "ä:/x"])
def test_folders_stay_as_they_are(place: str) -> None:
    assert check_location(place) == place


@pytest.mark.parametrize("create", [False, True])
@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("s3:bucket/x", "if a URL is meant, write s3://bucket/x;"),
        ("s3//bucket/x", "if a URL is meant, write s3://bucket/x;"),
        ("file:data", "if a URL is meant, write the folder's path alone;"),
        (
            "s3:/bucket/x",
            "if a URL is meant, write s3://bucket/x; a folder that is really called so is ./s3:/bucket/x",
        ),
        ("S3:/bucket/x", "if a URL is meant, write s3://bucket/x;"),
        (Path("s3://bucket/x"), "if a URL is meant, write s3://bucket/x;"),
        ("https:/host/x", "if a URL is meant, write https://host/x;"),
        ("gcs:/bucket/x", "if a URL is meant, write gs://bucket/path;"),
        ("hdfs:/host/x", "use s3://bucket/path, gs://"),
        ("C:/videos", "use s3://bucket/path, gs://"),
        ("http:///x", "names no bucket"),
    ],
)
def test_what_is_nearly_a_url_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str | Path, words: str, create: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=f"^{place}.*{words}"):
        open_store(place, create=create)
    assert list(tmp_path.iterdir()) == []


def test_what_can_be_read_only() -> None:
    assert check_writable("GS://bucket/x") == "gs://bucket/x"
    assert check_writable("folder") == "folder"
    with pytest.raises(UsageError, match=r"^https://host/x can only be read; write to s3://, gs://, az:// or a f"):
        check_writable("https://host/x")


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("anywhere", "s3:/bucket/x", "anywhere = 's3:/bucket/x': if a URL is meant, write s3://bucket/x"),
        ("anywhere", "", "give a folder, or a URL such as s3://bucket/path"),
        ("written", "https://host/x", "written = 'https://host/x': can only be read"),
        (
            "here",
            "s3://bucket/x",
            "here = 's3://bucket/x': lies in an object store; give a folder of",
        ),
        ("here", "s3:/bucket/x", "here = 's3:/bucket/x': if a URL is meant, write s3://bucket/x"),
    ],
)
def test_configs_name_the_key(key: str, value: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        validate_config(Places, {"anywhere": "x", "written": "x", "here": "x", key: value}, "file")


def test_configs_hold_them_as_they_are_used() -> None:
    places = validate_config(Places, {"anywhere": "HTTPS://host/X", "written": "AZ://c/X", "here": "x/y"}, "file")
    assert places == Places(anywhere="https://host/X", written="az://c/X", here=Path("x/y"))
