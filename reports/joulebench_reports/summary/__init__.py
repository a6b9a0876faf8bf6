"""A session, or several, as one value that every report shows."""
