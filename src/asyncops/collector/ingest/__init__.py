"""
What takes records in, a module for each dialect.
"""
