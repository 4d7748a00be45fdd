"""Is everything in place? Checks of this machine, the state, the stream and the provider.

Each module asks about one of them and answers with findings; `comeback doctor` prints them. Nothing
is changed anywhere, and nothing is sent: permissions are asked for with calls that only read, and
with one that has no address in it. No finding names a user, an address or a record (P11).
"""
