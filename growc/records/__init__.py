"""What a run writes in its folder, as typed records: the run writes them, a resumed run and the report read them."""
