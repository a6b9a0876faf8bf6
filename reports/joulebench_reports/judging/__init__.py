"""What cells save or cost against each other, and what to deploy."""
