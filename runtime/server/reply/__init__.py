"""Answers as the objects and events that clients are sent. Knows no routes."""
