"""What all tests share: no property fails by the clock."""

from hypothesis import settings

settings.register_profile("growc", deadline=None)
settings.load_profile("growc")
