"""The neural CRF tagger: `graft train crf_tagger`."""
