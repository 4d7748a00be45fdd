"""Adapters of the Sender port, and the rendering they share."""
