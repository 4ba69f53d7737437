"""Which optimiser updates which parameters, and with what settings."""
