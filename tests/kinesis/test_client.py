"""How the client is made."""

from __future__ import annotations

import pytest

from worker.errors import SettingsError
from worker.kinesis.client import CONNECTIONS_MAX, kinesis_client


async def test_the_client_makes_each_call_once_and_has_connections_for_every_shard() -> None:
    async with kinesis_client() as client:
        assert client.meta.config.retries["total_max_attempts"] == 1
        assert client.meta.config.max_pool_connections == CONNECTIONS_MAX


async def test_the_region_of_the_container_comes_before_that_of_botocore(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_REGION", "ap-south-1")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-north-1")
    async with kinesis_client() as client:
        assert client.meta.region_name == "ap-south-1"

    monkeypatch.delenv("AWS_REGION")
    async with kinesis_client() as client:
        assert client.meta.region_name == "eu-north-1"


async def test_a_missing_region_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_REGION")
    monkeypatch.delenv("AWS_DEFAULT_REGION")

    with pytest.raises(SettingsError, match="AWS_REGION"):
        async with kinesis_client():
            pass
