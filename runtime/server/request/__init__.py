"""Requests as they were sent, checked: fields, pictures, shapes, and what refuses them. Knows no model at work."""
