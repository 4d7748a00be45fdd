"""The whole worker in a world of its own: virtual time, one seed, every fault on purpose."""
