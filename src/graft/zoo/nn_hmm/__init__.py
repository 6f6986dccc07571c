"""A network whose outputs a hidden Markov model observes (Bengio, De Mori, Flammia, Kompe 1992)."""
