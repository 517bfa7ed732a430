"""
What runs inside the peers' environments: it needs the standard library and the peer, nothing else.
"""
