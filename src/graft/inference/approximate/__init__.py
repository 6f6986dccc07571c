"""Approximate engines on one flat form of a model: message passing, mean field, Gibbs sampling."""
