"""Stylizing frames."""
