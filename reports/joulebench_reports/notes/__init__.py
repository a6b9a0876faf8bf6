"""Where figures come from, what is missing, and how far to trust them, in words."""
