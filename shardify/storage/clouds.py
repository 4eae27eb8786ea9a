"""Each cloud's environment variables: the address of its object store, and the credentials.

In: a URL's scheme and the environment. Out: arguments for clients, and words for messages. An empty variable is an
error, because libraries understand it differently.
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
    """The variables of one cloud, or of servers with the same protocol."""

    owner: str
    """The owner of the servers that are used without an endpoint variable."""
    endpoint: tuple[str, ...]
    """Each replaces the cloud's own address; messages recommend the first."""
    access: tuple[str, ...]
    """Other variables that clients read; none may be empty."""
    credentials: str
    """The variables to set, for messages."""
    public: str
    """If true, requests are anonymous."""


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
"""By URL scheme; web servers have no variables."""
_KEY = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")


def named_endpoints(scheme: str) -> dict[str, str]:
    """The endpoint variables of a cloud that are set, and their values."""
    cloud = CLOUDS.get(scheme)
    return {name: os.environ[name] for name in cloud.endpoint if name in os.environ} if cloud else {}


def advice_on_endpoint(scheme: str) -> str:
    """Advice for a server that cannot be reached or is the wrong one."""
    if scheme not in CLOUDS:
        advice = "check the URL"
    elif named := named_endpoints(scheme):
        advice = f"check {' and '.join(f'{name}={value}' for name, value in named.items())}"
    else:
        advice = f"{asked_owner(scheme)}; for another server set {CLOUDS[scheme].endpoint[0]}"
    proxies = [name for name in _PROXIES if os.environ.get(name)]
    return f"{advice} (reached through the proxy of {' or '.join(proxies)})" if proxies else advice


def asked_owner(scheme: str) -> str:
    """A note that the cloud's own server was asked; blank if another was."""
    if scheme not in CLOUDS or named_endpoints(scheme):
        return ""
    return f"{CLOUDS[scheme].owner} itself was asked, since {CLOUDS[scheme].endpoint[0]} is not set"


def check_variables(url: str) -> None:
    """Check the variables of a URL's cloud.

    Raises UsageError if a variable is empty or lacks its partner, or an endpoint includes the bucket or is not an
    address (the library would panic).
    """
    scheme, _, path = url.partition("://")
    cloud = CLOUDS.get(scheme)
    if cloud is None:
        return
    for name, value in named_endpoints(scheme).items():
        if not re.fullmatch(r"https?://[^/\s]+(/\S*)?", value):
            raise UsageError(f"{name}={value}: give an address such as https://host or http://127.0.0.1:9000")
        if value.rstrip("/").split("/")[3:] == [bucket := path.partition("/")[0]]:
            raise UsageError(
                f"{name}={value} ends with the bucket, which {url} already names; remove /{bucket} from it"
            )
    if empty := [name for name in cloud.access if os.environ.get(name, "set").strip() == ""]:
        verb, them = ("is", "it") if len(empty) == 1 else ("are", "them")
        raise UsageError(f"{' and '.join(empty)} {verb} empty: give a value, or unset {them}")
    if len(there := [name for name in _KEY if name in os.environ]) == 1 and scheme == "s3":
        (lacking,) = set(_KEY).difference(there)
        raise UsageError(f"{there[0]} is set, but {lacking} is not: set both, or neither")


def allows_http(scheme: str) -> bool:
    """Whether the URL or an endpoint variable allows unencrypted connections."""
    return scheme == "http" or any(value.startswith("http://") for value in named_endpoints(scheme).values())


def profile_credentials(url: str) -> dict[str, Any]:
    """Credentials of `~/.aws` profiles, which only boto3 reads; empty if no profile is used."""
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
