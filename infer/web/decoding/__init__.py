"""Decoding the files that visitors send, in processes that may crash.

`pool` runs the functions of `checks`, `images` and `videos` in worker processes; whole videos are
converted by `conversion` in a process of their own.
"""
