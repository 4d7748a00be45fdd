"""A local AWS to see and to test against: Kinesis, Pinpoint, and a crowd of users."""
