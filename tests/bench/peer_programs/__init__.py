"""The same work done by others. Each program runs in the peers' environment, by itself: it imports
nothing of comeback, prints one line `{"records": ..., "cpu_s": ...}` and ends."""
