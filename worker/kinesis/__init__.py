"""The Source port on Amazon Kinesis Data Streams: shards, iterators, decoding.

`source.py` is the entrance. What each file keeps out of trouble is told in docs/kinesis.md.
"""
