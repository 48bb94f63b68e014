"""Readers of annotation formats, each with its validator; `training.data.formats` lists them.

A reader never stops at a defect of the data: it leaves out what cannot be used, goes on, and
returns every defect beside the index (see `training.data.readers.reading.Reading`).
"""
