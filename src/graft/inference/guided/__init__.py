"""A model and its guide run as one: draws of what the guide gives, and every log-factor at them."""
