"""Which environment variables say where each cloud's object store is, and who asks.

In: a URL's scheme and the environment. Out: the words for messages about them, and what clients are made with. A
variable that is set to nothing is refused: what it would mean differs from library to library.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shardify.errors import UsageError, one_line


@dataclass(frozen=True, kw_only=True)
class Cloud:
    """The variables of one cloud, or of servers that speak like it."""

    owner: str
    """Who is asked where no endpoint is named."""
    endpoint: tuple[str, ...]
    """Each takes the place of the cloud's own address; the first is the one to be advised."""
    access: tuple[str, ...]
    """What clients read besides, and may not be empty."""
    credentials: str
    """What to set, in words."""
    public: str
    """Set to true, it lets anonymous requests be sent."""


CLOUDS = {
    "s3": Cloud(
        owner="Amazon",
        endpoint=("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT"),
        access=("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_REGION", "AWS_DEFAULT_REGION"),
        credentials="AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE with boto3 installed",
        public="AWS_SKIP_SIGNATURE",
    ),
    "gs": Cloud(
        owner="Google",
        endpoint=("GOOGLE_BASE_URL",),
        access=("GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_SERVICE_ACCOUNT", "GOOGLE_SERVICE_ACCOUNT_KEY"),
        credentials="GOOGLE_APPLICATION_CREDENTIALS",
        public="GOOGLE_SKIP_SIGNATURE",
    ),
    "az": Cloud(
        owner="Azure",
        endpoint=("AZURE_ENDPOINT", "AZURE_STORAGE_ENDPOINT"),
        access=("AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_ACCOUNT_KEY", "AZURE_STORAGE_SAS_KEY"),
        credentials="AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY",
        public="AZURE_SKIP_SIGNATURE",
    ),
}
"""By scheme of URLs; web servers have no variables."""


_KEY = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")


_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")


def named_endpoints(scheme: str) -> dict[str, str]:
    """The endpoint variables of a cloud that are set, and their values."""
    cloud = CLOUDS.get(scheme)
    return {name: os.environ[name] for name in cloud.endpoint if name in os.environ} if cloud else {}


def advice_on_endpoint(scheme: str) -> str:
    """What to look at if a server cannot be reached, or is not the one that was meant."""
    if scheme not in CLOUDS:
        advice = "check the URL"
    elif named := named_endpoints(scheme):
        advice = f"check {' and '.join(f'{name}={value}' for name, value in named.items())}"
    else:
        advice = f"{asked_owner(scheme)}; to ask another server set {CLOUDS[scheme].endpoint[0]}"
    proxies = [name for name in _PROXIES if os.environ.get(name)]
    return f"{advice} (asked through the proxy of {' or '.join(proxies)})" if proxies else advice


def asked_owner(scheme: str) -> str:
    """Says that a cloud itself is asked, if that is so; else nothing."""
    if scheme not in CLOUDS or named_endpoints(scheme):
        return ""
    return f"{CLOUDS[scheme].owner} itself was asked, since {CLOUDS[scheme].endpoint[0]} is not set"


def check_variables(url: str) -> None:
    """Hold the variables of a URL's cloud against it.

    Raises:
        UsageError: if one is empty or lacks its other half, or an endpoint is no address (the library would panic) or
            has the bucket in it.
    """
    scheme, _, place = url.partition("://")
    cloud = CLOUDS.get(scheme)
    if cloud is None:
        return
    for name, value in named_endpoints(scheme).items():
        if not re.fullmatch(r"https?://[^/\s]+(/\S*)?", value):
            raise UsageError(f"{name}={value}: give an address such as https://host or http://127.0.0.1:9000")
        if value.rstrip("/").split("/")[3:] == [bucket := place.partition("/")[0]]:
            raise UsageError(
                f"{name}={value} ends with the bucket, which {url} names already; leave /{bucket} out of it"
            )
    if empty := [name for name in cloud.access if os.environ.get(name, "set").strip() == ""]:
        verb, them = ("is", "it") if len(empty) == 1 else ("are", "them")
        raise UsageError(f"{' and '.join(empty)} {verb} set to nothing: give a value, or unset {them}")
    if len(there := [name for name in _KEY if name in os.environ]) == 1 and scheme == "s3":
        (lacking,) = set(_KEY).difference(there)
        raise UsageError(f"{there[0]} is set, but {lacking} is not: set both, or neither")


def allows_http(scheme: str) -> bool:
    """Whether the user asked for a connection that is not encrypted: in the URL, or by an endpoint of that kind."""
    return scheme == "http" or any(value.startswith("http://") for value in named_endpoints(scheme).values())


def profile_credentials(url: str) -> dict[str, Any]:
    """Credentials of `~/.aws` profiles, which only boto3 reads; nothing where others are set or need no files."""
    if not url.startswith("s3://") or "AWS_ACCESS_KEY_ID" in os.environ:
        return {}
    files = Path(os.environ.get("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials")).expanduser()
    if "AWS_PROFILE" not in os.environ and not files.is_file():
        return {}
    try:
        from botocore.exceptions import BotoCoreError
        from obstore.auth.boto3 import Boto3CredentialProvider
    except ImportError:
        raise UsageError(
            f"{url}: credentials of an AWS profile need the package boto3 (pip install boto3); or set "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        ) from None
    try:
        return {"credential_provider": Boto3CredentialProvider()}
    except BotoCoreError as error:
        raise UsageError(
            f"{url} cannot be opened: {one_line(error)}; check AWS_PROFILE and ~/.aws, or set AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY"
        ) from None
