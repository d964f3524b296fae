"""Ingest: from where a provider puts its reports to files in hand, byte for byte.

`location.py` is the door, with one module a kind of place beside it (`oci.py`, `directory.py`).
`fetch.py` brings one report over, `diagnosis.py` says what is wrong when nothing comes. What is
inside a report is not known here: that is `normalize/`.
"""
