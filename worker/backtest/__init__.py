"""Recorded events against rules: what would have been sent, held and spent; told in four ways.

All of it is pure: events in, figures out. Reading them is `worker.recordings`.
"""
