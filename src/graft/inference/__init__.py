"""The planner and its engines."""
