"""Kept rows as arrays: loaded, streamed, exported, or as a step of an sklearn pipeline."""
