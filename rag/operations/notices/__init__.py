"""Notices that this machine is about to be taken away, as clouds give them for spot instances."""
