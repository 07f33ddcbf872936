"""Backups of everything that a service stores, and their way back.

A backup is a data folder of the embedded profile, cut into pieces that are stored once each by
their content. What is on servers is copied into such a folder first, and back out of it.
"""
