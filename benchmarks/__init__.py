"""
What recording, delivery and ingest cost. Absolute times belong to the machine and the hour; the
ratios in one run are what to compare.
"""
