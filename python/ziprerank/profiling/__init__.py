"""Records rankings stage by stage and node by node."""
