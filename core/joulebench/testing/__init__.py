"""For plugin authors: contracts, stub sensors, the virtual rail."""
