"""The notification configuration of a bucket: put and shown. Each topic in it gets a test event."""

from typing import Any

from dc.names.model import Event
from gateway.context import Context
from gateway.errors import S3Error
from gateway.model.writer import output
from gateway.notifications.records import test_record
from gateway.notifications.targets import NOTIFICATION, check
from gateway.request import Request
from gateway.settings import put_setting, setting

_ID_BYTES = 24


async def get_notification(_context: Context, request: Request, _asked: Any) -> Any:
    found = setting(request.bucket, NOTIFICATION)
    if found is None:
        return None
    return output(
        "GetBucketNotificationConfiguration", TopicConfigurations=found.TopicConfigurations
    )


async def put_notification(context: Context, request: Request, asked: Any) -> None:
    configuration, names, bucket = asked.NotificationConfiguration, context.names, request.bucket
    targets = check(configuration, lambda: context.randomness.token(_ID_BYTES).hex())
    if targets and not context.config.notifications:
        message = (
            "Unable to validate the following destination configurations: this datacenter has no "
            "MQTT broker configured."
        )
        raise S3Error("InvalidArgument", message)
    test = test_record(bucket, await names.stamp(), request.id, context.config.host_id)
    events = [Event(topic, test) for topic in sorted({target.topic for target in targets})]
    await put_setting(
        context, request, NOTIFICATION, configuration if targets else None, events=events
    )
