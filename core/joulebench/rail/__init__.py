"""The virtual rail: machines of known power, and how often the meter's intervals hold the truth."""
