"""The few modules that growth needs and transformers lacks."""
