"""What torch.distributions lacks, and the supports that say what values a variable takes."""
