"""Readers and writers: paths in, AnnData out, and back."""
