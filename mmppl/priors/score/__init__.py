"""Joint scores of all modalities: learning, conditioning, guidance, sampling and density."""
