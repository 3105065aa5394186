"""Pictures, and the report that opens offline."""
