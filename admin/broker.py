"""The MQTT broker that farshore.toml names, with what is needed to log in."""

import ssl

from admin.errors import AdminError
from admin.layout import Layout
from dc.config import Mqtt
from dc.mqtt import MqttBroker
from tokens.private_file import check_private_mode


def read_broker(layout: Layout, mqtt: Mqtt, client_id: str) -> MqttBroker | None:
    """None when there is none. AdminError, OSError or a TokensError for a file that cannot be
    used."""
    if not mqtt.host:
        return None
    password, tls = "", None
    if mqtt.password_file:
        path = layout.root / mqtt.password_file
        check_private_mode(path)
        password = path.read_text().strip()
    if mqtt.tls:
        ca_file = layout.root / mqtt.ca_file if mqtt.ca_file else None
        try:
            tls = ssl.create_default_context(cafile=ca_file)
        except ssl.SSLError:
            raise AdminError(f"{ca_file} is no file of certificates (PEM): mqtt.ca_file") from None
    return MqttBroker(
        host=mqtt.host.strip("[]"),
        port=mqtt.port,
        client_id=client_id,
        user=mqtt.user,
        password=password,
        tls=tls,
    )
