"""The values of a report: plain, frozen, with unit, interval, provenance and reason."""
