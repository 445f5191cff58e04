"""The library form of each verb: generators of results, no printing."""
