"""Notifications: what happens in buckets, told to MQTT topics."""
