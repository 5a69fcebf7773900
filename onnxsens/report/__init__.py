"""Turns records into what people read. Opens no files, measures nothing."""
