"""Recipes of systems as commands: settings, progress bar, pictures."""
