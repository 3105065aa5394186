"""Weight files as bytes: read strictly, planned, moved and verified, without torch."""
