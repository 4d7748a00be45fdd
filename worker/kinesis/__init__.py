"""The Source on Amazon Kinesis Data Streams (design: docs/kinesis.md)."""
