"""What training minimises: terms by name, likelihoods, discriminators."""
