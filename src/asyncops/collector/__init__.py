"""
The collector: takes records in (`ingest`), keeps them (`store`), shows them (`api`, `dashboard`).

Knows the values of the SDK and nothing else of it. `app` puts it together, `server` runs it.
"""
