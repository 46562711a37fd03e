"""The documentation is run: what it says must be so."""
