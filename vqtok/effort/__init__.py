"""Codes chosen by what the decoder makes of them: same bits, same decoder, closer pixels."""
