"""Hostile input: whatever the bytes are, one clean error or a sound result, in bounded memory."""
