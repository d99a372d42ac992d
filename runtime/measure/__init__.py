"""Measuring a decode on the machine at hand."""
