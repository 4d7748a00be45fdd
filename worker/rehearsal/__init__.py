"""The core in virtual time: a state of plain dicts, and a play of events against it. No I/O."""
