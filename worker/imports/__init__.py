"""Address books of elsewhere: Pinpoint exports, import CSV and JSON, read into endpoint signals.

An imported endpoint means what an event that shows the same endpoint means (event_endpoints.py);
this package only finds the endpoints in files, and counts what was odd about them.
"""
