"""Collections that are kept elsewhere than in a folder."""
