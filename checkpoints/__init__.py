"""Trained style models, as package data."""
