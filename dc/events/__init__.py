"""Events: every committed change, told to an MQTT broker (docs/events.md)."""
