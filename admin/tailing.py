"""`farshore events tail`: one more subscriber of the broker, who prints."""

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

import aiomqtt

from admin.broker import read_broker
from admin.errors import AdminError
from admin.layout import existing
from admin.output import print_line
from dc import config as configuration
from dc.mqtt import MqttBroker
from tokens.errors import TokensError


def tail_events(root: Path, topic: str, count: int, as_json: bool) -> None:
    """Print events of the datacenter's broker until the connection breaks, or `count` have come;
    0 is for ever. AdminError."""
    layout = existing(root)
    try:
        config = configuration.load(layout.config)
        broker = read_broker(layout, config.mqtt, "farshore-tail")
    except (configuration.ConfigError, TokensError) as error:
        raise AdminError(str(error)) from None
    if broker is None:
        raise AdminError("no MQTT broker is configured: set mqtt.host in farshore.toml")
    topic = f"{config.events.topic_prefix}{topic}"
    subscriber = broker.used_for(str(os.getpid()), receives=True)
    try:
        asyncio.run(_tail(subscriber, topic, count, as_json))
    except (aiomqtt.MqttError, PermissionError, OSError) as error:
        raise AdminError(f"the broker {broker.host}:{broker.port}: {error}") from None


async def _tail(broker: MqttBroker, topic: str, count: int, as_json: bool) -> None:
    async with broker.connect() as connection:
        await connection.subscribe([topic])
        seen = 0
        async for message in connection.messages():
            seen += _print(message.payload, as_json)
            if count and seen >= count:
                return


def _print(payload: bytes, as_json: bool) -> int:
    """1, or 0 of what is no event."""
    try:
        event = json.loads(payload)
        line = json.dumps(event, ensure_ascii=False) if as_json else line_of(event)
    except (ValueError, KeyError, TypeError, AttributeError):
        return 0
    print_line(line)
    sys.stdout.flush()
    return 1


def line_of(event: dict[str, Any]) -> str:
    """An event for people: when, which datacenter's change, what."""
    where = event.get("bucket", "") or event.get("bucket_id", "")
    key, version = event.get("key", ""), event.get("version_id", "")
    of = event.get("email") or event.get("access_key") or event.get("name") or ""
    item = f"{where}/{key}" if key else where or of
    details = [f"version {version}"] if version else []
    if "size" in event:
        details.append(f"{event['size']} bytes")
    if event.get("deleted"):
        details.append("deleted")
    details.append("here" if event["local"] else f"from {event['origin'] or 'elsewhere'}")
    head = f"{event['time']}  {event['position']:>8}  {event['kind']:<10}"
    return f"{head}  {item}  ({', '.join(details)})"
