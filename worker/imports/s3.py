"""Objects below an S3 prefix as files of an import: listed, then read a range at a time.

Only reads. Every range names the ETag it belongs to, so that an object which is replaced meanwhile
is noticed and not mixed. Credentials, region and endpoint are found as botocore finds them
(`AWS_ENDPOINT_URL_S3`, task roles, ...).
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from typing import Any, Final, TypeVar

from aiobotocore.config import AioConfig
from aiobotocore.response import AioReadTimeoutError
from aiobotocore.session import get_session
from aiohttp import ClientError as HttpError
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    HTTPClientError,
    NoCredentialsError,
)

from worker.errors import AccessDenied, ComebackError, SettingsError, TryLater, UsageError
from worker.imports.files import FILES_MAX, S3_PREFIX

RANGE_BYTES: Final = 8 << 20
"""Read with one call; at most this much of an object is in memory."""

ATTEMPTS_MAX: Final = 5
"""Per range: the SDK's own retries, and as often again when an answer breaks off."""

CONNECT_TIMEOUT_SECONDS: Final = 5
READ_TIMEOUT_SECONDS: Final = 30

_MISSING: Final = frozenset({"NoSuchBucket", "NoSuchKey", "404"})
_DENIED: Final = frozenset(
    {"AccessDenied", "403", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken"}
)
_CHANGED: Final = frozenset({"PreconditionFailed", "412"})
_BROKEN_OFF: Final = (HTTPClientError, HttpError, AioReadTimeoutError, TimeoutError)

ResultT = TypeVar("ResultT")


class S3Folder:
    """The objects whose keys begin with a prefix. A context manager; uses its own event loop, so it
    must not be used inside one."""

    def __init__(self, url: str) -> None:
        """`url`: s3://bucket/prefix; the prefix may be one object. Raises UsageError."""
        bucket, _, prefix = url.removeprefix(S3_PREFIX).partition("/")
        if not bucket:
            raise UsageError(f"{url} names no bucket; write s3://BUCKET/PREFIX")
        self._url = url
        self._bucket = bucket
        self._prefix = prefix
        self._runner = asyncio.Runner()
        self._context: Any = None
        self._client: Any = None

    def __enter__(self) -> S3Folder:
        """Raises SettingsError."""
        self._runner.run(self._translated("s3:ListBucket", self._connect))
        return self

    def __exit__(self, *_: object) -> None:
        if self._client is not None:
            self._runner.run(self._context.__aexit__(None, None, None))
        self._runner.close()

    def files(self) -> Sequence[S3Object]:
        """All of them, by key. Raises UsageError when there is none or too many, AccessDenied,
        SettingsError, TryLater."""
        found: list[S3Object] = self._runner.run(self._translated("s3:ListBucket", self._list))
        if not found:
            raise UsageError(f"{self._url}: there is no object with this prefix")
        return found

    def read(self, key: str, etag: str, first: int, last: int) -> bytes:
        """Bytes `first` to `last` of an object, or fewer at its end. Raises as `files`."""

        async def reading() -> bytes:
            return await self._range(key, etag, first, last)

        return self._runner.run(self._translated("s3:GetObject", reading))

    async def _connect(self) -> None:
        config = AioConfig(
            retries={"total_max_attempts": ATTEMPTS_MAX, "mode": "standard"},
            connect_timeout=CONNECT_TIMEOUT_SECONDS,
            read_timeout=READ_TIMEOUT_SECONDS,
        )
        self._context = get_session().create_client(
            "s3", config=config, region_name=os.environ.get("AWS_REGION") or None
        )
        self._client = await self._context.__aenter__()

    async def _list(self) -> list[S3Object]:
        found: list[S3Object] = []
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=self._bucket, Prefix=self._prefix
        )
        async for page in pages:
            found += [
                S3Object(self, self._bucket, entry)
                for entry in page.get("Contents", ())
                if entry["Size"] and not entry["Key"].endswith("/")
            ]
            if len(found) > FILES_MAX:
                raise UsageError(
                    f"{self._url} has more than {FILES_MAX:,} objects; name longer prefixes"
                )
        return found

    async def _range(self, key: str, etag: str, first: int, last: int) -> bytes:
        for attempt in range(1, ATTEMPTS_MAX + 1):
            answer = await self._client.get_object(
                Bucket=self._bucket, Key=key, Range=f"bytes={first}-{last}", IfMatch=etag
            )
            try:
                async with answer["Body"] as body:
                    data: bytes = await body.read()
            except _BROKEN_OFF:
                if attempt == ATTEMPTS_MAX:
                    raise
            else:
                return data
        raise AssertionError("the last attempt returns or raises")

    async def _translated(
        self, action: str, call: Callable[[], Coroutine[Any, Any, ResultT]]
    ) -> ResultT:
        try:
            return await call()
        except ClientError as error:
            raise self._ours(action, error.response.get("Error", {})) from error
        except NoCredentialsError as error:
            raise SettingsError(
                f"{self._url}: no AWS credentials were found. Run with a role, or set AWS_PROFILE."
            ) from error
        except _BROKEN_OFF as error:
            raise TryLater(
                f"{self._url}: S3 cannot be reached, or its answers break off. Run the same "
                "command again; it continues where this one stopped."
            ) from error
        except (BotoCoreError, ValueError) as error:
            raise SettingsError(
                f"{self._url}: the AWS settings cannot be used: {error}. Look at AWS_REGION, "
                "AWS_PROFILE and AWS_ENDPOINT_URL_S3."
            ) from error

    def _ours(self, action: str, told: Mapping[str, str]) -> ComebackError:
        code = told.get("Code", "")
        if code in _MISSING:
            return UsageError(f"{self._url}: S3 knows no such bucket or object. Look at its name.")
        if code in _DENIED:
            return AccessDenied(
                f"{self._url}: S3 refuses ({code}). Allow {action} on it to the role this runs as."
            )
        if code in _CHANGED:
            return TryLater(
                f"{self._url}: an object was replaced while it was read. Run the command again."
            )
        return TryLater(
            f"{self._url}: S3 answers {code or 'an error'}. Run the same command again; it "
            "continues where this one stopped."
        )


class S3Object:
    """One object (files.ImportFile)."""

    def __init__(self, folder: S3Folder, bucket: str, entry: Mapping[str, Any]) -> None:
        self._folder = folder
        self._key: str = entry["Key"]
        self._etag: str = entry["ETag"]
        self.name = f"{S3_PREFIX}{bucket}/{self._key}"
        self.size: int = entry["Size"]
        self.key = f"{self.name}#{self._etag.strip(chr(34))}"

    def blocks(self) -> Iterator[bytes]:
        """What it holds. Raises AccessDenied, TryLater."""
        for first in range(0, self.size, RANGE_BYTES):
            yield self._folder.read(self._key, self._etag, first, first + RANGE_BYTES - 1)
