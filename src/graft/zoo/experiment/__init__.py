"""What the recipes on images share: settings, data, training and measuring of a model with its guide."""
