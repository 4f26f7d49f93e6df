"""Tables of what a user can get wrong, and what comes of each; `tests/test_bad_inputs.py` runs them."""
