"""Objects in a bucket of S3-compatible storage."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from rag.errors import ConfigError, NotFoundError, StorageError, UpstreamError

_REMOVED_AT_ONCE = 1_000
"""Objects that one request may remove, by S3's API."""
_SECONDS = 60
_ATTEMPTS = 5
_UNKNOWN = ("NoSuchKey", "404")
_REFUSED = ("NoSuchBucket", "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "403")


class S3Store:
    """Objects below a prefix of a bucket.

    Credentials, region and the address of the server are found as boto3 finds them:
    `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_REGION`, `AWS_ENDPOINT_URL`, or its files.
    """

    def __init__(self, bucket: str, prefix: str = "") -> None:
        self._bucket = bucket
        self._prefix = f"{prefix}/" if prefix else ""
        with self._errors():
            self._client: Any = boto3.session.Session().client(
                "s3",
                config=Config(
                    connect_timeout=_SECONDS,
                    read_timeout=_SECONDS,
                    retries={"total_max_attempts": _ATTEMPTS, "mode": "standard"},
                ),
            )

    def sizes(self, folder: str) -> dict[str, int]:
        """Lists the objects, a thousand in each request."""
        pages = self._client.get_paginator("list_objects_v2")
        start = len(self._prefix)
        with self._errors():
            return {
                each["Key"][start:]: each["Size"]
                for page in pages.paginate(Bucket=self._bucket, Prefix=f"{self._prefix}{folder}/")
                for each in page.get("Contents", ())
            }

    def read(self, name: str) -> memoryview:
        """Gets an object."""
        with self._errors(name):
            got = self._client.get_object(Bucket=self._bucket, Key=self._prefix + name)
            return memoryview(got["Body"].read())

    def write(self, name: str, data: bytes | memoryview) -> None:
        """Puts an object, which is there at once or not at all."""
        key, body = self._prefix + name, bytes(data)  # boto3 takes no view
        with self._errors(name):
            self._client.put_object(Bucket=self._bucket, Key=key, Body=body)

    def remove(self, names: Iterable[str]) -> None:
        """Deletes objects, a thousand in each request."""
        keys = [{"Key": self._prefix + name} for name in names]
        for i in range(0, len(keys), _REMOVED_AT_ONCE):
            some = {"Objects": keys[i : i + _REMOVED_AT_ONCE]}
            with self._errors():
                answer = self._client.delete_objects(Bucket=self._bucket, Delete=some)
            if refused := answer.get("Errors"):
                raise StorageError(
                    f"The bucket {self._bucket!r} of the backups keeps {len(refused):,} objects"
                    f" that are to be removed: {refused[0].get('Code')}."
                )

    def settle(self) -> None:
        """Does nothing: what a put has answered is stored."""

    @contextlib.contextmanager
    def _errors(self, name: str = "") -> Iterator[None]:
        try:
            yield
        except ClientError as error:
            code = error.response.get("Error", {}).get("Code", "")
            if code in _UNKNOWN and name:
                raise NotFoundError(f"The backups have no object {name}.") from None
            kind = ConfigError if code in _REFUSED else StorageError
            raise kind(
                f"The bucket {self._bucket!r} of the backups cannot be used: {code}."
            ) from error
        except BotoCoreError as error:
            raise UpstreamError(
                f"The bucket {self._bucket!r} of the backups cannot be reached.",
                detail=type(error).__name__,
            ) from error
