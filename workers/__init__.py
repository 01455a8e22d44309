"""Computes: pixels, networks, models and the stages of the path. Imports the service, never its doors."""
