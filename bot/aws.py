"""Hands out AWS clients by service, role and region, and says in a sentence why AWS did not answer."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from typing import Any, Final

import boto3
from botocore.config import Config
from botocore.credentials import AssumeRoleCredentialFetcher, DeferredRefreshableCredentials
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,
    ConnectTimeoutError,
    EndpointConnectionError,
    HTTPClientError,
    NoCredentialsError,
    NoRegionError,
    PartialCredentialsError,
    ReadTimeoutError,
    TokenRetrievalError,
)
from botocore.session import get_session

CONNECT_TIMEOUT_S: Final = 3.0
READ_TIMEOUT_S: Final = 10.0
ATTEMPTS: Final = 4
POOL: Final = 25

AWS_ERRORS: Final = (BotoCoreError, ClientError)
"""Everything a client of ours raises; `why` turns any of them into a sentence."""

_THROTTLED: Final = frozenset(
    {
        "Throttling",
        "ThrottlingException",
        "ThrottledException",
        "RequestThrottled",
        "RequestThrottledException",
        "RequestLimitExceeded",
        "TooManyRequestsException",
        "ProvisionedThroughputExceededException",
        "SlowDown",
        "PriorRequestNotComplete",
    }
)
_DENIED: Final = frozenset(
    {
        "AccessDenied",
        "AccessDeniedException",
        "UnauthorizedOperation",
        "UnauthorizedAccess",
        "NotAuthorized",
        "Forbidden",
        "403",
    }
)
_BAD_CREDENTIALS: Final = frozenset(
    {
        "ExpiredToken",
        "ExpiredTokenException",
        "InvalidClientTokenId",
        "UnrecognizedClientException",
        "SignatureDoesNotMatch",
        "InvalidSignatureException",
        "AuthFailure",
        "IncompleteSignature",
        "MissingAuthenticationToken",
        "RequestExpired",
    }
)


class AwsClients:
    """boto3 clients, made once per (service, role, region) and shared by threads.

    Endpoints and credentials come from boto3's own conventions (`AWS_ENDPOINT_URL[_<SERVICE>]`, the
    credential chain). botocore retries in its adaptive mode: only calls safe to repeat belong here.
    `external_ids` gives the external id by role ARN, where a role asks for one.
    """

    def __init__(
        self,
        region: str | None = None,
        *,
        external_ids: Mapping[str, str] | None = None,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
        read_timeout_s: float = READ_TIMEOUT_S,
        attempts: int = ATTEMPTS,
    ) -> None:
        # boto3 itself reads AWS_DEFAULT_REGION only; AWS_REGION is what every other SDK and container sets.
        self._region = region or os.environ.get("AWS_REGION") or None
        self._external_ids = dict(external_ids or {})
        self._config = Config(
            connect_timeout=connect_timeout_s,
            read_timeout=read_timeout_s,
            retries={"mode": "adaptive", "total_max_attempts": attempts},
            max_pool_connections=POOL,
            user_agent_extra="rollback-bot",
        )
        self._lock = threading.Lock()
        self._sessions: dict[str | None, boto3.Session] = {}
        self._clients: dict[tuple[str, str | None, str | None], Any] = {}

    def client(self, service: str, *, role_arn: str | None = None, region: str | None = None) -> Any:
        """The client of `service` as `role_arn` (assumed through STS, renewed in time) in `region`.

        Raises BotoCoreError where no region or no credentials can be found. May be called again at will.
        """
        key = (service, role_arn, region)
        with self._lock:
            if key not in self._clients:
                # Creating clients and sessions is the one thing of boto3 that threads must not do at once.
                session = self._session(role_arn)
                self._clients[key] = session.client(
                    service, region_name=region or self._region, config=self._config
                )
            return self._clients[key]

    def _session(self, role_arn: str | None) -> boto3.Session:
        if role_arn not in self._sessions:
            self._sessions[role_arn] = boto3.Session() if role_arn is None else self._assumed(role_arn)
        return self._sessions[role_arn]

    def _assumed(self, role_arn: str) -> boto3.Session:
        source = get_session()
        if self._region:
            source.set_config_variable("region", self._region)
        source.set_default_client_config(self._config)
        extra = {"RoleSessionName": "rollback-bot"}
        if role_arn in self._external_ids:
            extra["ExternalId"] = self._external_ids[role_arn]
        credentials = source.get_credentials()
        if credentials is None:
            raise NoCredentialsError
        fetcher = AssumeRoleCredentialFetcher(
            client_creator=source.create_client,
            source_credentials=credentials,
            role_arn=role_arn,
            extra_args=extra,
        )
        assumed = get_session()
        # botocore has no public setter for credentials that renew themselves.
        assumed._credentials = DeferredRefreshableCredentials(
            method="assume-role", refresh_using=fetcher.fetch_credentials
        )
        return boto3.Session(botocore_session=assumed)


def code_of(error: Exception) -> str:
    """AWS's own error code (`AccessDeniedException`), or the exception's name where AWS did not answer."""
    if isinstance(error, ClientError):
        return str(error.response.get("Error", {}).get("Code", "")) or type(error).__name__
    return type(error).__name__


def is_throttled(error: Exception) -> bool:
    """Whether AWS asked us to slow down."""
    return code_of(error) in _THROTTLED


def is_passing(error: Exception) -> bool:
    """Whether AWS did not answer, or answered that it has a trouble of its own: asking again may help."""
    if isinstance(error, ClientError):
        return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)) >= 500
    return isinstance(error, HTTPClientError)


def why(error: Exception, action: str) -> str:
    """One sentence on why AWS did not do `action` (`ssm:SendCommand`) and what to do about it.

    The text may quote AWS and is not redacted: whoever shows it redacts it.
    """
    code = code_of(error)
    if getattr(error, "operation_name", None) == "AssumeRole":
        # Taking on the role happens inside the first call, which would otherwise get the blame.
        action = "sts:AssumeRole"
    if code in _DENIED:
        return (
            f"AWS refused {action} ({code}): add {action} to the bot's IAM policy. {_message(error)}".strip()
        )
    if code in _BAD_CREDENTIALS:
        return f"AWS did not accept our credentials for {action} ({code}): check or renew them."
    if code in _THROTTLED:
        return f"AWS throttled {action} ({code}) until we gave up: too many calls in this account right now."
    if isinstance(error, NoCredentialsError | PartialCredentialsError | TokenRetrievalError):
        return f"There are no AWS credentials for {action}: give the bot a role or keys."
    if isinstance(error, NoRegionError):
        return f"There is no AWS region for {action}: set AWS_REGION or `region` in the server's file."
    if isinstance(error, ReadTimeoutError | ConnectTimeoutError):
        return f"AWS did not answer {action} in time: check the network or try again."
    if isinstance(error, EndpointConnectionError | ConnectionError | HTTPClientError):
        return f"AWS could not be reached for {action}: check network and AWS_ENDPOINT_URL. {_message(error)}"
    return f"{action} failed ({code}): {_message(error)}".rstrip(": ")


def _message(error: Exception) -> str:
    if isinstance(error, ClientError):
        return str(error.response.get("Error", {}).get("Message", "")).strip()
    return " ".join(str(error).split())
