"""The aiobotocore client for Kinesis, configured for a reader that does its own retries.

Endpoint and credentials are found as botocore finds them (`AWS_ENDPOINT_URL_KINESIS`, task roles,
...), the region too, except that `AWS_REGION` comes first: containers are given that one, other
AWS SDKs read it, and botocore knows only `AWS_DEFAULT_REGION`. No call is made here.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any

from aiobotocore.config import AioConfig
from aiobotocore.session import get_session
from botocore.exceptions import BotoCoreError, NoRegionError

from worker import __version__
from worker.errors import SettingsError

CONNECTIONS_MAX = 1_000
"""Open connections. aiobotocore's default of 10 would let shards wait for each other."""
CONNECT_TIMEOUT_SECONDS = 5
READ_TIMEOUT_SECONDS = 30
"""Silence on a connection after which a call is given up; the KCL uses the same."""
USER_AGENT = f"comeback/{__version__} aiobotocore/{version('aiobotocore')}"


@asynccontextmanager
async def kinesis_client() -> AsyncIterator[Any]:
    """An aiobotocore Kinesis client, closed at the end. Raises SettingsError without a region."""
    config = AioConfig(
        # The SDK's retries spend the shard's five reads a second and know nothing of KMS throttles.
        retries={"total_max_attempts": 1, "mode": "standard"},
        max_pool_connections=CONNECTIONS_MAX,
        connect_timeout=CONNECT_TIMEOUT_SECONDS,
        read_timeout=READ_TIMEOUT_SECONDS,
        # botocore would put its own together anew for each call, a sixth of what a call costs.
        user_agent=USER_AGENT,
    )
    try:
        context = get_session().create_client(
            "kinesis", config=config, region_name=os.environ.get("AWS_REGION") or None
        )
        client = await context.__aenter__()
    except NoRegionError as error:
        raise SettingsError(
            "No AWS region is set, so the Kinesis stream cannot be found. "
            "Set AWS_REGION to the region of the stream, for example eu-west-1."
        ) from error
    except (BotoCoreError, ValueError) as error:
        raise SettingsError(
            f"The AWS settings for Kinesis cannot be used: {error}. "
            "Look at AWS_REGION, AWS_PROFILE and AWS_ENDPOINT_URL_KINESIS."
        ) from error
    try:
        yield client
    finally:
        await context.__aexit__(None, None, None)
